"""Tangents that stay in the graph, so that exponents can be differentiated once more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents, push_forward
from lyapkit.tangents.reverse import jacobian_rows
from lyapkit.tangents.strategy import choose_strategy

Push = Callable[[RecurrentMap, Tensor, Tensor | None, Tensor], Tensor]


def choose_recorded_push(map: RecurrentMap, state: Tensor, input: Tensor | None) -> Push:
    """How J times a frame is computed such that it can be differentiated: J v forwards, else rows of J backwards.

    Gradients then flow through J into whatever it depends on, and into the frame; shapes are those of
    `ForwardTangents.push`. Nothing is recorded where gradients are switched off.

    Args:
        map: the map.
        state: states to try it on, shape (B, N).
        input: their inputs, shape (B, M), or None.

    Raises:
        ValueError: the map is not differentiable either way.
    """
    strategy = choose_strategy(map, state.detach(), None if input is None else input.detach())
    return push_forward if isinstance(strategy, ForwardTangents) else _push_reverse


def _push_reverse(map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
    return jacobian_rows(map, state, input, create_graph=torch.is_grad_enabled()) @ frame.to(state.dtype)
