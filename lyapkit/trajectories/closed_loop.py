"""Close the loop of a driven map: feed its outputs back as its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.checks.arguments import check_fraction
from lyapkit.checks.clause import clause
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.networks import Networks


class ClosedLoop(RecurrentMap):
    """A driven map whose output is fed back to its input.

    .. math:: x_{t+1} = f(x_t, a s_t + (1 - a) g(x_t))

    with the feedback g and teacher forcing a. With a = 0 the network runs freely, as a trained generator or reservoir
    does, and the map is autonomous. In between, the given inputs pull the network towards them (Hess et al. 2023 call
    this generalised teacher forcing). The Jacobian contains the path through the feedback, so the exponents are those
    of the closed loop.

    Args:
        open_loop: The driven map f.
        feedback: Function g from the map's `output` (..., O) to an input (..., M).
        teacher_forcing: Share a of the given inputs, in [0, 1].

    Raises:
        TypeError: If the map is autonomous and takes no feedback, if the feedback cannot be called, or if a is not a
            number.
        ValueError: If a is outside [0, 1], if the feedback cannot read outputs of this shape and type, or if its
            results do not have the shape and type of inputs.
    """

    def __init__(
        self, open_loop: RecurrentMap, feedback: Callable[[Tensor], Tensor], teacher_forcing: float = 0.0
    ) -> None:
        if not open_loop.input_size:
            raise TypeError("the map is autonomous: it has no input that outputs could be fed back to.")
        if not callable(feedback):
            raise TypeError(f"feedback must be callable, got {type(feedback).__name__}.")
        self.open_loop = open_loop
        self.batching = open_loop.batching
        self.feedback = feedback
        self.teacher_forcing = check_fraction("teacher_forcing", teacher_forcing)
        with torch.no_grad():
            output = open_loop.output(open_loop.initial_state(2))
            try:
                fed = feedback(output)
            except RuntimeError as error:
                raise ValueError(
                    f"feedback cannot read the map's outputs, {tuple(output.shape)} of {output.dtype} for two states: "
                    f"{clause(error)}."
                ) from error
        if not isinstance(fed, Tensor) or fed.shape != (2, open_loop.input_size) or fed.dtype != open_loop.dtype:
            found = f"{tuple(fed.shape)} of {fed.dtype}" if isinstance(fed, Tensor) else type(fed).__name__
            has_encoder = type(open_loop).encode is not RecurrentMap.encode
            remedy = ""
            if has_encoder or (isinstance(fed, Tensor) and not fed.is_floating_point()):
                remedy = (
                    " It goes from the output of the recurrent part to its next input, behind the encoder: tokens have "
                    "to be embedded, as by lambda output: model.embedding(model.head(output).argmax(-1))."
                )
            raise ValueError(
                f"feedback must return inputs of shape (..., {open_loop.input_size}) of {open_loop.dtype}; for two "
                f"states it returned {found}.{remedy}"
            )

    def describe(self) -> str:
        """Say which loop is closed."""
        return f"{type(self).__name__} of {self.open_loop.describe()}"

    @property
    def state_size(self) -> int:
        """State size of the open loop."""
        return self.open_loop.state_size

    @property
    def input_size(self) -> int:
        """Input size of the open loop; 0 if the network runs freely."""
        return self.open_loop.input_size if self.teacher_forcing > 0 else 0

    @property
    def dtype(self) -> torch.dtype:
        """Type of the open loop."""
        return self.open_loop.dtype

    @property
    def device(self) -> torch.device:
        """Device of the open loop."""
        return self.open_loop.device

    @property
    def unit_names(self) -> Sequence[str]:
        """Names of the units of the open loop."""
        return self.open_loop.unit_names

    @property
    def batch_first(self) -> bool:
        """Layout of sequences of the open loop."""
        return self.open_loop.batch_first

    def initial_state(self, batch: int) -> Tensor:
        """Return the initial state of the open loop."""
        return self.open_loop.initial_state(batch)

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Return the next state of the open loop under the mixed input."""
        fed = self.feedback(self.open_loop.output(state))
        if input is not None:
            fed = self.teacher_forcing * input + (1 - self.teacher_forcing) * fed
        return self.open_loop.step(state, fed)

    def encode(self, inputs: Any) -> Any:
        """Return what the open loop encodes of given inputs, which are mixed with those that are fed back."""
        return self.open_loop.encode(inputs)

    def output(self, state: Tensor) -> Tensor:
        """Return the output of the open loop."""
        return self.open_loop.output(state)

    @property
    def readout(self) -> Callable[[Tensor], Tensor] | None:
        """Readout of the open loop."""
        return self.open_loop.readout

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the open loop, and those of the feedback under the prefix ``feedback.``."""
        yield from self.open_loop.parameters()
        if isinstance(self.feedback, nn.Module):
            for name, parameter in self.feedback.named_parameters(remove_duplicate=False):
                yield f"feedback.{name}", parameter


def with_feedback(
    map: RecurrentMap, feedback: Callable[[Tensor], Tensor] | None, teacher_forcing: float
) -> RecurrentMap:
    """Return the map, with its loop closed if a feedback is given.

    Raises:
        TypeError: If teacher forcing is given without feedback.
        ValueError: If `ClosedLoop` refuses the feedback.
    """
    if feedback is not None and isinstance(map, Networks):
        raise TypeError("feedback= closes the loop of one network; for several, call the analysis once for each.")
    if feedback is not None:
        return ClosedLoop(map, feedback, teacher_forcing)
    if teacher_forcing:
        raise TypeError("teacher_forcing mixes given inputs with fed-back ones; it needs feedback=.")
    return map
