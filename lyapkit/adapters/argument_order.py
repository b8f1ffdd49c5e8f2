"""Tell from the names of its arguments whether a callable takes the state or the input first."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import MethodType
from typing import Any, Literal

import torch
from torch import nn

Order = Literal["state_first", "input_first"]

_INPUT_WORDS = frozenset({"input", "inputs", "inp", "inps", "inpt", "stimulus", "stimuli", "stim", "token", "tokens"})
"""Names of an input in any field."""

_INPUT_LETTERS = {frozenset({letter}) for letter in ("x", "xs", "u")}
"""Names that mean an input only before a name that clearly means a state. Alone, they mean a state as often."""

_STATE_WORDS = frozenset(
    {"state", "states", "hidden", "hiddens", "hid", "hx", "hc", "hcx", "hxs", "carry", "memory", "mem"}
)
"""Names of a state in any field."""

_STATE_LETTERS = {frozenset({letter}) for letter in ("h", "hs")}
"""Names that mean a state only after a name that may mean an input. Alone, they also mean a field or a step size."""

_TIMES = frozenset(
    {"t", "tm", "prev", "previous", "last", "old", "now", "cur", "curr", "current", "in", "seq", "n", "k"}
)
"""Parts of a name that say when or where, not what: ``x_t``, ``h_prev``, ``x_in``."""


def argument_names(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the names of the first two arguments of a callable, or None if they have no names."""
    try:
        bound = inspect.signature(_called(function)).bind("first", "second").arguments
    except (TypeError, ValueError):  # it takes other arguments, or is written in C
        return _scripted_names(function)
    names = {value: name for name, value in bound.items() if isinstance(value, str)}  # *args have no names
    return (names["first"], names["second"]) if {"first", "second"} <= set(names) else None


def names_contradict_state_first(function: Callable[..., Any]) -> bool:
    """Tell if the name of the first argument clearly means an input, and that of the second clearly a state.

    ``x`` means an input only before a name such as ``h`` or ``hidden``, since it is the state of dynamical systems.
    """
    names = argument_names(function)
    if names is None:
        return False
    first, second = (_meaning(name) for name in names)
    says_input = bool(first & _INPUT_WORDS) and not first & _STATE_WORDS
    says_state = bool(second & _STATE_WORDS) and not second & _INPUT_WORDS
    if says_input:
        return says_state or second in _STATE_LETTERS or second == {"x"}
    return first in _INPUT_LETTERS and (says_state or second in _STATE_LETTERS)


def _meaning(name: str) -> frozenset[str]:
    """Return the words of a name without those that only say when: hidden and state for ``hiddenState_t``."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    words = [re.sub(r"\d+$", "", word) for word in apart.split("_")]
    words = [word[:-1] if word in ("xt", "ht", "ut") else word for word in words]
    return frozenset(word for word in words if word and word not in _TIMES)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a callable runs, with its own argument names: ``forward`` of a module."""
    if isinstance(function, functools.partial):
        return functools.partial(_called(function.func), *function.args, **function.keywords)
    owner = function.__self__ if isinstance(function, MethodType) else None
    if isinstance(owner, nn.Module) and function.__name__ in ("__call__", "_call_impl", "_wrapped_call_impl"):
        function = owner
    if isinstance(function, nn.Module):
        forward: Callable[..., Any] = getattr(function, "_orig_mod", function).forward  # also of a compiled module
        return forward
    return function


def _scripted_names(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the argument names of a TorchScript function, whose signature Python does not know."""
    scripted = function.forward if isinstance(function, nn.Module) else function
    if not isinstance(scripted, torch.jit.ScriptFunction | torch._C.ScriptMethod):
        return None
    schema: Any = scripted.schema
    names = [argument.name for argument in schema.arguments if argument.name != "self"]
    return (names[0], names[1]) if len(names) == 2 else None
