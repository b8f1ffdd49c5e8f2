"""Carry tangents by reverse mode, for maps without forward-mode derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap


def jacobian_rows(map: RecurrentMap, state: Tensor, input: Tensor | None, *, create_graph: bool = False) -> Tensor:
    """Compute df/dx at each state, (..., N, N), row by row.

    Args:
        map: The map.
        state: State x_t, shape (..., N).
        input: Input s_t, shape (..., M), or None.
        create_graph: True to keep the Jacobian in the graph, so that it can be differentiated.

    Raises:
        ValueError: If the next state does not depend differentiably on the state.
    """
    with torch.enable_grad():
        state = state if state.requires_grad else state.detach().requires_grad_()
        after = map.step(state, input)
        if not after.requires_grad:
            raise ValueError(
                "the next state does not depend differentiably on the state: the map detaches it, or uses an "
                "operation without derivative; express the step in differentiable torch operations."
            )
        rows = []
        for component in range(map.state_size):
            (row,) = torch.autograd.grad(
                after[..., component].sum(), state, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )  # (..., N): states of a batch do not influence each other
            rows.append(row)
        return torch.stack(rows, dim=-2)


class ReverseTangents:
    """J row by row from vector-Jacobian products, exact to rounding; slower than forward mode."""

    name = "reverse mode (one vjp per state component)"

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """Carry tangent vectors one step on; shapes as in `ForwardTangents.push`."""
        return self.jacobian(map, state, input) @ frame.to(state.dtype)

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """Compute df/dx at each state, shape (..., N, N)."""
        return jacobian_rows(map, state.detach(), input)
