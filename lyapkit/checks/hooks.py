"""Hooks of tensors and modules that change gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lyapkit.checks.purity import ModuleWatch
from lyapkit.recurrent_map import RecurrentMap


def refuse_tensor_hooks(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse parameters whose gradients are changed on the way by `torch.Tensor.register_hook`.

    Hooks of `register_post_accumulate_grad_hook` are called only by an optimiser's backward and change nothing here.

    Raises:
        ValueError: If there are such parameters; the message names them.
    """
    hooked = [name for name, parameter in parameters.items() if parameter._backward_hooks]
    if hooked:
        raise ValueError(
            f"the parameter {', '.join(hooked)} has a tensor hook (register_hook), which may change its gradient, so "
            "that it is not the derivative of the loss. Remove the hook with handle.remove(), or pass "
            "copy.deepcopy(model), whose parameters have none."
        )


def backward_hooks(map: RecurrentMap, state: Tensor, input: Tensor | None) -> str:
    """Name the modules with backward hooks that a step calls, for a message; empty where there are none."""
    with torch.no_grad(), ModuleWatch(map) as watch:
        map.step(state, input)
    hooked = sorted({type(module).__name__ for module in watch.called if has_backward_hooks(module)})
    return f", the backward hooks of {', '.join(hooked)}" if hooked else ""


def has_backward_hooks(module: nn.Module) -> bool:
    """Return whether `register_full_backward_hook` or its siblings have been called on a module."""
    return bool(module._backward_hooks or module._backward_pre_hooks)
