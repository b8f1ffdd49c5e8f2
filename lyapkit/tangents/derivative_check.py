"""Check the derivatives of a map against finite differences, at states of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lyapkit.checks.double import InDouble, in_double
from lyapkit.checks.finite_differences import Comparison, compare
from lyapkit.checks.hooks import backward_hooks
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.reverse import ReverseTangents
from lyapkit.tangents.strategy import StepDerivative
from lyapkit.trajectories.visited import Suspicion, Visit

DIRECTIONS = 2

IF_MEANT = (
    "Write the step in differentiable operations. If the map is meant to be so, as with surrogate gradients, pass "
    "check=False, and the result says so."
)

FAR_FROM_ZERO = 0.01
"""Components that vary by less than this share of their size are also tested with moves as small as this variation."""

SAME_STEP = 1e-2
"""Largest relative difference between a step and the same step in float64 that rounding may explain."""

COARSE_ROUNDING = 64 * torch.finfo(torch.float32).eps
"""Rounding of a step, relative to its components, that is too large for float32: the step then uses a coarser type."""


@dataclass(frozen=True)
class Derivatives:
    """Outcome of a check of the derivatives of a map.

    Attributes:
        error: The largest relative deviation of a component from a finite difference; -1 if no component could be
            judged.
        step: The step of this deviation, counted from 1.
        refusal: The reason to refuse the map; empty if there is none.
        unsaid: True if no component could be judged.
        multiplications: Multiplications of the largest operation; for a step, those of one trajectory.
    """

    error: float
    step: int
    refusal: str
    unsaid: bool
    multiplications: float = math.inf

    def refuse_wrong(self) -> None:
        """Refuse wrong derivatives.

        Raises:
            ValueError: If a derivative is wrong; the message says which, where, and what to do.
        """
        if self.refusal:
            raise ValueError(self.refusal)

    def provenance(self) -> dict[str, object]:
        """Return the outcome as attributes of a result."""
        known = "unchecked" if self.unsaid else "surrogate" if self.refusal else "checked"
        return {"derivative_error": self.error, "derivative_error_step": self.step, "derivatives": known}


@dataclass(frozen=True)
class _Points:
    """P states of a run, and the typical size of each component."""

    steps: list[int]
    trajectories: list[int]
    states: Tensor
    inputs: Tensor | None
    sizes: Tensor

    @classmethod
    def of(cls, visits: Sequence[Visit]) -> _Points:
        states = torch.cat([visit.states for visit in visits])
        inputs = (
            None
            if visits[0].inputs is None
            else torch.cat([visit.inputs for visit in visits if visit.inputs is not None])
        )
        typical = states.abs().amax(dim=0)
        return cls(
            [visit.step for visit in visits for _ in visit.trajectories],
            [trajectory for visit in visits for trajectory in visit.trajectories.tolist()],
            states,
            inputs,
            torch.where(typical > 0, typical, 1.0).expand_as(states),
        )

    def part(self, count: int) -> _Points:
        """Return at most ``count`` of the points, evenly spread, with the first and the last."""
        if len(self.steps) <= count:
            return self
        rows = sorted({round(index * (len(self.steps) - 1) / (count - 1)) for index in range(count)})
        return _Points(
            [self.steps[row] for row in rows],
            [self.trajectories[row] for row in rows],
            self.states[rows],
            None if self.inputs is None else self.inputs[rows],
            self.sizes[rows],
        )

    def double(self) -> _Points:
        return replace(
            self,
            states=self.states.double(),
            inputs=None if self.inputs is None else self.inputs.double(),
            sizes=self.sizes.double(),
        )


def measure_derivatives(
    map: RecurrentMap, visits: Sequence[Visit], derivative: StepDerivative, *, backwards: bool = False
) -> Derivatives:
    """Compare the derivatives of a step with finite differences at states of a run.

    Both are computed in double precision if the map allows it. All operations of the step are then done in float64,
    including those on weights that the step takes from outside.

    Args:
        map: The map.
        visits: States of the run.
        derivative: The derivative to check.
        backwards: True to compare the backward derivative with the forward one, too.

    Raises:
        ValueError: If the derivative of the first step is not finite.
    """
    points = _Points.of(visits)
    if map.batching == "loop":
        points = points.part(12)
    if isinstance(derivative, ReverseTangents):
        points = points.part(max(4, 2**22 // map.state_size**2))
    refusal = ""
    with torch.no_grad():
        own = map.step(points.states, points.inputs)
        doubled, mode = _in_double(map, points.double())
        size = torch.maximum(own.abs(), points.states.abs()).amax(dim=0).double()
        away = torch.zeros_like(size) if doubled is None else (own - doubled).abs()
        same = doubled is not None and bool(
            (away <= SAME_STEP * torch.where(size > 0, size, 1.0)).double().mean() >= 0.9
        )
        if mode.coarse and bool((away > COARSE_ROUNDING * size).double().mean() > 0.1):
            types = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in mode.coarse))
            worst = float((away / torch.where(size > 0, size, torch.inf)).max())
            refusal = (
                f"the step computes in {types} inside, which rounds the state by {worst:.1g} of its size, so that "
                f"derivatives carry two or three digits; convert weights and activations to {map.dtype}, and leave "
                "torch.autocast out of the step. If the map is meant to be so, pass check=False."
            )
        found = None
        if same:
            context = in_double if mode.needed else nullcontext
            try:
                found = _compared(map, points.double(), derivative, backwards, context)
            except RuntimeError:  # PyTorch computes some derivatives in another type than their arguments
                if not mode.needed:
                    raise
        compared, pulled = found or _compared(map, points, derivative, backwards, nullcontext)
    verdict = _verdict(map, points, compared, pulled, refusal)
    if doubled is None:
        return verdict
    together = 1 if map.batching == "loop" else len(points.steps)
    return replace(verdict, multiplications=mode.multiplications / together)


def suspicion(map: RecurrentMap, derivative: StepDerivative) -> Suspicion | None:
    """Return a quick test of derivatives along one direction. It finds suspects; `measure_derivatives` judges them.

    Args:
        map: The map.
        derivative: The derivative to test.

    Returns:
        A function. It returns the largest deviation of a component, relative to the component, if this exceeds the
        error of a finite difference, else 0. None if the map steps one state per call, or if tangents are computed in
        reverse mode: the test would then be too slow.
    """
    if map.batching == "loop" or isinstance(derivative, ReverseTangents):
        return None

    @torch.no_grad()
    def look(states: Tensor, inputs: Tensor | None, after: Tensor) -> Tensor:
        typical = states.abs().nan_to_num(posinf=0.0).amax(dim=0)
        generator = torch.Generator(device="cpu").manual_seed(1)
        sign = torch.randint(0, 2, typical.shape, generator=generator, device="cpu").to(states) * 2 - 1
        direction = (sign * torch.where(typical > 0, typical, 1.0)).expand_as(states)
        score = torch.zeros(len(states), dtype=states.dtype, device=states.device)
        rows = torch.arange(len(states), device=states.device)
        double = states.dtype == torch.float64
        for h in (1e-5, -1e-6) if double else (1e-2, -3e-3):  # both moves rarely cross a kink beside the state
            at, driven = states[rows], None if inputs is None else inputs[rows]
            exact = derivative.push(map, at, driven, direction[rows].unsqueeze(-1)).squeeze(-1)
            difference = (map.step(at + h * direction[rows], driven) - after[rows]) / h
            noise = 64 * torch.finfo(states.dtype).eps * after[rows].abs() / abs(h)
            size = torch.maximum(exact.abs(), difference.abs()) + noise
            off = ((exact - difference).abs() / torch.where(size > 0, size, 1.0)).nan_to_num().amax(dim=-1)
            score = torch.zeros_like(score).index_copy(0, rows, (off * (off > (1e-2 if double else 0.3))).to(score))
            rows = score.nonzero().flatten()
            if not len(rows):
                break
        return score

    return look


def _in_double(map: RecurrentMap, points: _Points) -> tuple[Tensor | None, InDouble]:
    """Return the step in double precision, or None if the map does not work in it."""
    with in_double() as mode:
        try:
            after = map.step(points.states, points.inputs)
        except Exception:  # a map may raise anything if it is given another type
            return None, mode
    fits = after.dtype == torch.float64 and after.shape == points.states.shape
    return (after if fits else None), mode


def _compared(
    map: RecurrentMap,
    points: _Points,
    derivative: StepDerivative,
    backwards: bool,
    context: Callable[[], AbstractContextManager[object]],
) -> tuple[Comparison, bool]:
    """Return the comparison, and True if the backward derivative agrees with the forward one."""
    states, inputs = points.states, points.inputs
    generator = torch.Generator(device="cpu").manual_seed(0)  # fixed directions, so that the check is deterministic

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu").to(states)

    def step(at: Tensor) -> Tensor:
        rows = at.reshape(-1, at.shape[-1])
        driven = None if inputs is None else inputs.expand(*at.shape[:-1], -1).reshape(len(rows), -1)
        with context():
            return map.step(rows, driven).reshape(at.shape)

    def push(at: Tensor, frame: Tensor) -> Tensor:
        with context():
            return derivative.push(map, at, inputs, frame)

    direction = points.sizes * normal(DIRECTIONS, *states.shape)
    compared = compare(step, push, states, direction)
    spread = states.amax(dim=0) - states.amin(dim=0)
    beside = (spread > 0) & (spread < FAR_FROM_ZERO * points.sizes[0])
    if bool(beside.any()):  # what happens between the states of the run is lost in steps as long as the states
        closer = compare(step, push, states, torch.where(beside, spread / points.sizes, 1.0) * direction)
        compared = closer.or_else(compared)
    aside = states + 0.01 * points.sizes * normal(*states.shape)
    unit = torch.maximum(states.abs(), torch.ones_like(states))
    for other, size in ((states, unit / points.sizes), (aside, 1.0)):
        if not bool((compared.right | compared.wrong).all()):
            compared = compared.or_else(compare(step, push, other, size * direction))
    if not backwards or bool(compared.wrong.any()):
        return compared, True
    with context():
        return compared, _same_backwards(map, points, push(states, direction.movedim(0, -1)), direction, normal)


def _same_backwards(
    map: RecurrentMap, points: _Points, pushed: Tensor, directions: Tensor, normal: Callable[..., Tensor]
) -> bool:
    """Check that u . (J v) = (J^T u) . v for pairs of vectors, with about the same weight on every component.

    Finite differences test only the derivative that carries tangents forwards. A map with derivative formulas of its
    own may have a different one backwards.
    """
    double = points.states.dtype == torch.float64
    typical = pushed.abs().nan_to_num(posinf=0.0).amax(dim=(0, 2))  # (N,)
    least = 1e6 * torch.finfo(typical.dtype).tiny  # smaller numbers have lost digits on the way
    largest = typical.amax()
    if float(largest) <= least:
        largest = torch.ones_like(largest)
    weights = 1 / torch.where(typical > least, typical, largest)
    for exact, direction in zip(pushed.movedim(-1, 0), directions, strict=True):
        u = normal(*exact.shape) * weights
        with torch.enable_grad():
            before = points.states.detach().requires_grad_()
            after = map.step(before, points.inputs)
            pulled = torch.zeros_like(before)
            if after.requires_grad:
                (pulled,) = torch.autograd.grad(after, before, u, materialize_grads=True)
        one, other = u * exact, pulled * direction
        error = (one.sum(dim=-1) - other.sum(dim=-1)).abs()  # (P,)
        room = (1e-6 if double else 1e-3) * (one.abs().sum(dim=-1) + other.abs().sum(dim=-1))
        if bool((torch.isfinite(room) & (error > room) & (exact.abs().amax(dim=-1) > least)).any()):
            return False
    return True


def _verdict(
    map: RecurrentMap, points: _Points, compared: Comparison, same_backwards: bool, refusal: str
) -> Derivatives:
    judged = compared.right | compared.wrong
    if not bool(judged.any()):
        return Derivatives(-1.0, 0, refusal, unsaid=True)
    score = torch.where(judged, compared.deviation, -1.0)
    if bool(compared.wrong.any()):  # the component that matters most at its state
        off = (compared.exact - compared.difference).abs()
        size = torch.maximum(compared.exact.abs(), compared.difference.abs()).amax(dim=-1, keepdim=True)
        score = torch.where(compared.wrong, off / size, -1.0)
    place = int(score.argmax())
    row, component = divmod(place % compared.deviation[0].numel(), map.state_size)
    error, step = float(compared.deviation.flatten()[place]), points.steps[row]
    if bool(compared.wrong.any()) and not refusal:
        exact, difference = (float(part.flatten()[place]) for part in (compared.exact, compared.difference))
        hooks = backward_hooks(map, points.states, points.inputs)
        refusal = (
            f"the derivative of the map disagrees with a finite difference by {abs(exact - difference):.3g} "
            f"(derivative {exact:.3g}) in {map.unit_names[component]} at step {step} of trajectory "
            f"{points.trajectories[row]}: a custom backward, a detach, a surrogate gradient{hooks} or a jump in the "
            f"map. {IF_MEANT}"
        )
    if not same_backwards and not refusal:
        refusal = (
            "the derivative of the map backwards, which gradients use, differs from its derivative forwards: a wrong "
            f"backward of a custom function{backward_hooks(map, points.states, points.inputs)}. {IF_MEANT}"
        )
    return Derivatives(error, step, refusal, unsaid=False)
