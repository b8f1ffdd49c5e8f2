"""Adapter of several networks of one architecture, such as seeds, checkpoints, or a grid over a parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from lyapkit.adapters.whole_model import WholeModel
from lyapkit.checks.modules import modules_of
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.names import check_trajectory_names
from lyapkit.trajectories.networks import Networks


def networks_map(
    networks: Mapping[Any, object] | Sequence[object], one_map: Callable[[object], RecurrentMap]
) -> Networks:
    """Return the map of several networks, each by its name or its number from 0.

    Args:
        networks: The networks.
        one_map: Function that makes the map of one of them.

    Raises:
        TypeError: If one of them is no network, a map of several, or of another class, or a name is no text or number.
        ValueError: If there are none, one is there twice, or they differ in their parts, the shapes of their weights,
            their units, inputs, dtype or device; or if an encoder makes their inputs.
    """
    named = networks if isinstance(networks, Mapping) else dict(enumerate(networks))
    if not named:
        raise ValueError("there are no networks; give at least one, [network, ...] or {name: network, ...}.")
    check_trajectory_names(list(named), len(named), "the names of networks")
    seen: dict[int, Any] = {}
    maps: dict[Any, RecurrentMap] = {}
    for name, network in named.items():
        if id(network) in seen:
            raise ValueError(
                f"networks {seen[id(network)]!r} and {name!r} are the same object, so that they would have the same "
                "exponents; give each network once, and copies of its states at other times: copy.deepcopy(network)."
            )
        seen[id(network)] = name
        try:
            maps[name] = one_map(network)
        except (TypeError, ValueError) as error:
            raise type(error)(f"network {name!r}: {error}") from error
        if isinstance(maps[name], Networks):
            raise TypeError(f"network {name!r} is itself several networks; give them side by side.")
    (first, like), *others = maps.items()
    for name, map in maps.items():
        if isinstance(map, WholeModel) and map.has_encoder:
            raise ValueError(
                f"network {name!r} has an encoder of its own, so that the networks do not read the same inputs; leave "
                "encoder= out and give encoded inputs, or call the analysis once for each."
            )
    for name, map in others:
        found = _difference(like, map)
        if found is not None:
            raise ValueError(
                f"networks must have one architecture and differ in their weights only: network {name!r} has "
                f"{found[1]}, network {first!r} has {found[0]}. Call the analysis once for each."
            )
    return Networks(maps)


def _difference(one: RecurrentMap, other: RecurrentMap) -> tuple[str, str] | None:
    """Return in words what two maps have that is not alike, or None."""
    pairs = list(zip(_in_words(one), _in_words(other), strict=True))
    parts, others = modules_of(one), modules_of(other)
    pairs += zip(_parts(parts), _parts(others), strict=False)
    pairs.append((f"{len(parts)} modules", f"{len(others)} modules"))
    return next(((ours, theirs) for ours, theirs in pairs if ours != theirs), None)


def _in_words(map: RecurrentMap) -> list[str]:
    return [
        f"a {type(map).__name__}",
        f"a state of {map.state_size}",
        f"{map.input_size} inputs",
        f"numbers of {map.dtype}",
        f"its weights on {map.device}",
        f"batch_first={map.batch_first}",
        f"the units {', '.join(map.unit_names[:3])}, ...",
    ]


def _parts(modules: Sequence[nn.Module]) -> list[str]:
    """Return the classes of modules and the shapes of their weights, in words."""
    found = []
    for module in modules:
        found.append(f"a {type(module).__name__}")
        named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        found += [f"{name} of shape {tuple(tensor.shape)} in a {type(module).__name__}" for name, tensor in named]
        found.append(f"{len(named)} weights in a {type(module).__name__}")
    return found
