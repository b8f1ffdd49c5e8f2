"""Derivatives of a single step with respect to the input, and eigenvalues of those with respect to the state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp, vmap

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.networks import Networks, each_network


def input_jacobian(map: RecurrentMap, state: Tensor, input: Tensor) -> Tensor:
    """Return df/ds at each state, shape (..., N, M): by forward mode, or by reverse mode if the map has none.

    Args:
        map: The map f.
        state: The state x, shape (..., N).
        input: The input s, shape (..., M).
    """
    if isinstance(map, Networks):
        return each_network(map, state, input, _input_jacobian)
    directions = torch.eye(input.shape[-1], dtype=input.dtype, device=input.device)

    def along(direction: Tensor) -> Tensor:
        change: Tensor = jvp(lambda s: map.step(state, s), (input,), (direction.expand_as(input).clone(),))[1]
        return change

    try:
        with torch.no_grad():
            columns: Tensor = vmap(along)(directions)
        return columns.movedim(0, -1)
    except (RuntimeError, NotImplementedError):
        return _rows(map, state, input)


def _input_jacobian(map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
    assert input is not None, "only driven maps come here"
    return input_jacobian(map, state, input)


def _rows(map: RecurrentMap, state: Tensor, input: Tensor) -> Tensor:
    """Return df/ds row by row."""
    with torch.enable_grad():
        source = input.detach().requires_grad_()
        after = map.step(state.detach(), source)
        if not after.requires_grad:  # the input changes nothing
            return input.new_zeros(*state.shape, input.shape[-1])
        rows = [
            torch.autograd.grad(after[..., component].sum(), source, retain_graph=True, materialize_grads=True)[0]
            for component in range(state.shape[-1])
        ]
        return torch.stack(rows, dim=-2)


def sorted_eigenvalues(matrices: Tensor) -> Tensor:
    """Return eigenvalues by descending magnitude, of conjugate pairs the one with positive imaginary part first.

    Args:
        matrices: Shape (..., N, N).

    Returns:
        Complex numbers of double precision, shape (..., N).
    """
    roots = torch.linalg.eigvals(matrices.double())
    ordered: Tensor = roots.gather(-1, magnitude_order(roots))
    return ordered


def magnitude_order(roots: Tensor) -> Tensor:
    """Return the order of eigenvalues (..., N) by descending magnitude.

    Of equal ones, that of the larger real part comes first, then that of the larger imaginary part. LAPACK gives the
    two of a conjugate pair exactly the same magnitude and real part.
    """
    order = torch.argsort(roots.imag, dim=-1, descending=True, stable=True)
    for key in (roots.real, roots.abs()):
        order = order.gather(-1, torch.argsort(key.gather(-1, order), dim=-1, descending=True, stable=True))
    return order
