"""Repeat steps of a run in batches of other states, and check that they give the same results as in the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapkit.checks.double import in_double
from lyapkit.checks.draws import has_drawn
from lyapkit.checks.purity import HIDDEN_STATE, RANDOM_NUMBERS
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.visited import Visit

COUPLED = (
    "a trajectory moves differently when it is not alone in its batch, as under batch norm; make the step treat every "
    "state (..., N) by itself. If the map is meant to be so, pass check=False."
)

TRIES = 8
"""Number of times that states are moved by about rounding and stepped, to see if rounding explains a difference."""

NUDGE = 64
"""Distance by which these states are moved, in units of eps."""

MOST_CALLS = 12
"""Largest number of visits that are repeated if the map steps one state per call."""


def refuse_other_steps(map: RecurrentMap, visits: Sequence[Visit]) -> None:
    """Repeat some steps of a run in one call, and refuse the map if their results differ from those of the run.

    If a step is a function of its state and input, it always gives the same next state, at any time and in any batch.

    Args:
        map: The map.
        visits: States that the run went through.

    Raises:
        ValueError: If a step changes its arguments, draws random numbers or gives another state than in the run.
    """
    if map.batching == "loop":
        visits = visits[:: -(-len(visits) // MOST_CALLS)]
    states = torch.cat([visit.states for visit in visits])
    after = torch.cat([visit.after for visit in visits])
    given = [visit.inputs for visit in visits if visit.inputs is not None]
    inputs = torch.cat(given) if given else None
    random_state = torch.get_rng_state()
    taken = states.clone(), None if inputs is None else inputs.clone()
    with torch.no_grad():
        again = map.step(*taken)
        twice = map.step(states.clone(), None if inputs is None else inputs.clone())
    for what, now, before in (("state", taken[0], states), ("input", taken[1], inputs)):
        if now is not None and before is not None and not torch.equal(now, before):
            raise ValueError(f"the map changes its {what} argument in place; leave it as it is, return a new tensor.")
    if has_drawn(random_state, lambda: map.step(states.clone(), None if inputs is None else inputs.clone())):
        raise ValueError(RANDOM_NUMBERS)
    if not torch.equal(again, twice):
        raise ValueError(HIDDEN_STATE)
    other = unlike(map, states, inputs, again, after)
    if not bool(other.any()):
        return
    row = int(other.nonzero()[0])
    alone = states[row : row + 1], None if inputs is None else inputs[row : row + 1]
    with torch.no_grad():
        by_itself = map.step(*alone)
    if bool(unlike(map, *alone, by_itself, again[row : row + 1]).any()):
        raise ValueError(COUPLED)
    step = [visit.step for visit in visits for _ in visit.trajectories][row]
    trajectory = torch.cat([visit.trajectories for visit in visits])[row]
    raise ValueError(
        f"the map has changed during the run: step {step} of trajectory {int(trajectory)} gave another result when it "
        "was repeated. The map counts its calls, changes its weights, keeps a hidden state or draws random numbers. "
        "Make these part of the state, or an input."
    )


@torch.no_grad()
def unlike(map: RecurrentMap, states: Tensor, inputs: Tensor | None, found: Tensor, expected: Tensor) -> Tensor:
    """Return which of two results of the same steps differ by more than rounding, shape (P,).

    Results differ if a component differs by more than sqrt(eps) times its size, and by more than the step varies
    between states that differ by rounding. The second condition matters where the step jumps. If the step computes in a
    coarser type inside, eps is that of the coarser type.

    Args:
        map: The map.
        states: States before the steps, shape (P, N).
        inputs: Inputs of the steps, shape (P, M), or None.
        found: States after the steps, shape (P, N).
        expected: States after the same steps, computed in another way, shape (P, N).
    """
    away = (found - expected).abs().nan_to_num(nan=torch.inf)
    size = torch.maximum(torch.maximum(found.abs(), expected.abs()), states.abs()).amax(dim=0)
    eps = torch.finfo(states.dtype).eps
    other: Tensor = away > eps**0.5 * size
    if not bool(other.any()):
        return torch.zeros_like(other[..., 0])
    eps = max(eps, _eps_inside(map, states, inputs))
    other &= away > eps**0.5 * size
    here, spread = map.step(states, inputs), torch.zeros_like(away)
    generator = torch.Generator(device="cpu").manual_seed(4)
    for _ in range(TRIES):
        noise = torch.randn(states.shape, generator=generator, dtype=torch.float64, device="cpu").to(states)
        spread = torch.maximum(spread, (map.step(states * (1 + NUDGE * eps * noise), inputs) - here).abs())
    other &= ~(away <= 2 * spread)
    return other.any(dim=-1)


def _eps_inside(map: RecurrentMap, states: Tensor, inputs: Tensor | None) -> float:
    """Return eps of the coarsest type that a step computes in, as far as this can be detected, else 0."""
    with in_double() as mode:
        try:
            map.step(states.double(), None if inputs is None else inputs.double())
        except Exception:  # a map may raise anything if it is given another type
            return 0.0
    found = [*mode.coarse, *([torch.float32] if mode.needed else [])]
    return max((torch.finfo(dtype).eps for dtype in found), default=0.0)
