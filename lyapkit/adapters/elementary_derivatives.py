"""The built-in recurrent cells as affine preactivations with a pointwise update, and the derivatives of the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lyapkit.adapters.elementary import CellKind, CellWeights
from lyapkit.cell_derivatives import AffineCell, Derivatives, Place, Pointwise, SecondDerivatives


class Tanh(Pointwise):
    r"""Tanh units, :math:`h' = \tanh(a)`."""

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Return h', shape (..., 1, H)."""
        return torch.tanh(preactivation)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Return the derivatives 1 - h'^2 and -2 h' (1 - h'^2)."""
        value = torch.tanh(preactivation[..., 0, :])
        slope = 1 - value**2
        return {(0, 0): slope}, lambda adjoint: {(0, 0): -2 * value * slope * adjoint[..., 0, :]}


class Relu(Pointwise):
    r"""Rectified units, :math:`h' = \max(a, 0)`, with derivative 0 at the kink as in PyTorch."""

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Return h', shape (..., 1, H)."""
        return torch.relu(preactivation)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Return the derivative, 1 if a > 0 and 0 otherwise; there is no second derivative."""
        return {(0, 0): (preactivation[..., 0, :] > 0).to(preactivation)}, lambda adjoint: {}


class Gru(Pointwise):
    """h' = (1 - z) n + z h with z = sigmoid(a_2), n = tanh(a_0 + r a_3), r = sigmoid(a_1).

    The candidate has two preactivations, since the reset gate multiplies only the recurrent one, a_3. The one of the
    input comes first, which makes the rows contiguous that the recurrent weights reach.
    """

    preactivations = 4

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Return h', shape (..., 1, H)."""
        _, update, candidate = _gru_gates(preactivation)
        return ((1 - update) * candidate + update * state[..., 0, :]).unsqueeze(-2)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Return the derivatives of h'. Those of n, with m = a_0 + r a_3, are n' m_i and n'' m_i m_j + n' m_ij."""
        reset, update, candidate = _gru_gates(preactivation)
        recurrent = preactivation[..., 3, :]
        reset_slope, update_slope, slope = reset * (1 - reset), update * (1 - update), 1 - candidate**2  # r', z', n'
        inner = {0: torch.ones_like(reset), 1: recurrent * reset_slope, 3: reset}  # m_i
        first = {(0, i): (1 - update) * slope * part for i, part in inner.items()}
        first[0, 2] = (state[..., 0, :] - candidate) * update_slope
        first[0, 4] = update

        def second(adjoint: Tensor) -> Derivatives:
            weight = adjoint[..., 0, :]
            straight = weight * (1 - update) * slope  # factor of m_ij
            bend = -2 * candidate * straight  # factor of m_i m_j
            found = {(i, j): bend * inner[i] * inner[j] for i in inner for j in inner if i <= j}
            found[1, 1] = found[1, 1] + straight * recurrent * reset_slope * (1 - 2 * reset)
            found[1, 3] = found[1, 3] + straight * reset_slope
            for i, part in inner.items():
                found[min(i, 2), max(i, 2)] = -weight * update_slope * slope * part
            found[2, 2] = weight * first[0, 2] * (1 - 2 * update)
            found[2, 4] = weight * update_slope
            return found

        return first, second


class Lstm(Pointwise):
    """c' = f c + i g, h' = o tanh(c') with the gates i, f, o = sigmoid(a_0, a_1, a_3) and g = tanh(a_2)."""

    preactivations = 4
    components = 2

    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Return (h', c'), shape (..., 2, H)."""
        input, forget, candidate, output = _lstm_gates(preactivation)
        cell = forget * state[..., 1, :] + input * candidate
        return torch.stack((output * torch.tanh(cell), cell), dim=-2)

    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Return the derivatives of c' by a_0, a_1, a_2 and c (argument 5), and of h' as a function of a_3 and c'."""
        input, forget, candidate, output = _lstm_gates(preactivation)
        cell = state[..., 1, :]
        squashed = torch.tanh(forget * cell + input * candidate)
        slope = 1 - squashed**2
        input_slope, forget_slope, output_slope = (gate * (1 - gate) for gate in (input, forget, output))
        candidate_slope = 1 - candidate**2
        inner = {0: input_slope * candidate, 1: forget_slope * cell, 2: input * candidate_slope, 5: forget}
        first = {(1, i): part for i, part in inner.items()}
        first |= {(0, i): output * slope * part for i, part in inner.items()}
        first[0, 3] = output_slope * squashed

        def second(adjoint: Tensor) -> Derivatives:
            emitted, kept = adjoint[..., 0, :], adjoint[..., 1, :]
            straight = kept + emitted * output * slope  # factor of the second derivatives of c'
            bend = -2 * emitted * output * squashed * slope  # factor of the products of its first derivatives
            found = {(i, j): bend * inner[i] * inner[j] for i in inner for j in inner if i <= j}
            found[0, 0] = found[0, 0] + straight * input_slope * (1 - 2 * input) * candidate
            found[0, 2] = found[0, 2] + straight * input_slope * candidate_slope
            found[1, 1] = found[1, 1] + straight * forget_slope * (1 - 2 * forget) * cell
            found[1, 5] = found[1, 5] + straight * forget_slope
            found[2, 2] = found[2, 2] - 2 * straight * input * candidate * candidate_slope
            for i, part in inner.items():
                found[min(i, 3), max(i, 3)] = emitted * output_slope * slope * part
            found[3, 3] = emitted * output_slope * (1 - 2 * output) * squashed
            return found

        return first, second


def _gru_gates(preactivation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return r, z and n, shape (..., H) each."""
    fed, reset, update, recurrent = preactivation.unbind(-2)
    reset, update = torch.sigmoid(reset), torch.sigmoid(update)
    return reset, update, torch.tanh(fed + reset * recurrent)


def _lstm_gates(preactivation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return i, f, g and o, shape (..., H) each."""
    input, forget, candidate, output = preactivation.unbind(-2)
    return torch.sigmoid(input), torch.sigmoid(forget), torch.tanh(candidate), torch.sigmoid(output)


_POINTWISE: dict[CellKind, Pointwise] = {"rnn_tanh": Tanh(), "rnn_relu": Relu(), "gru": Gru(), "lstm": Lstm()}


def stacked_derivatives(kind: CellKind, layers: Sequence[CellWeights]) -> list[AffineCell] | None:
    """Return the layers of a stack of built-in cells, from the input upwards.

    Args:
        kind: Kind of cell.
        layers: The weights of every layer.

    Returns:
        One `AffineCell` per layer. None for weights that are not parameters, and for cells with a projection, which
        emit fewer units than they have.
    """
    cells = [_affine_cell(kind, weights) for weights in layers]
    return None if None in cells else [cell for cell in cells if cell is not None]


def _affine_cell(kind: CellKind, weights: CellWeights) -> AffineCell | None:
    tensors = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    if weights.weight_hr is not None or not all(
        tensor is None or isinstance(tensor, nn.Parameter) for tensor in tensors
    ):
        return None
    pointwise = _POINTWISE[kind]
    units = weights.weight_hh.shape[1]
    rows = torch.arange(pointwise.preactivations * units, device=weights.weight_hh.device)
    from_input, from_state = rows, rows
    if kind == "gru":  # PyTorch's order is reset, update, candidate; see `Gru`
        from_input, from_state = torch.cat((rows[units : 3 * units], rows[:units])), rows[units:]
    inputs = weights.weight_ih.shape[1]
    placed = (
        (weights.weight_hh, from_state, 0),
        (weights.weight_ih, from_input, units),
        (weights.bias_hh, from_state, units + inputs),
        (weights.bias_ih, from_input, units + inputs),
    )
    places = [Place(tensor, at, start) for tensor, at, start in placed if isinstance(tensor, nn.Parameter)]
    weight = weights.weight_hh.new_zeros(len(rows), units + inputs + 1)
    for place in places:
        weight[place.rows, place.columns] += place.parameter.detach().reshape(len(place.rows), -1)
    return AffineCell(pointwise, units, weight, places, slice(int(from_state[0]), len(rows)))
