"""Check of the arguments of reference systems against their annotations."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from lyapkit.checks.arguments import check_flag, check_integer

P = ParamSpec("P")
R = TypeVar("R")


def checked_kinds(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it refuses integers, numbers and flags of the wrong kind.

    Arguments annotated ``int`` are counts of at least 1, or seeds of at least 0; ``float`` are finite numbers; ``bool``
    are True or False; there are also tensors and tuples of numbers. Where None is the default, it is allowed, too. The
    function itself checks further bounds.

    Args:
        function: A function whose annotations are texts.

    Returns:
        The function, which raises a TypeError or a ValueError that names the argument.
    """
    signature = inspect.signature(function)
    kinds = {
        name: (parameter.annotation.removesuffix(" | None"), parameter.default is None)
        for name, parameter in signature.parameters.items()
    }

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            kind, is_optional = kinds[name]
            if value is not None or not is_optional:
                _check(name, value, kind)
        return function(*args, **kwargs)

    return checked


def _check(name: str, value: Any, kind: str) -> None:
    """Refuse a value of another kind.

    Raises:
        TypeError: If it is not of that kind.
        ValueError: If it is too small or not finite.
    """
    if kind == "int":
        least = 0 if name == "seed" else 1
        if check_integer(name, value) < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    elif kind == "float":
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r}.")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}.")
    elif kind == "bool":
        check_flag(name, value)
    elif kind == "Tensor" and not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {value!r}; convert with torch.as_tensor.")
    elif kind == "tuple[float, ...]":
        if not isinstance(value, tuple | list) or not value:
            raise TypeError(f"{name} must be a tuple of numbers, got {value!r}.")
        for position, entry in enumerate(value):
            _check(f"{name}[{position}]", entry, "float")
