"""Everything that a network holds besides its weights, to compare networks and to see that a step changes nothing."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.checks.modules import modules_of
from lyapkit.recurrent_map import RecurrentMap

WEIGHT = "a parameter or buffer"


class HiddenPart(Exception):
    """A function holds a part of the network, so a copy of the network would still use the original."""


def plain_values(map: RecurrentMap) -> list[tuple[str, object]]:
    """Return what a map and its modules hold, apart from the values of parameters and buffers.

    Args:
        map: The map.

    Returns:
        Pairs of a path, such as ``.cell.gain``, and a number, text, class, function or copy of another tensor there.

    Raises:
        HiddenPart: If a function holds a part of the network.
    """
    weights = {
        id(tensor) for module in modules_of(map) for tensor in (*module.parameters(), *module.buffers(recurse=True))
    }
    return list(_walk("", map, weights, set(), inside=False))


def alike(ones: list[tuple[str, object]], others: list[tuple[str, object]]) -> bool:
    """Tell whether two results of `plain_values` are equal."""
    return len(ones) == len(others) and all(map(_equal, ones, others))


def _equal(one: tuple[str, object], other: tuple[str, object]) -> bool:
    (path, value), (place, found) = one, other
    if path != place or type(value) is not type(found):
        return False
    if isinstance(value, Tensor):
        assert isinstance(found, Tensor), "of the same type"
        return value.dtype == found.dtype and value.shape == found.shape and torch.equal(value, found)
    return value == found or (value != value and found != found)  # not a number


def _walk(path: str, value: Any, weights: set[int], seen: set[int], inside: bool) -> Iterator[tuple[str, object]]:
    """Yield the values in an object; ``inside`` is true within a function, which is not copied with the network."""
    if isinstance(value, weakref.ref):
        value = value()
    if inside and (isinstance(value, nn.Module | RecurrentMap) or id(value) in weights):
        raise HiddenPart(path)
    if isinstance(value, Tensor):
        yield path, WEIGHT if id(value) in weights else value.detach().clone()
    elif isinstance(value, np.ndarray):
        yield path, (str(value.dtype), value.shape, value.tobytes())
    elif value is None or isinstance(value, _ATOMS):
        yield path, value
    elif id(value) in seen:
        yield path, "seen before"
    else:
        seen.add(id(value))
        within = inside or isinstance(value, types.FunctionType)
        yield path, value.__code__ if isinstance(value, types.FunctionType) else type(value)
        for name, part in _parts(value):
            yield from _walk(f"{path}{name}", part, weights, seen, within)


_ATOMS = (
    bool, int, float, complex, str, bytes, type, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device,
)  # fmt: skip


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an object with their names."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"[{part!r}]", part) for part in sorted(value, key=repr))
    elif isinstance(value, types.FunctionType):
        yield from ((f"<{place}>", cell.cell_contents) for place, cell in enumerate(value.__closure__ or ()))
        yield "<defaults>", value.__defaults__
        yield "<keywords>", value.__kwdefaults__
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    else:
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)
