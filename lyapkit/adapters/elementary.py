"""The built-in recurrent cells written out in elementary operations.

PyTorch's fused kernels have no forward-mode derivatives (oneDNN's float32 LSTM, cuDNN and the fused CUDA cells) or no
second derivatives (cuDNN). Every analysis therefore steps a built-in layer with the functions below, which use the
module's own weights. The equations are those of the PyTorch documentation of `torch.nn.RNN`, `torch.nn.GRU` and
`torch.nn.LSTM`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import linear

CellKind = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]


@dataclass(frozen=True)
class CellWeights:
    """The weights of one recurrent cell, under PyTorch's names.

    Shapes, with G gates (1, 3 or 4 for RNN, GRU and LSTM), H hidden units and P emitted units (P = H
    without a projection): ``weight_ih`` (G*H, M), ``weight_hh`` (G*H, P), biases (G*H,) or None,
    ``weight_hr`` (P, H) or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None = None


def cell_step(kind: CellKind, weights: CellWeights, state: Tensor, input: Tensor) -> Tensor:
    """Compute one step of a built-in cell on its flat state.

    Args:
        kind: Kind of cell.
        weights: Its weights.
        state: Shape (..., S); S = H for RNN and GRU, S = P + H for an LSTM, whose state is (h, c).
        input: Shape (..., M).

    Returns:
        The next state, shape (..., S).
    """
    if kind == "lstm":
        return _lstm_step(weights, state, input)
    if kind == "gru":
        return _gru_step(weights, state, input)
    activation = torch.tanh if kind == "rnn_tanh" else torch.relu
    return activation(
        linear(input, weights.weight_ih, weights.bias_ih) + linear(state, weights.weight_hh, weights.bias_hh)
    )


def _gru_step(weights: CellWeights, state: Tensor, input: Tensor) -> Tensor:
    # (..., 3H) each; the reset gate multiplies the recurrent part *after* its bias is added
    from_input = linear(input, weights.weight_ih, weights.bias_ih)
    from_state = linear(state, weights.weight_hh, weights.bias_hh)
    input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
    state_reset, state_update, state_new = from_state.chunk(3, dim=-1)
    reset = torch.sigmoid(input_reset + state_reset)
    update = torch.sigmoid(input_update + state_update)
    candidate = torch.tanh(input_new + reset * state_new)
    return (1 - update) * candidate + update * state


def _lstm_step(weights: CellWeights, state: Tensor, input: Tensor) -> Tensor:
    emitted_size = weights.weight_hh.shape[1]
    hidden, cell = state[..., :emitted_size], state[..., emitted_size:]
    gates = linear(input, weights.weight_ih, weights.bias_ih) + linear(
        hidden, weights.weight_hh, weights.bias_hh
    )  # (..., 4H)
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
    if weights.weight_hr is not None:
        hidden = linear(hidden, weights.weight_hr)
    return torch.cat((hidden, cell), dim=-1)
