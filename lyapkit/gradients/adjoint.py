"""The adjoint recursion: total derivatives dL/dx_t, carried back through time without underflow.

With direct derivatives g_t = (partial L / partial x_t) of the loss with respect to the states it reads,

    dL/dx_t = g_t + J_{t+1}^T dL/dx_{t+1},

eq. (10) of Dubinin & Effenberger (2024) for a loss on the last state. The vector is kept at unit size
beside the logarithm of its scale, since a gradient that decays for a thousand steps leaves the range of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy


def adjoint_sweep(
    map: RecurrentMap,
    states: Tensor,
    inputs: Tensor | None,
    direct: Callable[[int], Tensor | None],
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Carry the gradient from the last step to the first.

    Args:
        map: the map.
        states: x_0, ..., x_T, shape (T+1, B, N).
        inputs: shape (T, B, M), or None.
        direct: g_t for t = 1, ..., T, shape (B, N), or None where the loss does not read x_t.

    Yields:
        For t = T, ..., 1: t, the gradient divided by its scale (B, N), float64, and the logarithm of
        the scale (B,), -inf where the gradient is zero.
    """
    last = states.shape[0] - 1
    gradient = torch.zeros(states.shape[1:], dtype=torch.float64, device=states.device)
    log_scale = torch.full(states.shape[1:2], -torch.inf, dtype=torch.float64, device=states.device)
    for step in range(last, 0, -1):
        if step < last:
            gradient = _pull_back(
                map, states[step], None if inputs is None else inputs[step], gradient.to(states.dtype)
            ).double()
            gradient, log_scale = _rescale(gradient, log_scale)
        part = direct(step)
        if part is not None:
            gradient, log_scale = _add(gradient, log_scale, part.double())
        yield step, gradient, log_scale


def _pull_back(map: RecurrentMap, state: Tensor, input: Tensor | None, gradient: Tensor) -> Tensor:
    """J(x_t, s_t)^T times the gradient with respect to x_{t+1}."""
    with torch.enable_grad():
        state = state.detach().requires_grad_()
        after = map.step(state, input)
        if not after.requires_grad:
            return torch.zeros_like(state)
        (pulled,) = torch.autograd.grad(after, state, gradient, materialize_grads=True)
    return pulled


def check_pull_back(map: RecurrentMap, state: Tensor, input: Tensor | None, tangents: TangentStrategy) -> None:
    """Check on one pair of vectors that u . (J v) = (J^T u) . v.

    The probe looks at the derivative that carries tangents forwards; a map with derivative formulas of its own may
    have another one backwards.

    Args:
        map: the map.
        state: states to check at, shape (B, N).
        input: their inputs, shape (B, M), or None.
        tangents: how J v is computed.

    Raises:
        ValueError: the two differ.
    """
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state) for _ in range(2))
    pushed = tangents.push(map, state, input, v.unsqueeze(-1)).squeeze(-1).double()
    pulled = _pull_back(map, state, input, u).double()
    error = ((u * pushed).sum(dim=-1) - (pulled * v).sum(dim=-1)).abs()  # (B,)
    size = u.double().norm(dim=-1) * pushed.norm(dim=-1) + pulled.norm(dim=-1) * v.double().norm(dim=-1)
    if bool((error > 1e-3 * size).any()):
        raise ValueError(
            "the derivative of the map backwards, which gradients use, differs from its derivative forwards: a wrong "
            "backward of a custom function. If the map is meant to be so, pass check=False."
        )


def _rescale(gradient: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Bring the largest component to 1 and move the rest into the scale."""
    size = gradient.abs().amax(dim=-1)  # (B,)
    gone = size == 0
    gradient = gradient / torch.where(gone, torch.ones_like(size), size).unsqueeze(-1)
    return gradient, torch.where(gone, torch.full_like(size, -torch.inf), log_scale + size.log())


def _add(gradient: Tensor, log_scale: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    """exp(log_scale) gradient + part, rescaled."""
    part, part_scale = _rescale(part, torch.zeros_like(log_scale))
    top = torch.maximum(log_scale, part_scale)
    finite = torch.where(torch.isinf(top), torch.zeros_like(top), top)
    total = (log_scale - finite).exp().unsqueeze(-1) * gradient
    total = total + (part_scale - finite).exp().unsqueeze(-1) * part
    return _rescale(total, top)
