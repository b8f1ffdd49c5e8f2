"""The adjoint recursion: total derivatives dL/dx_t, carried back through time without underflow.

Let g_t = (partial L / partial x_t) be the direct derivative of the loss with respect to a state that it reads. Then

    dL/dx_t = g_t + J_{t+1}^T dL/dx_{t+1},

as in eq. (10) of Dubinin & Effenberger (2024) for a loss on the last state. At step t, a parameter theta contributes

    (df(x_{t-1}, s_t; theta)/dtheta)^T dL/dx_t,

to dL/dtheta, which is the sum over all steps. A gradient that decays for a thousand steps leaves the range of float32.
Vectors are therefore kept at unit size, with the logarithm of their scale beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.gradients.scaled import Scaled
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.drive import Drive


@dataclass(frozen=True)
class StepGradient:
    """Derivatives that arrive at one step.

    Attributes:
        step: The step t.
        state: The state x_t, shape (B, N).
        gradient: The gradient dL/dx_t, B vectors (B, N).
        parameters: The contribution at step t for each parameter tensor, summed over the batch: one flat vector (1, P).
    """

    step: int
    state: Tensor
    gradient: Scaled
    parameters: list[Scaled]


def adjoint_sweep(
    map: RecurrentMap,
    parts: Sequence[Drive],
    direct: Callable[[int, Tensor], Tensor | None],
    parameters: Sequence[Tensor] = (),
) -> Iterator[StepGradient]:
    """Carry the gradient from the last step to the first.

    Each segment is visited in turn, from the last to the first. Its states are computed again from its first one, and
    its steps are recorded for automatic differentiation, so only one segment is in memory at a time.

    Args:
        map: The map.
        parts: Consecutive segments of the trajectory, with the state at the start of each.
        direct: Function from t and x_t (B, N) to g_t, (B, N), or to None if the loss does not read x_t.
        parameters: Tensors whose contributions are computed.

    Yields:
        The derivatives that arrive at t = T, ..., 1.
    """
    state = parts[-1].state
    gradient = Scaled.zeros(state.shape, state.device)
    for part in reversed(parts):
        recorded = _record(map, part)
        while recorded:
            before, after, state = recorded.pop()
            step = part.offset + len(recorded) + 1
            own = direct(step, state)
            if own is not None:
                gradient = gradient + Scaled.of(own)
            yield StepGradient(step, state, gradient, _contributions(after, parameters, gradient))
            if step > 1:
                pulled = _pull_back(before, after, gradient.vector.to(after.dtype)).double()
                active = part.active(len(recorded))
                if active is not None:  # nothing comes back from sequences that have ended, not even 0 times infinity
                    pulled = torch.where(active.unsqueeze(-1), pulled, 0.0)
                gradient = Scaled(pulled, gradient.log_scale).rescaled()


def _record(map: RecurrentMap, part: Drive) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Record each step of a segment with a graph of its own; return the states before it, after it, and at its end.

    The last two differ if a sequence has ended before: its state stays.
    """
    recorded, state = [], part.state
    with torch.enable_grad():
        for index in range(part.steps):
            before = state.detach().requires_grad_()
            after = map.step(before, part.input_at(index))
            active = part.active(index)
            state = after.detach()
            state = state if active is None else torch.where(active.unsqueeze(-1), state, before.detach())
            recorded.append((before, after, state))
    return recorded


def _pull_back(before: Tensor, after: Tensor, gradient: Tensor) -> Tensor:
    """Return J^T times the gradient with respect to the state after a step."""
    if not after.requires_grad:
        return torch.zeros_like(before)
    (pulled,) = torch.autograd.grad(after, before, gradient, materialize_grads=True)
    return pulled


def _contributions(after: Tensor, parameters: Sequence[Tensor], gradient: Scaled) -> list[Scaled]:
    """Return (df/dtheta)^T dL/dx_t for each theta, summed over the batch at the scale of the largest term."""
    if not parameters:
        return []
    top = gradient.log_scale.amax()
    cotangent = gradient.relative_to(top.expand_as(gradient.log_scale)).to(after.dtype)
    if not after.requires_grad:
        return [Scaled.zeros(torch.Size((1, tensor.numel())), tensor.device) for tensor in parameters]
    found = torch.autograd.grad(after, list(parameters), cotangent, retain_graph=True, materialize_grads=True)
    flat = [Scaled.of(part.reshape(1, -1)) for part in found]
    finite = torch.where(torch.isinf(top), torch.zeros_like(top), top)
    return [Scaled(part.vector, part.log_scale + finite) for part in flat]
