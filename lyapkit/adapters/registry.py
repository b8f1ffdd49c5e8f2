"""`as_map`: from a module or callable to a `RecurrentMap`, and the registry that third parties extend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lyapkit.adapters.callables import CallableMap
from lyapkit.adapters.cells import cell_map
from lyapkit.adapters.layers import layer_map
from lyapkit.recurrent_map import RecurrentMap

ModuleType = TypeVar("ModuleType", bound=nn.Module)

_ADAPTERS: dict[type[nn.Module], Callable[[Any], RecurrentMap]] = {}

_RANDOM_IN_TRAINING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


def register_adapter(module_type: type[ModuleType], adapter: Callable[[ModuleType], RecurrentMap]) -> None:
    """Make `as_map` accept modules of a type and of its subclasses.

    The adapter of the closest base class is used; registering a type again replaces its adapter.

    Args:
        module_type: a subclass of `torch.nn.Module`.
        adapter: makes the map of such a module.

    Raises:
        TypeError: ``module_type`` is not a module type.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"register_adapter needs a subclass of torch.nn.Module, got {module_type!r}.")
    _ADAPTERS[module_type] = adapter


def as_map(obj: object, *, state: Any = None, input: Tensor | None = None) -> RecurrentMap:
    """Make a `RecurrentMap` of a PyTorch module or a callable.

    Args:
        obj: one of

            - `nn.RNNCell`, `nn.GRUCell`, `nn.LSTMCell`, `nn.RNN`, `nn.GRU`, `nn.LSTM` (any number of
              layers and any ``proj_size``): the state is (h, c) of every layer. Inputs are time first,
              (T, B, M), whatever the module's own ``batch_first``;
            - a module whose type has a registered adapter;
            - any callable ``f(x)`` or ``f(x, s)``, the *state first* (PyTorch's own cells take the input first), on
              one unbatched state: ``lambda state, input: cell(input, state)`` for a cell with a step of its own;
            - a `RecurrentMap`, which is returned as it is.
        state: example state of a callable, any pytree of floating-point tensors.
        input: example input of a driven callable, a floating-point tensor; None when autonomous.

    Returns:
        The map. It reads the module's current weights at every step.

    Raises:
        TypeError: ``obj`` is none of these, or ``state``/``input`` are given for a module that needs none.
        ValueError: the map is not well defined (bidirectional, active dropout, hooks, another ``forward`` than the
            built-in one, returned shape differs), in half precision or on the meta device.

    Example:
        >>> import torch
        >>> from lyapkit import as_map
        >>> as_map(torch.nn.LSTM(3, 5)).state_size
        10
        >>> henon = as_map(lambda x: torch.stack((1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0])), state=torch.zeros(2))
        >>> henon.unit_names
        ['x[0]', 'x[1]']
    """
    if isinstance(obj, RecurrentMap):
        _refuse_examples(obj, state, input)
        return obj
    if isinstance(obj, nn.Module):
        adapter = _adapter(obj)
        if adapter is not None:
            map = _checked(adapter(obj))
            _refuse_examples(obj, state, input)
            return map
    if isinstance(obj, type) and issubclass(obj, nn.Module):
        raise TypeError(f"{obj.__name__} is a class; pass a module, such as {obj.__name__}(...).")
    if callable(obj) and state is not None:
        if isinstance(obj, nn.Module):
            _refuse_random_layers(obj)
        return _checked(CallableMap(obj, state, input))
    raise TypeError(_unknown(obj))


def _adapter(module: nn.Module) -> Callable[[Any], RecurrentMap] | None:
    """The adapter of the closest base class."""
    return next((_ADAPTERS[base] for base in type(module).__mro__ if base in _ADAPTERS), None)


def _checked(map: RecurrentMap) -> RecurrentMap:
    if map.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the map computes in {map.dtype}, whose derivatives carry two or three digits; convert it with .float() "
            "or .double()."
        )
    if map.device.type == "meta":
        raise ValueError("the map is on the meta device, which holds no numbers; load it on a real device.")
    return map


def _refuse_examples(obj: object, state: Any, input: Tensor | None) -> None:
    if state is not None or input is not None:
        raise TypeError(
            f"{type(obj).__name__} knows its own state and input; give example state and input for callables only. "
            "(An initial state is an argument of the analysis.)"
        )


def _refuse_random_layers(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        if layer.training and isinstance(layer, _RANDOM_IN_TRAINING):
            raise ValueError(
                f"{type(layer).__name__} ({name or 'the module itself'}) is in training mode, so a step depends on "
                "chance or on the batch; call .eval() first."
            )


def _unknown(obj: object) -> str:
    if isinstance(obj, nn.Module):
        known = [name for name, part in obj.named_modules() if name and _adapter(part) is not None]
        if known:
            return (
                f"{type(obj).__name__} has no adapter. Its recurrent part is {', '.join(known)}: pass that, "
                f"model.get_submodule({known[0]!r}), and the rest of the model as readout= where an analysis needs one."
            )
    if callable(obj):
        return (
            f"a callable {type(obj).__name__} needs an example state: as_map(f, state=torch.zeros(N, ...)), and "
            "input=torch.zeros(M, ...) when it is driven."
        )
    return (
        f"cannot make a recurrent map of {type(obj).__name__}; expected a recurrent PyTorch module, a module with "
        "a registered adapter, or a callable f(state) or f(state, input)."
    )


for _cell in (nn.RNNCell, nn.GRUCell, nn.LSTMCell):
    register_adapter(_cell, cell_map)
for _layer in (nn.RNN, nn.GRU, nn.LSTM):
    register_adapter(_layer, layer_map)
