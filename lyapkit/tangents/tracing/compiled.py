"""Walk along a trajectory with a step in machine code, and compare it with the map at steps spread over the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.strategy import Carry, StepDerivative, stretch_of
from lyapkit.tangents.tracing.confirming import AGREEMENT, STEP_AGREEMENT, TracingFailed
from lyapkit.tangents.tracing.machine.compiled_step import CompiledStep, Windows
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.networks import Networks

WORTH_COMPILING = 256
"""Number of steps from which compiling saves more time than it takes; fewer for more than 100 units."""

MOST_UNITS = 400
"""Largest number of units. Beyond it, nearly all work is matrix products, which a traced step does as fast."""

CHECKED_STEPS = 64
"""Smallest number of steps that are compared with the map, one at random in each part of the run."""

STEPS_PER_CHECK = 1024
"""In a long run, one step in so many is compared with the map."""

CHECKED_TRAJECTORIES = 64
"""Number of trajectories that are compared with the map in each of these steps."""

STEPS_PER_TANGENT_CHECK = 8
"""Among the steps that are compared, tangents are compared with forward mode at one in so many."""

LONGEST_WALK = 2**18
"""Largest number of steps of a stretch if machine code decomposes the windows."""

WALK_BYTES = 32 * 2**20
"""Memory for the states of such a stretch: they are gone through once, so that they need not stay near the cache, and
the end of each stretch, with its checks and a window that is cut, takes as long as tens of steps."""


class CompiledTangents:
    """A step and its tangents as machine code.

    The step was recorded with tensors that have no values, so no decision in Python can depend on values. Therefore it
    is enough to compare it with the map at some steps: this shows whether the map still does what was recorded.

    Args:
        map: The map.
        step: The compiled step.
        derivative: Derivative that its tangents are compared with.
        drive: Initial states and inputs of the run.
    """

    name = "forward mode (machine code)"

    def __init__(self, map: RecurrentMap, step: CompiledStep, derivative: StepDerivative, drive: Drive) -> None:
        self._map, self._step, self._derivative = map, step, derivative
        self.step_bytes = drive.state.numel() * drive.state.itemsize
        self.decomposes = step.decomposes
        self.stretch = stretch_of(self.step_bytes)
        if self.decomposes:
            self.stretch = max(1, min(LONGEST_WALK, WALK_BYTES // self.step_bytes))
        self._spacing = max(1, min(STEPS_PER_CHECK, drive.steps // CHECKED_STEPS))

    @classmethod
    def where_it_pays(
        cls, map: RecurrentMap, drive: Drive, k: int, dtype: torch.dtype, derivative: StepDerivative
    ) -> CompiledTangents:
        """Compile the step for a long run.

        Args:
            map: The map.
            drive: Initial states and inputs of the run.
            k: Number of directions.
            dtype: Type of the frames.
            derivative: Derivative of a step that is not compiled.

        Raises:
            Untraceable: If compiling does not pay, or the step has no machine code; the message says why.
        """
        if drive.steps * max(1.0, map.state_size / 100) < WORTH_COMPILING:
            raise Untraceable(f"too few steps ({drive.steps})")
        if isinstance(map, Networks):
            raise Untraceable("machine code does one network after the other")
        if map.state_size > MOST_UNITS:
            raise Untraceable(f"products of {map.state_size} units take as long without machine code")
        if not isinstance(derivative, ForwardTangents):
            raise Untraceable("no forward mode")
        if map.dtype != torch.float64 or dtype != torch.float64:
            raise Untraceable("machine code computes in float64")
        if map.device.type != "cpu":
            raise Untraceable("machine code is for the CPU")
        state, input = drive.first_step
        step = CompiledStep(map, state[0], None if input is None else input[0], k)
        strategy = cls(map, step, derivative, drive)
        generator = torch.Generator("cpu").manual_seed(1)
        some = state[:4]
        aside = torch.randn(some.shape, generator=generator, dtype=torch.float64, device="cpu")
        both = torch.cat((some, some + 0.1 * (1 + some.abs()) * aside))
        given = None if input is None else torch.cat((input[:4], input[:4]))
        try:
            strategy.try_at(both, given, None)
            strategy.try_tangents_at(both, given)
        except TracingFailed as difference:
            raise Untraceable(str(difference)) from difference
        return strategy

    def states(self, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states of a stretch; sequences that have ended stay where they are."""
        inputs = None if drive.inputs is None else drive.inputs[start : start + steps]
        active = drive.active_over(start, steps)
        if active is None:
            return self._step.walk(state, inputs, steps)
        states = state.expand(steps, -1, -1).clone()
        after = state.clone()
        for trajectory, count in enumerate(active.sum(dim=0).tolist()):
            one = slice(trajectory, trajectory + 1)
            given = None if inputs is None else inputs[:count, one]
            states[:count, one], after[one] = self._step.walk(state[one], given, count)
            states[count:, one] = after[one]
        return states, after

    def carry(self, stretch: Stretch) -> Carry:
        """Return a function that carries frames by compiled tangents.

        Raises:
            TracingFailed: If the stretch differs from the map.
        """
        self._confirm(stretch)
        return partial(self._carried, stretch)

    def _carried(self, stretch: Stretch, frame: Tensor, first: int, last: int) -> Tensor:
        inputs = None if stretch.inputs is None else stretch.inputs[first:last]
        return self._step.push(frame, stretch.states[first:last], inputs)

    def windows(
        self,
        stretch: Stretch,
        first: int,
        frame: Tensor,
        every: int,
        count: int,
        *,
        floor: Tensor,
        limits: Sequence[float],
        certified: range,
    ) -> tuple[Windows | None, int]:
        """Go through windows of a stretch, each with a decomposition at its end; see `CompiledStep.windows`."""
        inputs = None if stretch.inputs is None else stretch.inputs[first : first + count * every]
        return self._step.windows(
            stretch.states[first], frame, inputs, every, count, floor=floor, limits=limits, certified=certified
        )

    @torch.no_grad()
    def _confirm(self, stretch: Stretch) -> None:
        """Compare a stretch with the map, at one step of each part of the run."""
        steps, batch = stretch.steps, stretch.after.shape[0]
        generator = torch.Generator("cpu").manual_seed(stretch.start)
        begins = torch.arange(0, steps, self._spacing, device="cpu")
        chosen = begins + (torch.rand(len(begins), generator=generator, device="cpu") * self._spacing).long()
        chosen = torch.unique(chosen.clamp(max=steps - 1))
        which = torch.randperm(batch, generator=generator, device="cpu")[:CHECKED_TRAJECTORIES]
        following = torch.where(
            (chosen + 1 < steps)[:, None, None], stretch.states[(chosen + 1) % steps], stretch.after
        )[:, which]
        states = stretch.states[chosen][:, which]
        inputs = None if stretch.inputs is None else stretch.inputs[chosen][:, which]
        does = torch.ones(states.shape[:2], dtype=torch.bool, device="cpu")
        if stretch.active is not None:
            does = stretch.active[chosen][:, which]
        if not bool(does.any()):
            return
        at, given = states[does], None if inputs is None else inputs[does]
        label = (chosen + stretch.start + 1).unsqueeze(-1).expand_as(does)[does]
        self.try_at(at, given, following[does], label)
        some = slice(0, None, max(STEPS_PER_TANGENT_CHECK, len(at) // STEPS_PER_TANGENT_CHECK))
        self.try_tangents_at(at[some], None if given is None else given[some], label[some])

    @torch.no_grad()
    def try_at(self, states: Tensor, inputs: Tensor | None, found: Tensor | None, labels: Tensor | None = None) -> None:
        """Compare compiled steps with the map.

        Args:
            states: States before the steps, shape (P, N).
            inputs: Inputs of the steps, shape (P, M), or None.
            found: States after the steps, shape (P, N); None to compute them.
            labels: Numbers of the steps, for the message.

        Raises:
            TracingFailed: If a state differs.
        """
        given = None if inputs is None else inputs.unsqueeze(0)
        after = self._step.walk(states, given, 1)[1] if found is None else found
        expected = self._map.step(states, inputs)
        room = STEP_AGREEMENT[torch.float64] * (1 + expected.abs().amax(dim=-1, keepdim=True))
        right = ((after - expected).abs() <= room).all(dim=-1)
        self._refuse(right, "step differs from the map's", labels)

    @torch.no_grad()
    def try_tangents_at(self, states: Tensor, inputs: Tensor | None, labels: Tensor | None = None) -> None:
        """Compare compiled tangents with forward mode; see `try_at`."""
        generator = torch.Generator("cpu").manual_seed(0)
        frame = torch.randn(states.shape[-1], self._step.k, generator=generator, dtype=torch.float64, device="cpu")
        mixture = torch.randn(self._step.k, 1, generator=generator, dtype=torch.float64, device="cpu")
        frames = frame.expand(len(states), -1, -1)
        given = None if inputs is None else inputs.unsqueeze(0)
        found = self._step.push(frames, states.unsqueeze(0), given) @ mixture
        expected = self._derivative.push(self._map, states, inputs, frames @ mixture)
        size = torch.linalg.vector_norm(expected, dim=-2, keepdim=True)
        right = ((found - expected).abs() <= AGREEMENT[torch.float64] * size).all(dim=-1).all(dim=-1)
        self._refuse(right, "tangents differ from forward mode", labels)

    def _refuse(self, right: Tensor, what: str, labels: Tensor | None) -> None:
        if not bool(right.all()):
            where = "" if labels is None else f" at step {int(labels[~right].min())}"
            raise TracingFailed(f"the compiled {what}{where}")
