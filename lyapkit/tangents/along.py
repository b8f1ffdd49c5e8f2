"""Walk along a trajectory with its tangents.

Every analysis does this by `TangentRun`. So these exist here, once for all: probing the map, choosing how tangents are
carried, comparing a fast way with the map, repeating the run without it, sequences of unequal length, and the
provenance of all this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from lyapkit.checks.arguments import check_flag
from lyapkit.checks.threads import threads_for
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.direct import DirectTangents
from lyapkit.tangents.probe import Probe, probe_step
from lyapkit.tangents.recorded import RecordedTangents
from lyapkit.tangents.strategy import Carry, StepDerivative, TangentStrategy, choose_derivative
from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.confirming import TracingFailed
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.traced import TracedTangents
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.networks import InOrder, in_order
from lyapkit.trajectories.stepping import run

Result = TypeVar("Result")


class TangentRun:
    """A trajectory of a map, along which frames of k tangent vectors are carried.

    An analysis uses it like this::

        run = TangentRun.prepare(map, drive, k, dtype, check=check)
        result = run.follow(analysis)  # the analysis loops `for stretch, carry in run:`
        run.confirm()
        config = {..., **run.notes}

    Args:
        map: The map.
        drive: Initial states and inputs.
        k: Number of directions.
        dtype: Type of the frames.
        derivative: Derivative of a step, which multiplies by its Jacobian.
        probe: Probe that checks the map again after the run; None if the caller does this.
        strategy: Strategy that carries tangents; None to choose it when it is needed.
    """

    def __init__(
        self,
        map: RecurrentMap,
        drive: Drive,
        k: int,
        dtype: torch.dtype,
        derivative: StepDerivative,
        probe: Probe | None = None,
        strategy: TangentStrategy | None = None,
    ) -> None:
        self.map, self.drive, self.k, self.dtype, self.derivative = map, drive, k, dtype, derivative
        self._whole: RecurrentMap | None = None
        self._probe = probe
        self._strategy = strategy
        self._not_compiled_because = self._not_traced_because = ""
        self._findings: dict[str, object] = {}

    @classmethod
    def prepare(
        cls,
        map: RecurrentMap,
        drive: Drive,
        k: int,
        dtype: torch.dtype,
        *,
        check: bool = True,
        backwards: bool = False,
    ) -> TangentRun:
        """Check that a map can be analysed at all, and choose how it is differentiated.

        Args:
            map: The map.
            drive: Initial states and inputs of the run.
            k: Number of directions.
            dtype: Type of the frames.
            check: True to probe the map. Without it, derivatives are only measured after the run; none are refused.
            backwards: True to compare the backward derivative with the forward one, too.

        Raises:
            TypeError: If a step does not return a tensor, or ``check`` is not a boolean.
            ValueError: If the map is not differentiable or fails one of the checks; the message says which, and what
                to do.
        """
        with threads_for(drive.state.numel() * map.state_size):
            derivative = _chosen(map, drive, check)
            probe = Probe(map, drive, derivative, check, backwards)
        return cls(map, drive, k, dtype, derivative, probe)

    @classmethod
    def recorded(
        cls,
        map: RecurrentMap,
        drive: Drive,
        k: int,
        dtype: torch.dtype,
        *,
        check: bool = True,
        detach_state: bool,
        window: int | None,
    ) -> TangentRun:
        """Make a run that stays in the graph, as `prepare` makes others; see `RecordedTangents`.

        Without ``check``, derivatives are not measured after the run either: a training loop has no time for it.
        """
        derivative = _chosen(map, drive, check)
        probe = Probe(map, drive, derivative, check) if check else None
        whole = in_order(map, *drive.first_step)
        strategy = RecordedTangents(whole, derivative, drive.transient, detach_state, window)
        return cls(map, drive, k, dtype, derivative, probe, strategy)

    @property
    def strategy(self) -> TangentStrategy:
        """The strategy in use: compiled or traced if the run is long enough and the step allows it, else direct."""
        if self._strategy is None:
            arguments = self.drive, self.k, self.dtype, self.derivative
            try:
                self._strategy = CompiledTangents.where_it_pays(self.map, *arguments)
            except Untraceable as not_compiled:
                self._not_compiled_because = str(not_compiled)
                try:
                    self._strategy = TracedTangents.where_it_pays(self.whole, *arguments)
                except Untraceable as reason:
                    self._go_directly(str(reason))
        assert self._strategy is not None, "chosen above"
        return self._strategy

    @property
    def whole(self) -> RecurrentMap:
        """The map for whole batches of the run, as `in_order` returns it."""
        if self._whole is None:
            with torch.no_grad():
                self._whole = in_order(self.map, *self.drive.first_step)
        return self._whole

    def __iter__(self) -> Iterator[tuple[Stretch, Carry]]:
        """Yield the stretches of the trajectory, each with a function that carries frames (B, N, k) over its steps."""
        return self.along(self.drive)

    def along(self, drive: Drive, k: int | None = None) -> Iterator[tuple[Stretch, Carry]]:
        """Yield the stretches of a part of the trajectory, each with a function that carries frames over its steps.

        Args:
            drive: Part of the drive, with all of its trajectories.
            k: Number of directions of these frames, if it is not that of the run. Such frames are carried directly.

        Raises:
            FloatingPointError: If a state is not finite; the message names step and trajectory.
        """
        strategy = self.strategy if k in (None, self.k) else self._directly(k)
        for stretch in run(self.map, drive, strategy.stretch, strategy.states):
            carry = strategy.carry(stretch)
            yield stretch, carry if stretch.active is None else partial(_ending, carry, stretch.active)

    def steps(self, drive: Drive, k: int | None = None) -> Iterator[tuple[Callable[[Tensor], Tensor], Stretch, int]]:
        """Yield single steps: a function that carries a frame over the step, its stretch, and its number from 0."""
        for stretch, carry in self.along(drive, k):
            for index in range(stretch.steps):
                yield partial(carry, first=index, last=index + 1), stretch, stretch.start + index

    def follow(self, analysis: Callable[[TangentRun], Result]) -> Result:
        """Return the result of an analysis; repeat it directly if the fast step turns out to differ from the map.

        Args:
            analysis: Function that goes along this run. If it fails, it must leave nothing behind.
        """
        try:
            with self.threads():
                try:
                    return analysis(self)
                except TracingFailed as reason:
                    self._go_directly(str(reason))
                    self._not_compiled_because = self._not_compiled_because or str(reason)
                    self.drive.visited.forget_suspects()
                    return analysis(self)
        except (ValueError, FloatingPointError):
            self.drive.warn_of_kinks()  # a kink may be the reason
            raise

    def confirm(self) -> None:
        """Check the map again at some states of the run, and warn if the run rests on a kink.

        Raises:
            ValueError: If the map has changed since, if trajectories of a batch influence each other, or if derivatives
                are wrong; only with ``check``.
        """
        if self._probe is not None:
            with self.threads():
                self._findings = self._probe.after_run()
        self.drive.warn_of_kinks()

    def threads(self) -> AbstractContextManager[None]:
        """Return a context with as many threads as a step with its tangents is worth.

        Without ``check``, nobody has looked at a step, and their number stays.
        """
        size = self.map.state_size
        step = math.inf if self._probe is None else max(self._probe.multiplications, size * self.k)
        return threads_for(self.drive.state.shape[0] * self.k * step)

    @property
    def notes(self) -> dict[str, object]:
        """Strategy of the tangents and results of the checks, for the provenance of a result."""
        carried: dict[str, object] = {
            "tangents": (self._strategy or self.derivative).name,
            "batching": self.map.batching,
        }
        if self._strategy is not None:
            carried["tangents_not_compiled_because"] = self._not_compiled_because
            carried["tangents_not_traced_because"] = self._not_traced_because
        if isinstance(self.whole, InOrder):
            carried["networks"] = len(self.whole.maps)
            carried["networks_not_together_because"] = self.whole.apart_because
        return carried | self._findings

    def _go_directly(self, reason: str) -> None:
        self._strategy, self._not_traced_because = self._directly(self.k), reason

    def _directly(self, k: int) -> DirectTangents:
        return DirectTangents(self.whole, self.derivative, self.drive.state.shape[0], k, self.dtype)


def _chosen(map: RecurrentMap, drive: Drive, check: bool) -> StepDerivative:
    if check_flag("check", check):
        probe_step(map, *drive.first_step)
    return choose_derivative(map, *drive.first_step)


def _ending(carry: Carry, active: Tensor, frame: Tensor, first: int, last: int) -> Tensor:
    """Carry a frame; leave the frames of trajectories that have ended as they are."""
    if bool(active[last - 1].all()):
        return carry(frame, first, last)
    for step in range(first, last):
        frame = torch.where(active[step][:, None, None], carry(frame, step, step + 1), frame)
    return frame
