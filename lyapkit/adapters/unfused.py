"""Run a user's model with its built-in recurrent layers written out in elementary operations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from lyapkit.adapters.elementary import CellKind, CellWeights, cell_step

_LAYERS: dict[Any, CellKind] = {
    torch.rnn_tanh: "rnn_tanh",
    torch.rnn_relu: "rnn_relu",
    torch.gru: "gru",
    torch.lstm: "lstm",
}
_CELLS: dict[Any, CellKind] = {
    torch.rnn_tanh_cell: "rnn_tanh",
    torch.rnn_relu_cell: "rnn_relu",
    torch.gru_cell: "gru",
    torch.lstm_cell: "lstm",
}


def unfused(model: nn.Module) -> AbstractContextManager[object]:
    """Step every `nn.RNN/GRU/LSTM` and cell inside a model by elementary operations while the context is open.

    Fused kernels lack second derivatives (cuDNN) or forward-mode derivatives (oneDNN, fused CUDA cells). Results equal
    the module's own to rounding. The model itself and other threads are not affected.

    Args:
        model: The model.

    Raises:
        ValueError: If a layer with active dropout is called.
    """
    recurrent = any(isinstance(part, nn.RNNBase | nn.RNNCellBase) for part in model.modules())
    return _Elementary() if recurrent else nullcontext()


class _Elementary(TorchFunctionMode):
    """Replace the fused kernels that modules call by elementary operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (kind := _LAYERS.get(func)) is not None:
            return _layers(kind, *args)
        if (kind := _CELLS.get(func)) is not None:
            return _cell(kind, *args)
        return func(*args, **(kwargs or {}))


def _cell(kind: CellKind, input: Tensor, hx: Any, *weights: Any) -> Any:
    """Return the result of ``torch.lstm_cell``, or of its siblings, for the same arguments."""
    state = torch.cat(tuple(hx), dim=-1) if kind == "lstm" else hx
    after = cell_step(kind, CellWeights(*weights), state, input)
    return torch.split(after, weights[1].shape[1], dim=-1) if kind == "lstm" else after


def _layers(kind: CellKind, input: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Return the result of ``torch.lstm``, or of its siblings, for the same arguments, which modules give by position.

    They are (input, hx, weights, biases, layers, dropout, training, bidirectional, batch first), and for packed
    sequences (data, batch sizes, hx, weights, biases, layers, dropout, training, bidirectional).
    """
    if isinstance(rest[2], bool):
        hx, flat, biases, count, dropout, training, bidirectional, across = rest
        going, sequence = None, input.transpose(0, 1) if across else input
    else:
        sizes, hx, flat, biases, count, dropout, training, bidirectional = rest
        across = False
        sequence, lengths = pad_packed_sequence(PackedSequence(input, sizes))
        going = (
            (torch.arange(len(sequence), device="cpu").unsqueeze(-1) < lengths).to(input.device).unsqueeze(-1)
        )  # (T, B, 1)
    if training and dropout > 0:
        raise ValueError(f"dropout={dropout} is active, so the loss is not deterministic. Call .eval() first.")
    directions = 2 if bidirectional else 1
    cells = _cell_weights(flat, biases, count * directions)
    starts = torch.cat(tuple(hx), dim=-1) if kind == "lstm" else hx  # (layers * directions, B, S)
    finals = []
    for layer in range(count):
        outputs = []
        for row in range(layer * directions, (layer + 1) * directions):
            backwards = row % directions == 1
            emitted, final = _run(kind, cells[row], starts[row], sequence, going, backwards)
            outputs.append(emitted)
            finals.append(final)
        sequence = torch.cat(outputs, dim=-1)
    final = torch.stack(finals)
    hidden = cells[0].weight_hh.shape[1]
    ends = (final[..., :hidden], final[..., hidden:]) if kind == "lstm" else (final,)
    if going is not None:
        sequence = torch.cat([sequence[step, :size] for step, size in enumerate(sizes.tolist())])
    return sequence.transpose(0, 1) if across else sequence, *ends


def _run(
    kind: CellKind, weights: CellWeights, state: Tensor, sequence: Tensor, going: Tensor | None, backwards: bool
) -> tuple[Tensor, Tensor]:
    """Return the outputs of one layer in one direction, shape (T, B, P), and its last state, shape (B, S)."""
    emitted: list[Tensor] = []
    order = range(len(sequence))
    for step in reversed(order) if backwards else order:
        after = cell_step(kind, weights, state, sequence[step])
        state = after if going is None else torch.where(going[step], after, state)
        emitted.append(state[..., : weights.weight_hh.shape[1]])
    return torch.stack(emitted[::-1] if backwards else emitted), state


def _cell_weights(flat: Sequence[Tensor], biases: bool, rows: int) -> list[CellWeights]:
    """Return the weights of each layer and direction from the flat list that a module keeps."""
    each = len(flat) // rows
    found = []
    for begin in range(0, len(flat), each):
        weights = list(flat[begin : begin + each])
        first, last = (weights[2:4], weights[4:]) if biases else ([None, None], weights[2:])
        found.append(CellWeights(weights[0], weights[1], *first, *last))
    return found
