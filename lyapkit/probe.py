"""One look at a map before a long run: is it what it claims to be?"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.arguments import check_flag
from lyapkit.purity import HIDDEN_STATE, RANDOM_NUMBERS, ModuleWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy, choose_strategy


def probed_tangents(
    map: RecurrentMap, state: Tensor, input: Tensor | None, check: bool = True
) -> tuple[TangentStrategy, float]:
    """Choose how tangents are carried, and check first that the map can be analysed at all.

    Args:
        map: the map.
        state: states to probe, shape (B, N).
        input: their inputs, shape (B, M), or None.
        check: probe the map; without it, only the strategy is chosen.

    Returns:
        The strategy, and the derivative error found by `probe_derivative` (-1 without ``check``).

    Raises:
        TypeError: a step does not return a tensor, or ``check`` is not a boolean.
        ValueError: the map is not differentiable or fails one of the checks; the message says which and what to do.
    """
    if check_flag("check", check):
        probe_step(map, state, input)
    tangents = choose_strategy(map, state, input)
    return tangents, probe_derivative(map, state, input, tangents) if check else -1.0


def probe_step(map: RecurrentMap, state: Tensor, input: Tensor | None) -> None:
    """Check that a step is pure, well shaped, finite, deterministic and takes every trajectory by itself.

    Raises:
        TypeError: a step does not return a tensor.
        ValueError: the map fails one of the checks; the message says which and what to do.
    """
    random_state = torch.get_rng_state()
    given_state, given_input = state.clone(), None if input is None else input.clone()
    with torch.no_grad():
        with ModuleWatch(map) as watch:
            after = map.step(given_state, given_input)
        watch.refuse_changes()
        if not isinstance(after, Tensor):
            raise TypeError(f"the map must return its next state as one tensor, got {type(after).__name__}.")
        if not torch.equal(given_state, state):
            raise ValueError("the map changes its state argument in place; return a new tensor instead.")
        if given_input is not None and input is not None and not torch.equal(given_input, input):
            raise ValueError("the map changes its input argument in place; leave it as it is.")
        again = map.step(state.clone(), None if input is None else input.clone())
    if after.shape != state.shape or after.dtype != state.dtype:
        raise ValueError(
            f"the map must return a state of shape {tuple(state.shape)} and {state.dtype}, got {tuple(after.shape)} "
            f"and {after.dtype}."
        )
    if not torch.isfinite(after).all():
        raise ValueError("the first step gives a state that is not finite; check weights, inputs and state.")
    if not torch.equal(torch.get_rng_state(), random_state):
        raise ValueError(RANDOM_NUMBERS)
    if not torch.equal(after, again):
        raise ValueError(HIDDEN_STATE)
    _probe_elsewhere(map, state, input, after)


@torch.no_grad()
def _probe_elsewhere(map: RecurrentMap, state: Tensor, input: Tensor | None, after: Tensor) -> None:
    """Check that trajectories do not see each other, and that a step from somewhere else leaves no trace.

    The second finds hidden states that rest at the given state, as one does that starts at zero there.
    """
    first = state[:1]
    pair = torch.cat((first, first + 0.01 * (1 + first.abs().amax())))
    drive = None if input is None else input[:1]
    try:
        together = map.step(pair, None if drive is None else torch.cat((drive, drive)))
        alone = torch.cat((map.step(pair[:1], drive), map.step(pair[1:], drive)))
    except RuntimeError as error:
        raise ValueError(
            f"the map takes {state.shape[0]} states at once, but not one or two: {error}. A step must take states with "
            "any leading dimensions, and keep nothing between calls. If the map is meant to be so, pass check=False."
        ) from error
    if not torch.equal(after, map.step(state.clone(), input)):
        raise ValueError(HIDDEN_STATE)
    room = torch.finfo(state.dtype).eps ** 0.5 * (1 + alone.abs().amax(dim=-1))
    # where a map jumps, rounding may decide to which side; so one of the two is enough
    if not bool(((together - alone).abs().amax(dim=-1) <= room).any()):
        raise ValueError(
            "a trajectory moves differently when it is not alone in its batch, as under batch norm; make the step "
            "treat every state (..., N) by itself. If the map is meant to be so, pass check=False."
        )


def probe_derivative(map: RecurrentMap, state: Tensor, input: Tensor | None, tangents: TangentStrategy) -> float:
    """Check the derivative of a step against finite differences along one direction.

    Differences have the step h = (eps (1 + max|x|))^(1/3), whose own error is of order h^2 + eps/h. A map may have
    kinks, as a rectifier has, even at the state itself: each component has to agree with the central difference or
    with one of the one-sided ones. Where that fails, a smaller step is tried (strong curvature), and then a state
    beside the given one (several kinks in one point, as in stacked rectifiers at zero).

    Args:
        map: the map.
        state: states to probe, shape (B, N).
        input: their inputs, shape (B, M), or None.
        tangents: the strategy that the analysis will use.

    Returns:
        |J v - difference| / max(|J v|, |v|): the derivative error found.

    Raises:
        ValueError: the derivative is not finite or wrong.
    """
    generator = torch.Generator().manual_seed(0)  # a fixed direction: the probe itself is deterministic
    direction, aside = (torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state) for _ in range(2))
    direction = direction / direction.norm(dim=-1, keepdim=True)
    room = 1 + state.abs().amax(dim=-1, keepdim=True)  # (B, 1)
    length = (torch.finfo(state.dtype).eps * room) ** (1 / 3)
    with torch.no_grad():
        if not torch.isfinite(tangents.push(map, state, input, direction.unsqueeze(-1))).all():
            raise ValueError("the derivative of the first step is not finite; check the map at its initial state.")
    attempts = (state, length), (state, length / 64), (state + 0.1 * room * aside, length / 8)
    found = []
    for start, step in attempts:
        error, size, noise = _difference_error(map, start, step, direction, input, tangents)
        if bool((torch.isfinite(error) & (error <= 1e-3 * size + noise)).all()):
            return float((error / torch.clamp(size, min=1.0)).max())
        found.append(f"{float(error.max()):.3g} (derivative {float(size.max()):.3g})")
    raise ValueError(
        f"the derivative of the map disagrees with a finite difference by {found[0]}: a custom backward, a detach or a "
        "jump in the map. If the map is meant to be so, pass check=False."
    )


def _difference_error(
    map: RecurrentMap, state: Tensor, step: Tensor, direction: Tensor, input: Tensor | None, tangents: TangentStrategy
) -> tuple[Tensor, Tensor, Tensor]:
    """|J v - difference|, |J v| and the rounding noise of the difference, shape (B,) each."""
    with torch.no_grad():
        high, low = state + step * direction, state - step * direction
        direction = (high - low) / (2 * step)  # as it was rounded
        exact = tangents.push(map, state, input, direction.unsqueeze(-1)).squeeze(-1).double()
        ahead, here, behind = (map.step(point, input).double() for point in (high, state, low))
    step = step.double()
    differences = torch.stack(((ahead - behind) / 2, ahead - here, here - behind)) / step  # (3, B, N)
    error = (differences - exact).abs().nan_to_num(nan=torch.inf).amin(dim=0).norm(dim=-1)
    noise = 100 * torch.finfo(state.dtype).eps ** (2 / 3) * (1 + here.norm(dim=-1))
    return error, exact.norm(dim=-1), noise
