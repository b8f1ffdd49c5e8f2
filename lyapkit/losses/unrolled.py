"""A recurrent map with its readout, run over a sequence: from inputs to the input of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from torch import Tensor, nn

from lyapkit.checks.arguments import check_floating
from lyapkit.checks.clause import clause
from lyapkit.checks.compiled import uncompiled
from lyapkit.checks.purity import refuse_training_mode
from lyapkit.recurrent_map import RecurrentMap

_MISFITS = ("cannot be multiplied", "must match the size", "size mismatch", "same dtype", "expected scalar type")
"""Parts of PyTorch's messages when a readout takes another number of features or another type."""


def resolve_readout(map: RecurrentMap, readout: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    """Return the given readout or, if there is none, the model's own; a compiled one as it was before.

    Raises:
        TypeError: If neither is given, or the given one cannot be called.
        ValueError: If a module in it is in training mode, and its result depends on chance or on the batch.
    """
    chosen = uncompiled(map.readout if readout is None else readout)
    if chosen is None:
        raise TypeError(
            "the model has no readout of its own. Give one with readout=, a callable from the network's output "
            "to what the loss reads (torch.nn.Identity() for the output itself)."
        )
    if not callable(chosen):
        raise TypeError(f"readout must be callable, got {type(chosen).__name__}.")
    if isinstance(chosen, nn.Module):
        refuse_training_mode(chosen, "readout")
    return cast(Callable[[Tensor], Tensor], chosen)


class UnrolledNetwork:
    """A map run from its initial state over a sequence and read out at the last state, with derivatives.

    Args:
        map: The map, stepped with elementary operations.
        readout: Function from the map's output to what the loss reads.
    """

    def __init__(self, map: RecurrentMap, readout: Callable[[Tensor], Tensor]) -> None:
        self.map = map
        self.readout = readout

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compute outputs (B, O) from inputs (T, B, M)."""
        check_sequence(self.map, inputs)
        state = self.map.initial_state(inputs.shape[1])
        for input in inputs.unbind(0):
            state = self.map.step(state, input)
        return self.read(state)

    def read(self, state: Tensor) -> Tensor:
        """Compute outputs (B, O) from states (B, N).

        Raises:
            ValueError: If the readout takes another number of features, or computes in another type.
        """
        emitted = self.map.output(state)
        try:
            return self.readout(emitted)
        except RuntimeError as error:
            if not any(part in str(error) for part in _MISFITS):
                raise
            features = emitted.shape[-1]
            raise ValueError(
                f"readout cannot take the network's output of shape {tuple(emitted.shape)} and {emitted.dtype}: "
                f"{clause(error)}. Give one that takes {features} features, such as torch.nn.Linear({features}, ..., "
                f"dtype={emitted.dtype})."
            ) from error

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the map, and those of the readout after ``readout.``, by all their names."""
        yield from self.map.parameters()
        if isinstance(self.readout, nn.Module):
            for name, parameter in self.readout.named_parameters(remove_duplicate=False):
                yield f"readout.{name}", parameter


def check_sequence(map: RecurrentMap, inputs: Tensor) -> None:
    """Refuse inputs that do not have the shape (T, B, M), or the map's dtype and device.

    Raises:
        TypeError: If the map takes no inputs, or they are not a tensor of floating-point numbers.
        ValueError: If they differ in shape, dtype or device; the message names it.
    """
    if not map.input_size:
        raise TypeError("the map is autonomous, but a loss over (inputs, targets) needs inputs. Give a driven map.")
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs must be a tensor, got {type(inputs).__name__}; convert with torch.as_tensor.")
    check_floating("inputs", inputs.dtype, map.dtype)
    if inputs.ndim != 3 or inputs.shape[-1] != map.input_size or inputs.shape[0] < 1:
        raise ValueError(f"inputs must have shape (T, B, {map.input_size}), time first, got {tuple(inputs.shape)}.")
    if inputs.dtype != map.dtype or inputs.device != map.device:
        raise ValueError(
            f"inputs are {inputs.dtype} on {inputs.device}, the map computes in {map.dtype} on {map.device}; convert "
            "one of them with .to()."
        )
