"""Compare a traced step with its map, along a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.strategy import StepDerivative
from lyapkit.tangents.tracing.traced_step import TracedStep
from lyapkit.trajectories.drive import Stretch

AGREEMENT = {torch.float64: 1e-10, torch.float32: 1e-3}
"""Largest relative difference between a traced step and the strategy that it replaces, when the step is tried."""

STEP_AGREEMENT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest difference of a state from the map's own, evaluated for many states at once, relative to 1 + its size."""

STEPS_PER_CHECK = 256
"""Along a run, the traced tangents are compared with forward mode at one random step in so many."""


class TracingFailed(Exception):
    """A fast step that turned out to differ from the map along the trajectory; the message says where."""


def confirm(
    traced: TracedStep,
    map: RecurrentMap,
    derivative: StepDerivative,
    stretch: Stretch,
    factors: Sequence[tuple[Tensor, ...]],
) -> None:
    """Compare every step of a stretch with the map itself, and the tangents at one of every 256 steps.

    If the map can be evaluated for only one state at a time, one of every 128 steps is compared.

    At states where the step was not tried, it may do something that was not traced. It may take a branch that depends
    on values, or count its calls.

    Args:
        traced: The traced step that has run.
        map: The map.
        derivative: Derivative that the traced tangents replace.
        stretch: States that it went through.
        factors: Factors of its tangents for each step.

    Raises:
        TracingFailed: If a state or a tangent differs.
    """
    length = stretch.steps
    some = sorted({*range(0, length, STEPS_PER_CHECK // 2), length - 1})
    _confirm_steps(map, stretch, some if map.batching == "loop" else slice(None))
    generator = torch.Generator().manual_seed(stretch.start)
    bounds = range(0, length, STEPS_PER_CHECK)
    chosen = {
        int(torch.randint(low, min(low + STEPS_PER_CHECK, length), (), generator=generator, device="cpu"))
        for low in bounds
    }
    if stretch.start == 0:
        chosen |= {0, length - 1}
    steps = sorted(chosen)
    mixture = torch.randn(traced.k, 1, generator=generator, dtype=torch.float64, device="cpu")
    mixture = mixture.to(stretch.states.device)
    frame = traced.trial_frame
    found = [traced.carry(frame.to(traced.dtype), factors[step : step + 1]).double() @ mixture for step in steps]
    direction = (frame @ mixture).to(map.dtype).expand(len(steps), -1, -1, -1)
    inputs = None if stretch.inputs is None else stretch.inputs[steps]
    expected = derivative.push(map, stretch.states[steps], inputs, direction).double()
    for step, one, other in zip(steps, found, expected, strict=True):
        if not agree(traced, map.dtype, one, other):
            raise TracingFailed(f"the traced tangents differ from forward mode at step {stretch.start + step + 1}")


def _confirm_steps(map: RecurrentMap, stretch: Stretch, where: slice | list[int]) -> None:
    states, inputs = stretch.states, stretch.inputs
    with torch.no_grad():
        again = map.step(states[where], None if inputs is None else inputs[where])
    if isinstance(where, slice) and torch.equal(again[:-1], states[1:]) and torch.equal(again[-1], stretch.after):
        return
    after = torch.cat((states[1:], stretch.after[None]))[where]
    room = STEP_AGREEMENT[map.dtype] * (1 + after.abs().amax(dim=-1, keepdim=True))
    wrong = ~((again - after).abs() <= room).all(dim=-1)  # (L, B)
    if stretch.active is not None:
        wrong &= stretch.active[where]
    if bool(wrong.any()):
        step = int(torch.arange(states.shape[0], device="cpu")[where][int(wrong.any(dim=-1).nonzero()[0])])
        raise TracingFailed(f"the traced step differs from the map's at step {stretch.start + step + 1}")


def agree(traced: TracedStep, dtype: torch.dtype, found: Tensor, expected: Tensor) -> bool:
    """Tell whether tangents (B, N, k) of a traced step are the expected ones, for a map that computes in ``dtype``."""
    single = torch.float32 in (dtype, traced.dtype) or traced.mixed
    size = torch.linalg.vector_norm(expected, dim=-2).amax()
    return bool(((found - expected).abs() <= AGREEMENT[torch.float32 if single else torch.float64] * size).all())
