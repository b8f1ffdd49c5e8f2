"""Run a user's model with its built-in recurrent layers written out in elementary operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from lyapkit.adapters.cells import stepped_from_weights
from lyapkit.adapters.elementary import cell_step
from lyapkit.adapters.layers import layer_kind, layer_weights


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Step every `nn.RNN/GRU/LSTM` and cell inside a model by elementary operations while the context is open.

    Fused kernels lack second derivatives (cuDNN) or forward-mode derivatives (oneDNN, fused CUDA cells). The results
    equal the module's own to rounding.

    Args:
        model: the model; its modules' ``forward`` is replaced and put back.
    """
    replaced: list[nn.Module] = []
    try:
        for part in model.modules():
            forward: Callable[..., Any] | None = None
            if isinstance(part, nn.RNNBase) and type(part) in (nn.RNN, nn.GRU, nn.LSTM):
                forward = _layer_forward(part)
            elif isinstance(part, nn.RNNCellBase) and type(part) in (nn.RNNCell, nn.GRUCell, nn.LSTMCell):
                forward = _cell_forward(part)
            if forward is not None:
                part.__dict__["forward"] = forward  # shadows the method; nn.Module.__call__ looks it up here first
                replaced.append(part)
        yield
    finally:
        for part in replaced:
            del part.__dict__["forward"]


def _cell_forward(cell: nn.RNNCellBase) -> Callable[..., Any]:
    map = stepped_from_weights(cell)
    is_lstm = isinstance(cell, nn.LSTMCell)

    def forward(input: Tensor, hx: Any = None) -> Any:
        if hx is None:
            state = input.new_zeros(*input.shape[:-1], map.state_size)
        else:
            state = torch.cat(hx, dim=-1) if is_lstm else hx
        after = map.step(state, input)
        return torch.split(after, cell.hidden_size, dim=-1) if is_lstm else after

    return forward


def _layer_forward(module: nn.RNNBase) -> Callable[..., Any]:
    kind = layer_kind(module)
    emitted_size = module.proj_size or module.hidden_size
    is_lstm = kind == "lstm"

    def forward(input: Any, hx: Any = None) -> Any:
        packed, going = None, None
        if isinstance(input, PackedSequence):
            packed = input
            input, lengths = pad_packed_sequence(packed)  # time first, sequences in their original order
            going = torch.arange(len(input), device="cpu").unsqueeze(-1) < lengths  # (T, B)
            going = going.to(input.device).unsqueeze(-1)
        if not isinstance(input, Tensor):
            raise TypeError(
                f"torch.nn.{type(module).__name__} takes a tensor, got {type(input).__name__}; take the tensor out of "
                "it in the model's forward, or before."
            )
        if module.training and module.dropout > 0:
            raise ValueError(
                f"dropout={module.dropout} is active, so the loss is not deterministic; call .eval() first."
            )
        batched = input.ndim == 3
        sequence = input if batched else input.unsqueeze(1)  # unbatched input is (T, M) with or without batch_first
        across = batched and module.batch_first and packed is None
        if across:
            sequence = sequence.transpose(0, 1)
        directions = ["", "_reverse"] if module.bidirectional else [""]
        rows = module.num_layers * len(directions)
        states = _initial(hx, sequence, rows, emitted_size, module.hidden_size if is_lstm else 0, batched)
        finals = []
        for layer in range(module.num_layers):
            outputs = []
            for direction, suffix in enumerate(directions):
                weights = layer_weights(module, layer, suffix)
                state = states[layer * len(directions) + direction]
                emitted = []
                order = range(len(sequence))
                for step in order if suffix == "" else reversed(order):
                    after = cell_step(kind, weights, state, sequence[step])
                    state = after if going is None else torch.where(going[step], after, state)
                    emitted.append(state[..., :emitted_size])
                outputs.append(torch.stack(emitted if suffix == "" else emitted[::-1]))
                finals.append(state)
            sequence = torch.cat(outputs, dim=-1)
        final = torch.stack(finals)  # (layers * directions, B, S)
        hidden, cells = final[..., :emitted_size], final[..., emitted_size:]
        if across:
            sequence = sequence.transpose(0, 1)
        if packed is not None:
            return _packed_like(packed, sequence), (hidden, cells) if is_lstm else hidden
        if not batched:
            sequence, hidden, cells = sequence.squeeze(1), hidden.squeeze(1), cells.squeeze(1)
        return sequence, (hidden, cells) if is_lstm else hidden

    return forward


def _packed_like(packed: PackedSequence, sequence: Tensor) -> PackedSequence:
    """Outputs (T, B, S) in the order in which the inputs were packed."""
    if packed.sorted_indices is not None:
        sequence = sequence[:, packed.sorted_indices]
    sizes = packed.batch_sizes.tolist()  # of sequences that go on at each step, the longest first
    data = torch.cat([sequence[step, :size] for step, size in enumerate(sizes)])
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def _initial(hx: Any, sequence: Tensor, rows: int, emitted: int, cells: int, batched: bool) -> Tensor:
    """Initial flat states, shape (layers * directions, B, S)."""
    if hx is None:
        return sequence.new_zeros(rows, sequence.shape[1], emitted + cells)
    parts = tuple(hx) if cells else (hx,)
    if not batched:
        parts = tuple(part.unsqueeze(1) for part in parts)
    return torch.cat(parts, dim=-1)
