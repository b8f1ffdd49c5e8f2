"""Carry tangents by forward mode: one Jacobian-vector product per column, batched with vmap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp, vmap

from lyapkit.checks.one_at_a_time import ONE_AT_A_TIME
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.networks import InOrder


def push_forward(map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
    """Multiply a frame by J, differentiably if gradients are on; shapes as in `ForwardTangents.push`."""
    if isinstance(map, InOrder):  # the frame within each network: its weights then multiply all columns at once
        assert input is not None, "it holds the numbers of the networks"
        rows: Tensor = map.together(_push_rows, state, input, frame.movedim(-1, 0))
        return rows.movedim(0, -1)

    def along(tangent: Tensor) -> Tensor:  # (..., N) -> (..., N)
        derivative: Tensor = jvp(lambda x: map.step(x, input), (state,), (tangent,))[1]
        return derivative

    # out_dims=-1 fails inside PyTorch if the derivative is a constant, as for a map without memory
    with ONE_AT_A_TIME:  # dual numbers
        pushed: Tensor = vmap(along, in_dims=-1)(frame.to(state.dtype))
    return pushed.movedim(0, -1)


def _push_rows(map: RecurrentMap, state: Tensor, input: Tensor | None, rows: Tensor) -> Tensor:
    return push_forward(map, state, input, rows.movedim(0, -1)).movedim(-1, 0)


class ForwardTangents:
    """J v by `torch.func.jvp`, exact to rounding; `push` forms no Jacobian."""

    name = "forward mode (vmap of jvp)"

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """Carry tangent vectors one step on.

        Args:
            map: The map f.
            state: State x_t, shape (..., N).
            input: Input s_t, shape (..., M), or None.
            frame: Tangent vectors in columns, shape (..., N, k).

        Returns:
            J(x_t, s_t) times the frame, shape (..., N, k), in the map's dtype.
        """
        with torch.no_grad():
            return push_forward(map, state, input, frame)

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """Compute df/dx at each state, shape (..., N, N)."""
        identity = torch.eye(map.state_size, dtype=state.dtype, device=state.device)
        return self.push(map, state, input, identity.expand(*state.shape[:-1], -1, -1))
