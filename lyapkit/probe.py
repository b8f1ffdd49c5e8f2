"""One look at a map before a long run: is it what it claims to be?"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy


def probe(map: RecurrentMap, state: Tensor, input: Tensor | None, tangents: TangentStrategy) -> float:
    """Check that a step is deterministic, pure, finite, well shaped and correctly differentiated.

    The derivative is compared with a central difference along one direction, with step
    h = eps^(1/3) (1 + max|x|), whose own error is of order h^2 + eps/h.

    Args:
        map: the map.
        state: states to probe, shape (B, N).
        input: their inputs, shape (B, M), or None.
        tangents: the strategy that the analysis will use.

    Returns:
        |J v - central difference| / max(|J v|, |v|): the derivative error found.

    Raises:
        ValueError: the map fails one of the checks; the message says which and what to do.
    """
    with torch.no_grad():
        before, random_state = state.clone(), torch.get_rng_state()
        after, again = map.step(state, input), map.step(state, input)
    if not torch.equal(state, before):
        raise ValueError("the map changes its state argument in place; return a new tensor instead.")
    if after.shape != state.shape or after.dtype != state.dtype:
        raise ValueError(
            f"the map must return a state of shape {tuple(state.shape)} and {state.dtype}, got {tuple(after.shape)} "
            f"and {after.dtype}."
        )
    if not torch.isfinite(after).all():
        raise ValueError("the first step gives a state that is not finite; check weights, inputs and state.")
    if not torch.equal(torch.get_rng_state(), random_state):
        raise ValueError(
            "the map draws random numbers, so its exponents are not defined; call .eval() on modules with dropout, "
            "or draw the noise beforehand and give it as inputs."
        )
    if not torch.equal(after, again):
        raise ValueError(
            "two calls with the same state and input differ, so the map keeps a hidden state or draws random numbers; "
            "make that part of the state, or call .eval()."
        )
    return _derivative_error(map, state, input, tangents)


def _derivative_error(map: RecurrentMap, state: Tensor, input: Tensor | None, tangents: TangentStrategy) -> float:
    generator = torch.Generator().manual_seed(0)  # a fixed direction: the probe itself is deterministic
    direction = torch.randn(state.shape, generator=generator, dtype=torch.float64)
    direction = (direction / direction.norm(dim=-1, keepdim=True)).to(state)
    epsilon = torch.finfo(state.dtype).eps
    step = epsilon ** (1 / 3) * (1 + state.abs().max())
    with torch.no_grad():
        exact = tangents.push(map, state, input, direction.unsqueeze(-1)).squeeze(-1)
        ahead, behind = map.step(state + step * direction, input), map.step(state - step * direction, input)
    difference = (ahead.double() - behind.double()) / (2 * step.double())
    error = (exact.double() - difference).norm(dim=-1)  # (B,)
    size = exact.double().norm(dim=-1)
    noise = 100 * epsilon ** (2 / 3) * (1 + ahead.double().norm(dim=-1))
    if not torch.isfinite(exact).all():
        raise ValueError("the derivative of the first step is not finite; check the map at its initial state.")
    if bool((error > 1e-3 * size + noise).any()):
        raise ValueError(
            f"the derivative of the map disagrees with a finite difference by {float(error.max()):.3g} (derivative "
            f"{float(size.max()):.3g}): a custom backward, a detach or a jump in the map. If the map is meant to be "
            "so, pass check=False."
        )
    return float((error / torch.clamp(size, min=1.0)).max())
