"""A WCRNN as affine preactivations and a pointwise update, with its derivatives, for lyapkit's fast curvature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lyapkit.cell_derivatives import AffineCell, Derivatives, Place, Pointwise, SecondDerivatives
from wcrnn_models.models.residuals import DiagonalResidual, ScalarResidual
from wcrnn_models.models.wcrnn import WCRNN


class ResidualUpdate(Pointwise):
    """Eqs. (11), (18) and (19) unit by unit: from the drive u (argument 0) and the carried state q = r z.

    Where R acts on every unit alone, z is the unit's own state and r its entry of R. Otherwise z is a second
    preactivation, R x, whose weights are fixed, and r = 1. It is argument 1 in both cases.

    Args:
        form: which equation.
        nonlinearity: sigma.
        coupling: gamma, shape () or (N,).
        scale: r, shape () or (N,); None when z is R x.
    """

    def __init__(self, form: str, nonlinearity: str, coupling: Tensor, scale: Tensor | None) -> None:
        self.form, self.nonlinearity, self.coupling = form, nonlinearity, coupling
        self.preactivations = 2 if scale is None else 1
        self.scale = torch.ones_like(coupling) if scale is None else scale
        self.linear_residual = form == "linear" or nonlinearity == "identity"

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Shape (..., 1, N)."""
        drive, carried = self._arguments(preactivation, state)
        if self.form == "B":
            return self._sigma(carried + self.coupling * drive).unsqueeze(-2)
        if self.form == "A":
            carried = self._sigma(carried)
        return (carried + self.coupling * self._sigma(drive)).unsqueeze(-2)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Gamma sigma' and r; r sigma' in form A; in form B both of the sum. No second ones without a nonlinearity."""
        drive, carried = self._arguments(preactivation, state)
        if self.form == "B":
            slope, bend = self._slopes(carried + self.coupling * drive)
            return {(0, 0): self.coupling * slope, (0, 1): self.scale * slope}, self._weighted(
                {
                    (0, 0): self.coupling**2 * bend,
                    (0, 1): self.coupling * self.scale * bend,
                    (1, 1): self.scale**2 * bend,
                }
            )
        slope, bend = self._slopes(drive)
        first, second = {(0, 0): self.coupling * slope, (0, 1): self.scale}, {(0, 0): self.coupling * bend}
        if self.form == "A":
            slope, bend = self._slopes(carried)
            first[0, 1], second[1, 1] = self.scale * slope, self.scale**2 * bend
        return first, self._weighted(second)

    def _arguments(self, preactivation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """U and q, shape (..., N) each."""
        carried = state[..., 0, :] if self.preactivations == 1 else preactivation[..., 1, :]
        return preactivation[..., 0, :], self.scale * carried

    def _sigma(self, value: Tensor) -> Tensor:
        return torch.tanh(value) if self.nonlinearity == "tanh" else value

    def _slopes(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The first and second derivative of sigma."""
        if self.nonlinearity == "identity":
            return torch.ones_like(value), torch.zeros_like(value)
        squashed = torch.tanh(value)
        slope = 1 - squashed**2
        return slope, -2 * squashed * slope

    def _weighted(self, second: Derivatives) -> SecondDerivatives:
        if self.nonlinearity == "identity":
            return lambda adjoint: {}
        return lambda adjoint: {pair: adjoint[..., 0, :] * bend for pair, bend in second.items()}


def affine_cell(network: WCRNN) -> AffineCell | None:
    """The network's step with its current weights.

    Args:
        network: The network, of any form and with any residual.

    Returns:
        The cell, or None where a weight is not a parameter but computed from others (parametrised).
    """
    units, inputs = network.hidden_size, network.input_size
    residual = network.residual
    scale = residual.r if isinstance(residual, ScalarResidual | DiagonalResidual) else None
    pointwise = ResidualUpdate(network.form, network.nonlinearity, network.coupling, scale)
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
