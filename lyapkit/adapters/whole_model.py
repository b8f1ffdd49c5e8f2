"""Adapter of a whole model: an encoder, a recurrent core, and a readout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lyapkit.cell_derivatives import AffineCell
from lyapkit.checks.modules import modules_of
from lyapkit.checks.purity import ModuleWatch, refuse_training_mode
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.encoded import Encoded
from lyapkit.trajectories.sequences import as_tensor

Part = str | Callable[[Any], Tensor]


class WholeModel(RecurrentMap):
    """The recurrent core of a model as a map, with the model's encoder and readout.

    A step of the map is a step of the core. Analyses take the model's own inputs, such as tokens, and `encode` turns
    them into the inputs of the core. Parameters have the same names as in the model.

    Args:
        model: The model.
        core: The name of its recurrent part.
        map: The map of that part.
        encoder: The part before it: a name or a callable, from the model's inputs to those of the core. None if the
            core reads them itself.
        readout: The part after it: a name or a callable, from the core's output to the model's. None for the core's
            own readout, if it has one.

    Raises:
        TypeError: If the encoder or the readout is neither a name nor a callable.
        ValueError: If the model has no part of that name.
    """

    def __init__(
        self, model: nn.Module, core: str, map: RecurrentMap, encoder: Part | None, readout: Part | None
    ) -> None:
        self.model, self.core, self.map = model, core, map
        self.batching = map.batching
        self._called: list[nn.Module] = []  # modules that the encoder has called
        self._encoder = None if encoder is None else _part(model, "encoder", encoder)
        self._readout = None if readout is None else _part(model, "readout", readout)
        self._readout_name = readout if isinstance(readout, str) else None

    @property
    def state_size(self) -> int:
        """Width of the core's state."""
        return self.map.state_size

    @property
    def input_size(self) -> int:
        """Width of the core's input, after the encoder."""
        return self.map.input_size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the core's numbers."""
        return self.map.dtype

    @property
    def device(self) -> torch.device:
        """Device of the core."""
        return self.map.device

    @property
    def unit_names(self) -> Sequence[str]:
        """Names of the core's units."""
        return self.map.unit_names

    @property
    def batch_first(self) -> bool:
        """Layout of the core's inputs."""
        return self.map.batch_first

    @property
    def has_encoder(self) -> bool:
        """True where the model's own inputs are encoded first."""
        return self._encoder is not None

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Take a step of the core."""
        return self.map.step(state, input)

    def initial_state(self, batch: int) -> Tensor:
        """Return the core's initial state."""
        return self.map.initial_state(batch)

    def output(self, state: Tensor) -> Tensor:
        """Return the core's output."""
        return self.map.output(state)

    @property
    def predicted_gradient_rate(self) -> float | None:
        """Predicted rate of the core's gradients."""
        return self.map.predicted_gradient_rate

    def cell_derivatives(self) -> Sequence[AffineCell] | None:
        """Return the derivatives of the core's cell."""
        return self.map.cell_derivatives()

    @torch.no_grad()
    def encode(self, inputs: Any) -> Any:
        """Convert the model's own inputs to those of the core. Every analysis does this with its inputs.

        Args:
            inputs: Inputs of the model, such as tokens (B, T) of a ``batch_first`` model. They are passed to the
                encoder unchanged, except that arrays become tensors.

        Returns:
            The encoder's tensor, in the layout of the model: (B, T, M) or (T, B, M), or (T, M) for one sequence. It
            carries no graph: derivatives stop at the core. Analyses take it, too. It is marked as encoded, so that they
            do not encode it again. Without an encoder, the inputs themselves.

        Raises:
            TypeError: If the encoder returns no tensor of floating-point numbers, there is none and the inputs are
                integers, or an embedding is given other numbers than integers.
            ValueError: If the encoder returns another shape or type than the core reads; or if it calls a module in
                training mode whose result depends on this mode.
        """
        if self._encoder is None:
            if isinstance(inputs, Tensor) and not inputs.is_floating_point():
                raise TypeError(
                    f"without encoder=, inputs must be a tensor of floating-point numbers, got {inputs.dtype}. Name "
                    "the part that embeds them with encoder=."
                )
            return inputs
        if isinstance(inputs, Encoded):
            return inputs
        given = as_tensor("inputs", inputs) if hasattr(inputs, "__array__") else inputs
        with ModuleWatch(self._encoder) as watch:
            try:
                found: Any = self._encoder(given)
            except RuntimeError as error:
                if isinstance(given, Tensor) and "'indices'" in str(error):  # of an embedding
                    raise TypeError(
                        f"the encoder reads tokens, which are integers, got {given.dtype}; convert them with .long()."
                    ) from error
                raise
        self._called = watch.called
        if not isinstance(found, Tensor) or not found.is_floating_point():
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(f"the encoder must return a tensor of floating-point numbers, got {kind}.")
        if found.ndim not in (2, 3) or found.shape[-1] != self.input_size or found.dtype != self.dtype:
            raise ValueError(
                f"{self.core} reads inputs of shape (..., {self.input_size}) with two or three dimensions in "
                f"{self.dtype}, but the encoder returned {tuple(found.shape)} in {found.dtype}. Give another encoder=."
            )
        return found.as_subclass(Encoded)

    @property
    def readout(self) -> Callable[[Tensor], Tensor] | None:
        """The readout that was named, or the core's own."""
        if self._readout is None:
            return self.map.readout
        if not self._tied():
            return self._readout
        return self._read  # a function, so that its parameters are not counted

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the core and of a readout that was named, by their names in the model.

        Parameters of modules that the encoder also calls, such as a tied embedding, are left out, since a step shows
        only a part of their effect. If the encoder is a function, its modules are known after the first `encode`.
        """
        tied = self._tied()
        for name, parameter in self.map.parameters():
            if id(parameter) not in tied:
                yield f"{self.core}.{name}", parameter
        if self._readout_name is not None:
            for name, parameter in cast(nn.Module, self._readout).named_parameters(remove_duplicate=False):
                if id(parameter) not in tied:
                    yield f"{self._readout_name}.{name}", parameter

    def _read(self, emitted: Tensor) -> Tensor:
        assert self._readout is not None, "called only if there is one"
        if isinstance(self._readout, nn.Module):
            refuse_training_mode(self._readout, "readout")
        return self._readout(emitted)

    def _tied(self) -> set[int]:
        """Return the identities of parameters that the encoder shares with the core or the readout."""
        own = [self._encoder] if isinstance(self._encoder, nn.Module) else []
        before = {id(parameter) for module in (*own, *self._called) for parameter in module.parameters()}
        after = {id(parameter) for _, parameter in self.map.parameters()}
        after |= {id(parameter) for module in modules_of(self._readout) for parameter in module.parameters()}
        return before & after


def find_part(model: nn.Module, argument: str, name: str) -> nn.Module:
    """Return the part of a model with a name.

    Args:
        model: The model.
        argument: The argument that names the part, for messages.
        name: The name, such as ``"rnn"`` or ``"decoder.rnn"``.

    Raises:
        ValueError: If there is none.
    """
    parts = [each for each, _ in model.named_modules() if each]
    if name not in parts:
        raise ValueError(f"{argument}={name!r} is no part of {type(model).__name__}; it has {', '.join(parts)}.")
    return model.get_submodule(name)


def _part(model: nn.Module, argument: str, part: Any) -> Callable[[Any], Tensor]:
    if isinstance(part, str):
        return find_part(model, argument, part)
    if not callable(part):
        raise TypeError(f"{argument} must be the name of a part of the model, or a callable, got {part!r}.")
    return cast(Callable[[Any], Tensor], part)
