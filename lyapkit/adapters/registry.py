"""`as_map`: from a module or callable to a `RecurrentMap`, and the registry that third parties extend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.adapters.argument_order import Order
from lyapkit.adapters.callables import CallableMap
from lyapkit.adapters.cells import cell_map
from lyapkit.adapters.layers import layer_map
from lyapkit.adapters.networks import networks_map
from lyapkit.adapters.one_step import one_step
from lyapkit.adapters.whole_model import Part, WholeModel, find_part
from lyapkit.checks.arguments import check_precision
from lyapkit.checks.compiled import uncompiled
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.networks import Networks

ModuleType = TypeVar("ModuleType", bound=nn.Module)

_ADAPTERS: dict[type[nn.Module], Callable[[Any], RecurrentMap]] = {}


@named_arguments()
def register_adapter(module_type: type[ModuleType], adapter: Callable[[ModuleType], RecurrentMap]) -> None:
    """Make `as_map` accept modules of a type and of its subclasses.

    The adapter of the closest base class is used. Registering a type again replaces its adapter.

    Args:
        module_type: A subclass of `torch.nn.Module`.
        adapter: Function that makes the map of such a module.

    Raises:
        TypeError: If ``module_type`` is not a module type, or ``adapter`` cannot be called.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"register_adapter needs a subclass of torch.nn.Module, got {module_type!r}.")
    if not callable(adapter):
        raise TypeError(f"adapter must be a callable from a module to its RecurrentMap, got {adapter!r}.")
    _ADAPTERS[module_type] = adapter


@named_arguments()
def as_map(
    obj: object,
    *,
    state: Any = None,
    input: Tensor | None = None,
    order: Order | None = None,
    core: str | None = None,
    encoder: Part | None = None,
    readout: Part | None = None,
) -> RecurrentMap:
    r"""Make a `RecurrentMap` of a PyTorch module or a callable.

    Args:
        obj: One of

            - `nn.RNNCell`, `nn.GRUCell`, `nn.LSTMCell`, `nn.RNN`, `nn.GRU`, `nn.LSTM` (any number of layers and any
              ``proj_size``). The state is (h, c) of every layer. Inputs have the layout of the module's own
              ``batch_first``;
            - a module whose type has a registered adapter;
            - any callable ``f(x)`` or ``f(x, s)``, on one unbatched state. The *state comes first* unless ``order``
              says otherwise; PyTorch's own cells take the input first;
            - a `RecurrentMap`, which is returned unchanged;
            - several of these, of one architecture with different weights, as a list or as ``{name: network}``.
        state: Example state of a callable, any pytree of floating-point or complex tensors; trajectories start there
            unless an analysis is given another initial state.
        input: Example input of a driven callable, a floating-point or complex tensor; None for an autonomous one. Only
            its shape and dtype matter.
        order: Order of the arguments of a driven callable: ``"state_first"``, f(x, s), or ``"input_first"``, f(s, x).
            By default the state comes first. A callable whose names say the opposite, such as ``forward(self, x, h)``
            or ``step(input, hidden)``, is then refused until ``order`` is given.
        core: Name of the recurrent part of a whole model, such as ``"rnn"`` or ``"decoder.rnn"``. The map of this part
            is returned, with the encoder and the readout of the model. Every analysis then takes the inputs of the
            model.
        encoder: With ``core``, the part before it: the name of a part of the model, such as ``"embedding"``, or a
            callable, from the model's inputs to those of the core. None if the core reads them itself. Its parameters
            are fixed: a Hessian is that of core and readout.
        readout: With ``core``, the part after it: the name of a part, such as ``"head"``, or a callable, from the
            core's output to that of the model. Analyses with a loss use it unless they are given another one.

    Several networks, such as seeds, checkpoints or a grid over a parameter, run together in one call of
    `lyapkit.lyapunov_spectrum`, `lyapkit.lyapunov_exponents`, `lyapkit.variational_term`, `lyapkit.covariant_vectors`,
    `lyapkit.states` and `lyapkit.jacobians`. Every network runs every sequence from every initial state. The
    trajectories of the result have the coordinates ``network`` (the keys, or the numbers from 0) and ``sequence``. The
    coordinate ``trajectory`` is the network if it has one sequence, else both, such as ``a, 0``. So
    ``ds.set_index(trajectory=["network", "sequence"]).unstack("trajectory")`` makes them two dimensions. All networks
    do a step by the same operations, on weights that are stacked when the run begins. Steps are compared with the
    networks' own. If this fails, because the networks are functions or differ in plain numbers, one network steps after
    the other, and ``networks_not_together_because`` in the attribute ``config_json`` says why.

    Compiled modules and functions (`torch.compile`) are stepped as they were before. A module that takes a whole
    sequence and its hidden state is passed as one step of it, such as
    ``lambda h, s: net(s.view(1, 1, M), h.view(1, N))[1].view(N)``.

    Returns:
        The map. It reads the module's current weights at every step.

    Complex numbers, as in diagonal recurrences :math:`x' = \Lambda x + B s` (LRU, S4D), become pairs of real components
    in the flat state, (re, im) next to each other. Every factor lambda_i gives log |lambda_i| twice. Flat states,
    inputs and outputs are therefore real. ``torch.view_as_real(z).flatten(-2)`` turns complex numbers z (..., n) into
    the 2 n components, and ``torch.view_as_complex(x.unflatten(-1, (-1, 2)))`` turns them back, in a readout for
    instance.

    Raises:
        TypeError: If ``obj`` is none of these, ``state`` or ``input`` are given for a module that needs none, or a
            callable cannot be called with them; or if one of several networks is none of these, or their names are not
            all texts or all numbers.
        ValueError: If the names of a callable's arguments contradict their order, the example state is not finite, or
            numbers are in half precision or on the meta device; if there is no well-defined map (the module is
            bidirectional, has active dropout or batch norm, hooks or another ``forward`` than the built-in one; or a
            callable draws random numbers, has a hidden state, or returns another shape); or if several networks are
            none at all, name one twice, or differ in class, parts, shapes, dtype or device.

    Example:
        >>> import torch
        >>> from lyapkit import as_map
        >>> as_map(torch.nn.LSTM(3, 5)).state_size
        10
        >>> henon = as_map(lambda x: torch.stack((1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0])), state=torch.zeros(2))
        >>> henon.unit_names
        ['x[0]', 'x[1]']
        >>> eigenvalues = torch.tensor([0.9j, 0.5 + 0.5j])
        >>> as_map(lambda z: eigenvalues * z, state=torch.zeros(2, dtype=torch.complex64)).unit_names
        ['x[0].re', 'x[0].im', 'x[1].re', 'x[1].im']
        >>> zeros = torch.zeros(2).double()
        >>> cell = as_map(lambda x, h: torch.tanh(x + h / 2), state=zeros, input=zeros, order="input_first")
        >>> cell.step(zeros + 1, zeros).numpy().round(4).tolist()  # of the state: tanh(1/2)
        [0.4621, 0.4621]

        A language model, without taking it apart:

        >>> import lyapkit
        >>> parts = {"embedding": nn.Embedding(9, 4), "rnn": nn.GRU(4, 5, batch_first=True), "head": nn.Linear(5, 9)}
        >>> model, tokens = nn.ModuleDict(parts), torch.randint(9, (2, 30))  # (B, T)
        >>> map = as_map(model, core="rnn", encoder="embedding", readout="head")
        >>> lyapkit.lyapunov_spectrum(map, tokens).lyapunov_exponent.shape
        (2, 5)

        Three networks in one call:

        >>> seeds = {f"seed {seed}": nn.GRU(4, 5) for seed in range(3)}
        >>> ds = lyapkit.lyapunov_spectrum(seeds, torch.randn(30, 4))
        >>> ds.trajectory.values.tolist()
        ['seed 0', 'seed 1', 'seed 2']
    """
    obj = uncompiled(obj)
    if isinstance(obj, list | tuple) or (isinstance(obj, Mapping) and _holds_networks(obj)):
        options: dict[str, Any] = {"core": core, "encoder": encoder, "readout": readout}
        return networks_map(obj, lambda one: as_map(one, state=state, input=input, order=order, **options))
    if core is not None:
        if not isinstance(core, str) or not isinstance(obj, nn.Module):
            raise TypeError(
                f"core= is the name of a part of a model, got core={core!r} and a model of type {type(obj).__name__}."
            )
        part = as_map(find_part(obj, "core", core), state=state, input=input, order=order)
        return WholeModel(obj, core, part, encoder, readout)
    if encoder is not None or readout is not None:
        raise TypeError("encoder= and readout= belong to a whole model; name its recurrent part with core=.")
    if isinstance(obj, RecurrentMap):
        _refuse_examples(obj, state, input, order)
        return obj
    if isinstance(obj, nn.Module):
        adapter = _adapter(obj)
        if adapter is not None:
            map = _checked(adapter(obj))
            _refuse_examples(obj, state, input, order)
            return map
    if isinstance(obj, type) and issubclass(obj, nn.Module):
        raise TypeError(f"{obj.__name__} is a class; pass a module, such as {obj.__name__}(...).")
    if callable(obj) and state is not None:
        _check_order(order, input)
        return CallableMap(obj, state, input, order)
    raise TypeError(_unknown(obj))


def as_single_map(model: object, analysis: str) -> RecurrentMap:
    """Return the map of one network, for an analysis that does not take several.

    Args:
        model: Anything `as_map` takes.
        analysis: Name of the analysis, for the message.

    Raises:
        TypeError: If these are several networks.
    """
    map = as_map(model)
    if isinstance(map, Networks):
        raise TypeError(
            f"{analysis} takes one network, not a list or dictionary of them (got {len(map.maps)}); call it for each: "
            "{name: analysis(network, ...) for name, network in networks.items()}."
        )
    return map


def _holds_networks(obj: Mapping[Any, Any]) -> bool:
    """Tell a dictionary of networks from one of weights, and from results of xarray."""
    if hasattr(obj, "data_vars"):
        return False
    return not obj or any(isinstance(one, RecurrentMap | nn.Module) or callable(one) for one in obj.values())


def _adapter(module: nn.Module) -> Callable[[Any], RecurrentMap] | None:
    """Return the adapter of the closest base class."""
    return next((_ADAPTERS[base] for base in type(module).__mro__ if base in _ADAPTERS), None)


def _check_order(order: Any, input: Any) -> None:
    if order not in (None, "state_first", "input_first"):
        raise ValueError(f'order must be "state_first" or "input_first", got {order!r}.')
    if order == "input_first" and input is None:
        raise TypeError('order="input_first" is for driven callables. Give an example input=, too.')


def _checked(map: RecurrentMap) -> RecurrentMap:
    check_precision(map.dtype, map.device)
    return map


def _refuse_examples(obj: object, state: Any, input: Tensor | None, order: Order | None) -> None:
    if state is not None or input is not None or order is not None:
        raise TypeError(
            f"{type(obj).__name__} knows its own state and input. Give state=, input= and order= for callables only. "
            "(An initial state is an argument of the analysis.)"
        )


def _of_parts(model: nn.Module) -> str:
    """Return the names of a model's parts without an adapter, as part of a sentence; nothing if there are none."""
    names = [name for name, part in model.named_children() if _adapter(part) is None]
    return f" ({', '.join(names)})" if names else ""


def _unknown(obj: object) -> str:
    if isinstance(obj, nn.Module):
        known = [name for name, part in obj.named_modules() if name and _adapter(part) is not None]
        if known:
            embedded = [name for name, part in obj.named_modules() if name and isinstance(part, nn.Embedding)]
            inputs = (
                f" Its inputs are embedded tokens, model.get_submodule({embedded[0]!r})(tokens)." if embedded else ""
            )
            return (
                f"{type(obj).__name__} has no adapter. Its recurrent part is {', '.join(known)}: name it, "
                f"as_map(model, core={known[0]!r}), with the parts before and after it as encoder= and readout=, by "
                f"their names{_of_parts(obj)}, and pass the map. Or pass the part, model.get_submodule({known[0]!r}), "
                f"and give the rest of the model as readout= to an analysis that needs one.{inputs}"
            )
    if isinstance(obj, torch.jit.ScriptModule):
        return f"{type(obj).__name__} is a TorchScript module. Pass the module that it was made from."
    if callable(obj):
        return (
            f"a callable {type(obj).__name__} needs an example state: as_map(f, state=torch.zeros(N, ...)), and "
            f"input=torch.zeros(M, ...) when it is driven. {one_step()}"
        )
    if isinstance(getattr(obj, "model", None), nn.Module):
        return f"{type(obj).__name__} is not a network, but has one. Pass its .model."
    if isinstance(getattr(obj, "map", None), RecurrentMap):
        return f"{type(obj).__name__} is not a map, but has one. Pass its .map."
    if hasattr(obj, "data_vars"):  # of xarray
        return f"cannot make a recurrent map of {type(obj).__name__}, which holds results. Pass the network itself."
    if isinstance(obj, Mapping | str | PathLike):
        return (
            f"cannot make a recurrent map of {type(obj).__name__}: weights alone are no network. Make the module, load "
            "them with .load_state_dict(...), and pass it."
        )
    if isinstance(obj, Tensor | np.ndarray):
        return (
            f"cannot make a recurrent map of {type(obj).__name__}. For a linear map with the matrix A, write "
            "as_map(lambda x: A @ x, state=torch.ones(len(A)))."
        )
    return (
        f"cannot make a recurrent map of {type(obj).__name__}; expected a recurrent PyTorch module, a module with "
        "a registered adapter, or a callable f(state) or f(state, input)."
    )


for _cell in (nn.RNNCell, nn.GRUCell, nn.LSTMCell):
    register_adapter(_cell, cell_map)
for _layer in (nn.RNN, nn.GRU, nn.LSTM):
    register_adapter(_layer, layer_map)
