"""Find the modules that a model is made of, also where a map or a function hides them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import nn

from lyapkit.recurrent_map import RecurrentMap


def modules_of(model: object) -> list[nn.Module]:
    """Return all modules that a model is made of, also those that a map or a function hides.

    Args:
        model: A module, a `RecurrentMap`, or a callable: its closure, bound object and arguments are looked through.
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    ahead: list[Any] = [model]
    while ahead:
        each = ahead.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, nn.Module):
            found |= {id(module): module for module in each.modules()}
        elif isinstance(each, RecurrentMap):
            ahead += vars(each).values()
        elif isinstance(each, functools.partial):
            ahead += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, list | tuple):
            ahead += each
        elif isinstance(each, dict):
            ahead += each.values()
        elif inspect.ismethod(each):
            ahead += [each.__self__, each.__func__]
        elif inspect.isfunction(each):
            named = inspect.getclosurevars(each)
            ahead += [*named.nonlocals.values(), *named.globals.values(), *(each.__defaults__ or ())]
        elif hasattr(each, "__dataclass_fields__"):
            ahead += vars(each).values() if hasattr(each, "__dict__") else []
    return list(found.values())
