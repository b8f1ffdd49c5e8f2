"""A WCRNN as affine preactivations and a pointwise update, with its derivatives, for lyapkit's fast curvature."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lyapkit.cell_derivatives import AffineCell, Derivatives, Place, Pointwise, SecondDerivatives
from wcrnn_models.models.equations import Equation
from wcrnn_models.models.wcrnn import WCRNN


class ResidualUpdate(Pointwise):
    """An `Equation` unit by unit: from the drive u (argument 0) and the carried state q = r z.

    Where R acts on every unit alone, z is the unit's own state and r its entry of R. Otherwise z is a second
    preactivation, R x, whose weights are fixed, and r = 1. It is argument 1 in both cases.

    Args:
        equation: Where tanh acts.
        coupling: Coupling gamma, shape () or (N,).
        scale: The strength r, shape () or (N,); None when z is R x.
    """

    def __init__(self, equation: Equation, coupling: Tensor, scale: Tensor | None) -> None:
        self.equation, self.coupling = equation, coupling
        self.preactivations = 2 if scale is None else 1
        self.scale = torch.ones_like(coupling) if scale is None else scale
        self.linear_residual = equation.is_linear

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Return x', shape (..., 1, N)."""
        drive, carried = self._arguments(preactivation, state)
        return self.equation.advance(carried, drive, self.coupling).unsqueeze(-2)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Apply the chain rule to the `Equation`; derivatives that are zero throughout are left out."""
        drive, carried = self._arguments(preactivation, state)
        total = drive  # is not looked at where it does not saturate
        if self.equation.total:
            total = replace(self.equation, total=False).advance(carried, drive, self.coupling)
        total_slope, total_bend = _slopes(self.equation.total, total)
        drive_slope, drive_bend = _slopes(self.equation.drive, drive)
        carried_slope, carried_bend = _slopes(self.equation.carried, carried)
        inner = self.coupling * drive_slope, self.scale * carried_slope  # of the sum, by u and by z
        second: Derivatives = {}
        if total_bend is not None:
            for i, j in ((0, 0), (0, 1), (1, 1)):
                second[i, j] = inner[i] * inner[j] * total_bend
        for i, factor, bend in ((0, self.coupling, drive_bend), (1, self.scale**2, carried_bend)):
            if bend is not None:
                second[i, i] = second.get((i, i), 0) + total_slope * factor * bend
        first = {(0, i): total_slope * slope for i, slope in enumerate(inner)}
        return first, lambda adjoint: {pair: adjoint[..., 0, :] * bend for pair, bend in second.items()}

    def _arguments(self, preactivation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and q, shape (..., N) each."""
        carried = state[..., 0, :] if self.preactivations == 1 else preactivation[..., 1, :]
        return preactivation[..., 0, :], self.scale * carried


def _slopes(saturates: bool, value: Tensor) -> tuple[Tensor | float, Tensor | None]:
    """Return the first and the second derivative of tanh, or those of the identity, 1 and None for 0."""
    if not saturates:
        return 1.0, None
    squashed = torch.tanh(value)
    slope = 1 - squashed**2
    return slope, -2 * squashed * slope


def affine_cell(network: WCRNN) -> AffineCell | None:
    """Return the network's step with its current weights.

    Args:
        network: The network, of any form and with any residual.

    Returns:
        The cell, or None where a weight is not a parameter but computed from others (parametrised).
    """
    units, inputs = network.hidden_size, network.input_size
    residual = network.residual
    scale = residual.diagonal()
    pointwise = ResidualUpdate(network.equation, network.coupling, scale)
    rows = torch.arange(units, device=network.coupling.device)
    placed = (
        (network.recurrent.weight, 0),
        (network.input.weight, units),
        (network.recurrent.bias, units + inputs),
        (network.input.bias, units + inputs),
    )
    places = [Place(tensor, rows, start) for tensor, start in placed if type(tensor) is nn.Parameter]
    if len(places) < len(placed):
        return None
    weight = network.recurrent.weight.new_zeros(pointwise.preactivations * units, units + inputs + 1)
    for place in places:
        weight[:units, place.columns] += place.parameter.detach().reshape(units, -1)
    if scale is None:
        weight[units:, :units] = residual.matrix()
    return AffineCell(pointwise, units, weight, places, slice(0, len(weight)))
