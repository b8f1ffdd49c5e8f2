"""Trace a step where it pays, try it against the map, and do a run without where it fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.strategy import TangentStrategy
from lyapkit.tangents.tracing.confirming import TracingFailed, agree
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.traced_step import TracedStep
from lyapkit.trajectories.drive import Drive

Result = TypeVar("Result")

WORTH_TRACING = 256
"""Steps from which on the tenth of a second that tracing takes is won back; fewer for more than 100 units."""

MANY_TRAJECTORIES = 256
FEW_UNITS = 8
"""So many trajectories of so few units are laid out side by side, the same unit of all of them next to each other."""


def trace_step(
    map: RecurrentMap, state: Tensor, input: Tensor | None, k: int, dtype: torch.dtype, check: TangentStrategy
) -> TracedStep:
    """A traced step that has been tried against the map itself, at the given states and beside them.

    Raises:
        Untraceable: it cannot be traced or disagrees with the map.
    """
    many = state.shape[0] >= MANY_TRAJECTORIES and state.shape[1] <= FEW_UNITS
    if many:
        try:
            return _tried(map, state, input, k, dtype, check, side_by_side=True)
        except Untraceable:  # matrix products of another layout are rounded differently
            pass
    return _tried(map, state, input, k, dtype, check, side_by_side=False)


def _tried(
    map: RecurrentMap,
    state: Tensor,
    input: Tensor | None,
    k: int,
    dtype: torch.dtype,
    check: TangentStrategy,
    side_by_side: bool,
) -> TracedStep:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # vmap warns where it can only loop
            warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch's own, when it loads its decompositions
            traced = TracedStep(map, state, input, k, dtype, side_by_side)
            frame = traced.trial_frame.to(state.dtype)
            generator = torch.Generator().manual_seed(1)
            aside = torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state)
            for other in (state, state + 0.1 * (1 + state.abs()) * aside):
                _try(traced, map, other, input, frame, check)
    except Untraceable:
        raise
    except Exception as error:  # whatever a map does under the tracer: the other strategies are still there
        raise Untraceable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    return traced


def _try(
    traced: TracedStep, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor, check: TangentStrategy
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
    """A traced step for what it was traced for, and the strategy it was tried against for everything else.

    Args:
        traced: the traced step.
        plain: the strategy.
        batch: B that it was traced for.
    """

    name = "forward mode (traced)"

    def __init__(self, traced: TracedStep, plain: TangentStrategy, batch: int) -> None:
        self.traced = traced
        self.plain = plain
        self._batch = batch

    def fits(self, batch: int, k: int, dtype: torch.dtype) -> bool:
        """Whether frames (B, N, k) of a dtype can be carried by the traced step."""
        return (batch, k, dtype) == (self._batch, self.traced.k, self.traced.dtype)

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """As the strategy does it."""
        return self.plain.push(map, state, input, frame)

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """As the strategy does it."""
        return self.plain.jacobian(map, state, input)


def with_fallback(
    run: Callable[[TangentStrategy], Result], tangents: TangentStrategy, untraced: str
) -> tuple[Result, TangentStrategy, str]:
    """Run an analysis, and once more by the plain strategy where the traced step turns out not to be the map's.

    Args:
        run: the analysis, given a strategy; nothing of a run that fails may be left.
        tangents: the strategy to try first, of `traced_where_it_pays`.
        untraced: why it is not a traced one.

    Returns:
        The result, the strategy it was got by, and why that is not a traced one; empty where it is.
    """
    try:
        return run(tangents), tangents, untraced
    except TracingFailed as reason:
        assert isinstance(tangents, TracedTangents), "nothing else is traced"
        return run(tangents.plain), tangents.plain, str(reason)


def traced_where_it_pays(
    map: RecurrentMap, drive: Drive, k: int, dtype: torch.dtype, plain: TangentStrategy
) -> tuple[TangentStrategy, str]:
    """Trace the step for a long run.

    Args:
        map: the map.
        drive: what it will be run on.
        k: directions.
        dtype: of the frame.
        plain: the strategy to use otherwise.

    Returns:
        The strategy to use, and why it is not a traced one; empty where it is.
    """
    if drive.steps * max(1.0, map.state_size / 100) < WORTH_TRACING:
        return plain, f"too few steps ({drive.steps})"
    if not isinstance(plain, ForwardTangents):
        return plain, "no forward mode"
    try:
        traced = trace_step(map, drive.state, drive.input_at(0), k, dtype, plain)
    except Untraceable as reason:
        return plain, str(reason)
    return TracedTangents(traced, plain, drive.state.shape[0]), ""
