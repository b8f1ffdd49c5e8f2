"""Built-in modules that have been changed cannot be stepped from their weights."""

from __future__ import annotations

from torch import nn


def refuse_changed(module: nn.Module, builtin: type[nn.Module]) -> None:
    """Refuse a module that computes something else than its built-in class.

    Args:
        module: the module.
        builtin: the built-in class whose equations would be used.

    Raises:
        ValueError: its class overrides ``forward``, or it has forward hooks.
    """
    name = type(module).__name__
    if getattr(type(module), "forward", None) is not builtin.forward:
        raise ValueError(
            f"{name} has a forward of its own, so the equations of {builtin.__name__} do not describe it; pass a "
            "callable, as_map(lambda state, input: ..., state=..., input=...)."
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(
            f"{name} has forward hooks, which stepping from its weights would leave out; remove them, or pass a "
            "callable, as_map(lambda state, input: ..., state=..., input=...)."
        )
