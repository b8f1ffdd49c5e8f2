"""The layout of batches for a loss on the last step: time first, with the state held where a sequence has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_flag
from lyapkit.losses.batches import Batch
from lyapkit.losses.unrolled import UnrolledNetwork, check_sequence
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.sequences import (
    check_lengths,
    encoded,
    fill_padding,
    lies_batch_first,
    time_first,
)

Network = Callable[[Any], Any]


class EndingMap(RecurrentMap):
    """A driven map with one more input: it steps if this is 1, and keeps its state, after the sequence's end, if 0.

    Args:
        map: The map.
    """

    def __init__(self, map: RecurrentMap) -> None:
        self._map = map
        self.batching = map.batching

    @property
    def state_size(self) -> int:
        """State size of the map."""
        return self._map.state_size

    @property
    def input_size(self) -> int:
        """Input size of the map and one more."""
        return self._map.input_size + 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the map."""
        return self._map.dtype

    @property
    def device(self) -> torch.device:
        """Device of the map."""
        return self._map.device

    @property
    def unit_names(self) -> Sequence[str]:
        """Unit names of the map."""
        return self._map.unit_names

    def initial_state(self, batch: int) -> Tensor:
        """Return the initial state of the map."""
        return self._map.initial_state(batch)

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Step the map, or keep the state."""
        assert input is not None, "a driven map has an input"
        return torch.where(input[..., -1:] > 0, self._map.step(state, input[..., :-1]), state)

    def output(self, state: Tensor) -> Tensor:
        """Return the output of the map."""
        return self._map.output(state)

    @property
    def readout(self) -> Callable[[Tensor], Tensor] | None:
        """Readout of the map."""
        return self._map.readout

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the parameters of the map."""
        return self._map.parameters()


def laid_out(
    network: Network, pairs: Sequence[Batch], lengths: Any, batch_first: bool | None
) -> tuple[Network, list[Batch]]:
    """Return the network and its batches, with inputs time first.

    A module that is called itself gets its inputs unchanged.

    Args:
        network: A module, or a map with its readout.
        pairs: Inputs and targets of each batch.
        lengths: As `lyapkit.hessian_spectrum` takes them.
        batch_first: Whether inputs have shape (B, T, M); None for the layout of the map's module.

    Returns:
        Network and batches. With lengths, the network steps an `EndingMap`, and the inputs say when sequences end.

    Raises:
        TypeError: If lengths or a layout are of the wrong kind, or are given for a module that is called itself.
        ValueError: If a shape is wrong.
    """
    if not isinstance(network, UnrolledNetwork):
        if lengths is not None:
            raise TypeError(
                "lengths= needs readout=. Without readout=, the model itself is called, and decides which steps it "
                "returns outputs of. Give the recurrent part as model, and the rest as readout=."
            )
        swap = batch_first is not None and check_flag("batch_first", batch_first) != _own_layout(network)
        return network, [(_swapped(inputs) if swap else inputs, targets) for inputs, targets in pairs]
    swapped = lies_batch_first(network.map, batch_first)
    given = [
        _read(network.map, inputs, own, swapped)
        for (inputs, _), own in zip(pairs, _by_batch(lengths, len(pairs)), strict=True)
    ]
    if any(own is not None for _, own in given):
        network = UnrolledNetwork(EndingMap(network.map), network.readout)
        given = [(_with_end(inputs, own), None) for inputs, own in given]
    return network, [(inputs, targets) for (inputs, _), (_, targets) in zip(given, pairs, strict=True)]


def _swapped(inputs: Any) -> Any:
    """Transpose the first two dims of inputs; a single sequence (T, M) stays as it is.

    Raises:
        TypeError: If the inputs are not one tensor.
    """
    if isinstance(inputs, PackedSequence) or not isinstance(inputs, Tensor):
        raise TypeError(
            f"batch_first= needs inputs that are one tensor, got {type(inputs).__name__}. Give them as the model takes "
            "them, and leave batch_first= out."
        )
    return inputs.transpose(0, 1) if inputs.ndim == 3 else inputs


def _own_layout(network: Network) -> bool:
    try:
        return as_map(network).batch_first
    except (TypeError, ValueError):
        raise TypeError(
            "batch_first= needs readout= or a model that as_map takes; this model is called itself. Give inputs as its "
            "forward takes them, and leave batch_first= out."
        ) from None


def _by_batch(lengths: Any, count: int) -> Sequence[Any]:
    """Return the lengths of each batch: those given if there is one batch, else one entry for each batch."""
    if lengths is None:
        return [None] * count
    if count == 1 and not (isinstance(lengths, list | tuple) and len(lengths) == 1 and hasattr(lengths[0], "__len__")):
        return [lengths]
    if not isinstance(lengths, list | tuple) or len(lengths) != count or not all(map(np.ndim, lengths)):
        raise TypeError(
            f"lengths must be a list with one entry for each of the {count} batches, the lengths of its sequences, got "
            f"{type(lengths).__name__}{f' of {len(lengths)}' if isinstance(lengths, list | tuple) else ''}. Write "
            "[lengths of batch 1, lengths of batch 2, ...]."
        )
    return lengths


def _read(map: RecurrentMap, inputs: Any, lengths: Any, swapped: bool) -> tuple[Any, Tensor | None]:
    """Return the checked and encoded inputs (T, B, M) and lengths (B,) of one batch; leave other types unchanged."""
    if not isinstance(inputs, PackedSequence):
        inputs = encoded(map, inputs)
    if (
        swapped
        and isinstance(inputs, Tensor | np.ndarray)
        and (inputs.ndim not in (2, 3) or inputs.shape[-1] != map.input_size)
    ):
        raise ValueError(
            f"inputs must have shape (B, T, {map.input_size}), batch first, got {tuple(inputs.shape)}; or pass "
            "batch_first=False."
        )
    inputs, lengths = time_first(map, inputs, lengths, swapped)
    if inputs.ndim == 2 and inputs.shape[-1] == map.input_size:
        inputs = inputs.unsqueeze(1)  # one sequence is a batch of one
    if lengths is None:
        return inputs, None
    check_sequence(map, inputs)
    lengths = check_lengths(lengths, inputs)
    return fill_padding(inputs, lengths), lengths


def _with_end(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Append a last component to inputs, (T, B, M + 1): 1 until a sequence ends, 0 afterwards."""
    steps = torch.arange(inputs.shape[0], device=inputs.device).unsqueeze(-1)
    going = torch.ones_like(inputs[..., 0]) if lengths is None else (steps < lengths).to(inputs.dtype)
    return torch.cat((inputs, going.unsqueeze(-1)), dim=-1)
