"""Refusal of built-in modules that were changed, so that a step from their weights would be wrong."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

WEIGHT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")
"""Names of the weights of recurrent modules."""


def refuse_changed(module: nn.Module, builtin: type[nn.Module]) -> None:
    """Refuse a module that does not compute what its built-in class computes.

    Args:
        module: The module.
        builtin: The built-in class whose equations would be used.

    Raises:
        ValueError: If its class overrides ``forward``, it has forward hooks, or one of its weights is a plain tensor.
    """
    name = type(module).__name__
    if getattr(type(module), "forward", None) is not builtin.forward:
        raise ValueError(
            f"{name} has a forward of its own, so the equations of {builtin.__name__} do not describe it. Pass a "
            "callable, as_map(lambda state, input: ..., state=..., input=...)."
        )
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    if hooks:
        remedies = "; ".join(dict.fromkeys(_remedy(hook) for hook in hooks))
        raise ValueError(f"{name} has forward hooks, which a step from its weights would leave out. {remedies}.")
    _refuse_stale(module)


def _remedy(hook: object) -> str:
    """Say how to remove a hook but keep the weights that it computes."""
    weight = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
    if isinstance(hook, BasePruningMethod):
        return f"Make the pruning permanent with torch.nn.utils.prune.remove(module, {weight!r})"
    if isinstance(hook, WeightNorm):
        return (
            f"Make the normalisation permanent with torch.nn.utils.remove_weight_norm(module, {weight!r}), or "
            "use torch.nn.utils.parametrizations.weight_norm instead, which needs no hooks"
        )
    if isinstance(hook, SpectralNorm):
        return (
            f"Make the normalisation permanent with torch.nn.utils.remove_spectral_norm(module, {weight!r}), or "
            "use torch.nn.utils.parametrizations.spectral_norm instead, which needs no hooks"
        )
    return "Remove them, or pass a callable, as_map(lambda state, input: ..., state=..., input=...)"


def _refuse_stale(module: nn.Module) -> None:
    """Refuse weights that something else computes, since they may be out of date.

    Dropout of weights, for instance, keeps the trained numbers under another name, ``weight_hh_l0_raw``, and writes
    ``weight_hh_l0`` again whenever the model is called.
    """
    for name in sorted({*module.__dict__, *module._parameters}):
        if WEIGHT.fullmatch(name) is None or parametrize.is_parametrized(module, name):
            continue
        value = getattr(module, name)
        if not isinstance(value, Tensor):
            continue
        source = next((name + end for end in ("_raw", "_orig") if _differs(module, name + end, value)), None)
        if isinstance(value, nn.Parameter) and source is None:
            continue
        what = f"is not {source}" if isinstance(value, nn.Parameter) else "is a plain tensor, not a Parameter"
        raise ValueError(
            f"{name} of {type(module).__name__} {what}. Something else computes it when the model is called, so it may "
            "hold old numbers, such as the last weights that dropout thinned out. Call the model once after "
            f"model.eval(), and keep the weights that the layer then has: w = layer.{name}.detach().clone(); del "
            f"layer.{name}; layer.{name} = torch.nn.Parameter(w)."
        )


def _differs(module: nn.Module, source: str, value: Tensor) -> bool:
    """Tell if the parameter of that name has another value than this one."""
    other = module._parameters.get(source)
    return other is not None and not (other.shape == value.shape and torch.equal(other, value))
