"""Bring sequences to one layout: time first, padded, with their lengths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from lyapkit.checks.arguments import check_flag
from lyapkit.checks.clause import clause
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.encoded import Encoded


def lies_batch_first(map: RecurrentMap, batch_first: bool | None) -> bool:
    """Tell whether sequences have the layout (B, T, M): the argument decides, or by default the map's module.

    Raises:
        TypeError: If ``batch_first`` is neither a boolean nor None.
    """
    return map.batch_first if batch_first is None else check_flag("batch_first", batch_first)


def time_first(map: RecurrentMap, inputs: Any, lengths: Any, batch_first: bool) -> tuple[Any, Any]:
    """Return what the map reads of inputs, time first, (T, M) or (T, B, M), and the lengths of padded sequences.

    Args:
        map: The map. The inputs of a whole model are encoded, unless they are already.
        inputs: A tensor or an array, (T, M), (T, B, M) or with ``batch_first`` (B, T, M); or a PackedSequence, whose
            sequences come back in their original order; or what the encoder of a whole model takes. The graph of
            tensors is kept if nothing is encoded.
        lengths: The argument as given, or None. A PackedSequence has its own.
        batch_first: The layout of three-dimensional inputs.

    Raises:
        TypeError: If inputs are a list of tensors or of another type, or if a PackedSequence comes with lengths.
        ValueError: If the encoder returns other inputs than the map reads.
    """
    if isinstance(inputs, PackedSequence):
        if lengths is not None:
            raise TypeError("a PackedSequence has its own lengths; leave lengths= out.")
        inputs, lengths = pad_packed_sequence(inputs, batch_first=batch_first)
    inputs = encoded(map, inputs)
    refuse_parts(inputs, batch_first)
    inputs = as_tensor("inputs", inputs)
    if isinstance(inputs, Encoded):
        inputs = inputs.as_subclass(Tensor)
    return (inputs.transpose(0, 1) if batch_first and inputs.ndim == 3 else inputs), lengths


def encoded(map: RecurrentMap, inputs: Any) -> Any:
    """Return what the map reads of a model's own inputs, marked if its encoder has made it of them.

    Args:
        map: The map.
        inputs: The model's own inputs, or marked ones, which are returned as they are.
    """
    if isinstance(inputs, Encoded):
        return inputs
    found = map.encode(inputs)
    return found.as_subclass(Encoded) if found is not inputs and isinstance(found, Tensor) else found


def refuse_parts(parts: Any, batch_first: bool) -> None:
    """Refuse a list of tensors: it is not clear whether they are steps or sequences.

    Args:
        parts: The argument ``inputs``.
        batch_first: The argument ``batch_first``.

    Raises:
        TypeError: If ``parts`` is such a list; the message says how to make one tensor of it.
    """
    if not (isinstance(parts, list | tuple) and any(isinstance(part, Tensor | np.ndarray) for part in parts)):
        return
    shapes = list(dict.fromkeys(tuple(getattr(part, "shape", ())) for part in parts))
    option = ", batch_first=True" if batch_first else ""
    if len(shapes) > 1:
        remedy = (
            f"Pad sequences of unequal length, inputs=torch.nn.utils.rnn.pad_sequence(sequences{option}), and say how "
            "long they are, lengths=[len(sequence) for sequence in sequences]."
        )
    else:
        sequences, steps = (0, 1) if batch_first else (1, 0)
        remedy = f"Use torch.stack(sequences, dim={sequences}) for sequences (T, M), or dim={steps} for steps (B, M)."
    shown = ", ".join(str(shape) for shape in shapes[:3])
    raise TypeError(
        f"inputs must be one tensor, got a {type(parts).__name__} of {len(parts)} of shape {shown}. {remedy}"
    )


def check_lengths(lengths: Any, inputs: Tensor, transient: int = 0) -> Tensor:
    """Return the lengths of padded sequences, shape (B,), int64, on the device of the inputs.

    Args:
        lengths: The argument ``lengths``.
        inputs: The sequences, shape (T, B, M).
        transient: Steps of each sequence that do not count.

    Raises:
        TypeError: If they are not integers.
        ValueError: If there is not one for each sequence, or if one is not between the transient and T.
    """
    lengths = as_tensor("lengths", lengths)
    assert isinstance(lengths, Tensor), "what as_tensor returns"
    steps, batch = inputs.shape[:2]
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths must be integers, one for each sequence, got {lengths.dtype}.")
    if lengths.shape != (batch,):
        raise ValueError(
            f"lengths must have one entry for each of {batch} sequences, got shape {tuple(lengths.shape)}."
        )
    wrong = (lengths <= transient) | (lengths > steps)
    if bool(wrong.any()):
        which = int(wrong.nonzero()[0])
        raise ValueError(
            f"lengths must lie between {transient + 1}, one step after the transient, and the {steps} steps of the "
            f"inputs; sequence {which} has {int(lengths[which])}."
        )
    return lengths.to(device=inputs.device, dtype=torch.int64)


def fill_padding(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return inputs (T, B, M) padded with the last input of each sequence; the given padding does not count."""
    steps = torch.arange(inputs.shape[0], device=inputs.device).unsqueeze(1)
    last = inputs[lengths - 1, torch.arange(inputs.shape[1], device=inputs.device)]  # (B, M)
    return torch.where((steps < lengths).unsqueeze(-1), inputs, last)


FLAT = (
    "a flat state holds what all layers keep, in the order of as_map(model).unit_names: of (layers, B, H) states, "
    "h.movedim(0, 1).flatten(1) for an RNN or a GRU, torch.stack((h, c), 1).permute(2, 0, 1, 3).flatten(1) for an "
    "LSTM, and torch.cat((h[0], c[0]), -1) for one of a single layer"
)
"""Advice in messages: how to make a flat state of the states of PyTorch's layers."""


def as_tensor(name: str, value: Any) -> Tensor:
    """Return a dense tensor of a tensor, an array or nested numbers.

    Args:
        name: The argument's name, for messages.
        value: The argument as given.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; convert with .to_dense().")
        return value
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        remedy = "use torch.stack"
        if name == "initial_state":
            remedy = f"flat states are wanted, (N,) or (B, N); {FLAT}"
        raise TypeError(f"{name} must be one tensor, got a {type(value).__name__} of tensors; {remedy}.")
    if isinstance(value, str | dict):
        flat = "; flat states are wanted, (N,) or (B, N)" if name == "initial_state" else ""
        if isinstance(value, str):
            flat += "; make tokens of a text and embed them" if name == "inputs" else ""
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}{flat}.")
    try:
        if hasattr(value, "__array__"):  # copied, as PyTorch takes no read-only, reversed or byte-swapped arrays
            array = np.array(value)
            if array.dtype.kind not in "biufc":
                raise TypeError(f"numbers are wanted, not {array.dtype}")
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))
        return torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        reason = clause(error)
        if isinstance(value, Iterable) and not isinstance(value, list | tuple) and not hasattr(value, "__array__"):
            reason = "take one sequence or batch out of it, such as next(iter(loader))"
        elif "str" in reason:
            reason = "make tokens of texts and embed them"
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}: {reason}.") from error
