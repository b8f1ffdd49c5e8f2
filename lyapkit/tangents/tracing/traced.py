"""Trace a step if this saves time, compare it with the map, and walk along a trajectory with it."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.checks.one_at_a_time import WarningsHere
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.strategy import Carry, StepDerivative, stretch_of
from lyapkit.tangents.tracing.confirming import agree, confirm
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.traced_step import TracedStep
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.stepping import stepped

WORTH_TRACING = 256
"""Number of steps from which tracing saves more than the tenth of a second that it takes; fewer for more than 100
units."""

MANY_TRAJECTORIES = 256
FEW_UNITS = 8
"""Beyond so many trajectories of at most so few units, the same unit of all trajectories lies side by side."""

_NO_WARNING = WarningsHere("error", other_than=(DeprecationWarning,))
"""vmap warns if it can only loop. PyTorch warns of its own deprecations when it loads its decompositions."""


def trace_step(
    map: RecurrentMap, state: Tensor, input: Tensor | None, k: int, dtype: torch.dtype, check: StepDerivative
) -> TracedStep:
    """Trace a step, and compare it with the map itself at the given states and beside them.

    Raises:
        Untraceable: If the step cannot be traced, or its trace disagrees with the map.
    """
    many = state.shape[0] >= MANY_TRAJECTORIES and state.shape[1] <= FEW_UNITS
    if many:
        try:
            return _tried(map, state, input, k, dtype, check, side_by_side=True)
        except Untraceable:  # products of matrices in another layout round differently
            pass
    return _tried(map, state, input, k, dtype, check, side_by_side=False)


def _tried(
    map: RecurrentMap,
    state: Tensor,
    input: Tensor | None,
    k: int,
    dtype: torch.dtype,
    check: StepDerivative,
    side_by_side: bool,
) -> TracedStep:
    try:
        with torch.no_grad(), _NO_WARNING.open():
            traced = TracedStep(map, state, input, k, dtype, side_by_side)
            frame = traced.trial_frame.to(state.dtype)
            generator = torch.Generator().manual_seed(1)
            aside = torch.randn(state.shape, generator=generator, dtype=torch.float64, device="cpu").to(state)
            for other in (state, state + 0.1 * (1 + state.abs()) * aside):
                _try(traced, map, other, input, frame, check)
    except Untraceable:
        raise
    except Exception as error:  # a map may raise anything under the tracer; other strategies remain
        raise Untraceable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    return traced


def _try(
    traced: TracedStep, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor, check: StepDerivative
) -> None:
    if not torch.equal(traced.step(state, input), map.step(state, input)):
        raise Untraceable("the traced step differs from the map's")
    factors = traced.factors(state[None], None if input is None else input[None])
    found, expected = (
        traced.carry(frame.to(traced.dtype), factors).double(),
        check.push(map, state, input, frame).double(),
    )
    if not agree(traced, state.dtype, found, expected):
        raise Untraceable("the traced tangents differ from forward mode")


class TracedTangents:
    """A traced step that is compared with the map along the run.

    Args:
        map: The map.
        traced: The traced step.
        derivative: Derivative that its tangents are compared with.
    """

    name = "forward mode (traced)"
    decomposes = False

    def __init__(self, map: RecurrentMap, traced: TracedStep, derivative: StepDerivative) -> None:
        self._map, self._traced, self._derivative = map, traced, derivative
        batch, size, _ = traced.trial_frame.shape
        self.step_bytes = batch * size * traced.dtype.itemsize + traced.factor_bytes
        self.stretch = stretch_of(self.step_bytes)

    @classmethod
    def where_it_pays(
        cls, map: RecurrentMap, drive: Drive, k: int, dtype: torch.dtype, derivative: StepDerivative
    ) -> TracedTangents:
        """Trace the step for a long run.

        Args:
            map: The map.
            drive: Initial states and inputs of the run.
            k: Number of directions.
            dtype: Type of the frames.
            derivative: Derivative of a step that is not traced.

        Raises:
            Untraceable: If tracing does not pay, or the step cannot be traced; the message says why.
        """
        if drive.steps * max(1.0, map.state_size / 100) < WORTH_TRACING:
            raise Untraceable(f"too few steps ({drive.steps})")
        if not isinstance(derivative, ForwardTangents):
            raise Untraceable("no forward mode")
        return cls(map, trace_step(map, drive.state, drive.input_at(0), k, dtype, derivative), derivative)

    def states(self, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states by the traced step, which writes each state to its place in the stretch."""
        return stepped(_TracedStepper(self._traced), drive, start, steps, state)

    def carry(self, stretch: Stretch) -> Carry:
        """Return a function that carries frames by the traced tangents.

        Raises:
            TracingFailed: If the stretch differs from the map.
        """
        factors = self._traced.factors(stretch.states, stretch.inputs)
        confirm(self._traced, self._map, self._derivative, stretch, factors)
        return lambda frame, first, last: self._traced.carry(frame, factors[first:last])


class _TracedStepper:
    def __init__(self, traced: TracedStep) -> None:
        self._traced = traced

    def begin(self, state: Tensor, steps: int) -> Tensor:
        self._states, places = self._traced.stretch_memory(steps + 1)
        slots: list[Tensor] = list(self._states)
        self._slots = iter(zip(slots[1:], places[1:], strict=True))
        slots[0].copy_(state)
        return slots[0]

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        slot, place = next(self._slots)
        self._slot: Tensor = slot
        return self._traced.step(state, input, place)

    def keep(self, state: Tensor) -> Tensor:
        if state.data_ptr() != self._slot.data_ptr():
            self._slot.copy_(state)
        return self._slot

    def kept(self) -> tuple[Tensor, Tensor]:
        return self._states[:-1], self._states[-1].clone()  # otherwise it would keep the whole stretch in memory
