"""Run several networks in chunks, and join the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from lyapkit.checks.arguments import check_interval
from lyapkit.checks.randomness import make_generator
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.networks import Networks


def in_chunks(
    analysis: Callable[..., xr.Dataset], map: RecurrentMap, chunk: int, options: Mapping[str, Any]
) -> xr.Dataset:
    """Return the result of `lyapunov_spectrum` for many networks, a few of which run at a time.

    Args:
        analysis: The analysis.
        map: The networks.
        chunk: Number of networks that run together.
        options: All other arguments of the analysis.

    Raises:
        TypeError: If ``chunk`` is no integer, if there is a single network, or if the windows of chunks may differ.
        ValueError: If ``chunk`` is below 1.
    """
    chunk = check_interval(chunk, "chunk")
    if not isinstance(map, Networks):
        raise TypeError("chunk= is for several networks, [network, ...] or {name: network, ...}; leave it out for one.")
    if options["keep"] == "series" and (options["qr_interval"] == "auto" or options["until"] is not None):
        raise TypeError(
            "with chunk=, each chunk chooses its own windows, so that there is no common dimension step; pass "
            'keep="summary", or a number as qr_interval= and no until=.'
        )
    names = list(map.maps)
    generator = make_generator(options["rng"])
    start = generator.get_state()
    results = []
    for begin in range(0, len(names), chunk):
        generator.set_state(start)  # so that all networks start with the same frame
        part = Networks({name: map.maps[name] for name in names[begin : begin + chunk]})
        results.append(analysis(part, **{**options, "rng": generator}))
    return _joined(results, chunk)


def _joined(results: Sequence[xr.Dataset], chunk: int) -> xr.Dataset:
    joined = xr.concat(results, "trajectory", join="exact", combine_attrs="override")
    configs = [json.loads(one.attrs["config_json"]) for one in results]
    worst = max(configs, key=lambda config: config["derivative_error"])
    config = {name: _common([one[name] for one in configs]) for name in configs[0]}
    config |= {name: worst[name] for name in ("derivative_error", "derivative_error_step")}
    config |= {name: sum(one[name] for one in configs) for name in ("trajectories", "networks")}
    joined.attrs["config_json"] = json.dumps({**config, "chunk": chunk}, sort_keys=True)
    freedom = [one.attrs["error_degrees_of_freedom"] for one in results]
    joined.attrs["error_degrees_of_freedom"] = min((one for one in freedom if one), default=0)
    return joined


def _common(values: Sequence[Any]) -> Any:
    """Return the setting of all chunks: the largest number, or all texts, where they are not the same."""
    if all(value == values[0] for value in values):
        return values[0]
    texts = [value for value in values if isinstance(value, str)]
    return "; ".join(dict.fromkeys(texts)) if texts else max(values)
