"""Gated cells without recurrent weights, in which each unit forgets at the rate of its own gate."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from lyapkit.adapters import as_map
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.reference import ReferenceSystem

Cell = TypeVar("Cell", nn.GRUCell, nn.LSTMCell)


@named_arguments()
@checked_kinds
def gru_without_recurrence(input_size: int = 3, size: int = 4, seed: int = 0) -> ReferenceSystem:
    """Return an `nn.GRUCell` without recurrent weights; the exponents are the mean logarithms of its update gates.

    In :math:`h' = (1 - z) n + z h` neither the gate z nor the proposal n depends on h, so the Jacobian is diag(z).

    Args:
        input_size: Number of inputs M.
        size: Number of hidden units N.
        seed: Seed of weights and inputs.

    Example:
        >>> from lyapkit import systems
        >>> systems.gru_without_recurrence().map.unit_names
        ['h[0]', 'h[1]', 'h[2]', 'h[3]']
    """
    cell, inputs = _cell(nn.GRUCell, input_size, size, seed)
    exponents = _mean_log_gate(cell, inputs)
    return ReferenceSystem(
        f"GRU without recurrent weights, N = {size}",
        as_map(cell),
        exponents,
        (0.0,) * size,
        "exact: mean log update gate",
        "computed from the inputs of the run; conditional exponents",
        inputs=inputs,
        transient=0,
        tolerance=1e-12,
        exponent_sum=sum(exponents),
    )


@named_arguments()
@checked_kinds
def lstm_without_recurrence(input_size: int = 3, size: int = 4, seed: int = 0) -> ReferenceSystem:
    """Return an `nn.LSTMCell` without recurrent weights; the exponents are its forget gates' mean logarithms, and -inf.

    In :math:`c' = f c + i g` no gate depends on the state: the cell block of the Jacobian is diag(f), and the hidden
    state is forgotten at once. There are 2 N exponents. An analysis without the cell state finds no finite one.

    Args:
        input_size: Number of inputs M.
        size: Number of hidden units N.
        seed: Seed of weights and inputs.

    Example:
        >>> from lyapkit import systems
        >>> systems.lstm_without_recurrence().exponents[4:]
        (-inf, -inf, -inf, -inf)
    """
    cell, inputs = _cell(nn.LSTMCell, input_size, size, seed)
    return ReferenceSystem(
        f"LSTM without recurrent weights, N = {size}",
        as_map(cell),
        (*_mean_log_gate(cell, inputs), *(-math.inf,) * size),
        (0.0,) * (2 * size),
        "exact: mean log forget gate on the cell state, -inf on the hidden state",
        "computed from the inputs of the run; conditional exponents",
        inputs=inputs,
        transient=0,
        tolerance=1e-12,
    )


def _cell(kind: type[Cell], input_size: int, size: int, seed: int) -> tuple[Cell, Tensor]:
    """Return the cell with normal weights and biases, none of them recurrent, and 300 normal inputs."""
    generator = torch.Generator().manual_seed(seed)
    # made without numbers and then filled: nn.Module's own initialisation would draw from the global generator
    cell = kind(input_size, size, device="meta", dtype=torch.float64).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(generator=generator)
        cell.weight_hh.zero_()
    return cell, torch.randn(300, input_size, generator=generator, dtype=torch.float64, device="cpu")


def _mean_log_gate(cell: nn.GRUCell | nn.LSTMCell, inputs: Tensor) -> tuple[float, ...]:
    """Return mean logarithms of the second gate in PyTorch's order: a GRU's update gate, an LSTM's forget gate."""
    size = cell.hidden_size
    with torch.no_grad():
        drive = inputs @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh
    gate = torch.sigmoid(drive[:, size : 2 * size])
    return tuple(gate.log().mean(dim=0).sort(descending=True).values.tolist())
