"""Resume a Lyapunov spectrum from its Dataset."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from lyapkit.checks.fingerprint import Fingerprint, difference, fingerprint, tolerance
from lyapkit.lyapunov.growth import Growth
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.names import check_trajectory_names

NEEDED = (
    "below_resolution",
    "final_frame",
    "final_state",
    "frame_condition",
    "frame_order",
    "last_step",
    "local_growth",
    "log_volume_residual",
)
"""Variables that hold the position at which a run resumes."""


def growth_of(
    ds: xr.Dataset, map: RecurrentMap, dt: float, k: int | None, frame_dtype: torch.dtype | None, check: bool
) -> Growth:
    """Return the growth that a Dataset of `lyapunov_spectrum` holds, in the order of its frame.

    Args:
        ds: An earlier result for the same map.
        map: The map.
        dt: Duration of a step in the continued run.
        k: Number of exponents asked for; None for those of the Dataset.
        frame_dtype: Type of the frame asked for; None for that of the Dataset.
        check: True to compare the map's images of a few states with those of the Dataset's map.

    Raises:
        ValueError: If the Dataset is the result of another analysis or another map, if it has another dt, k or type of
            frame, if it is only a summary or a part of a result, or if its sequences have unequal lengths.
    """
    if not isinstance(ds, xr.Dataset) or ds.attrs.get("analysis") != "lyapunov_spectrum":
        raise ValueError("resume= takes a Dataset that lyapunov_spectrum has returned.")
    if ds["unit"].values.tolist() != list(map.unit_names):
        raise ValueError(
            f"the Dataset to resume is of a map with {ds.sizes['unit']} units, {ds['unit'].values[0]} to "
            f"{ds['unit'].values[-1]}; this one has {map.state_size}, {map.unit_names[0]} to {map.unit_names[-1]}."
        )
    config = json.loads(ds.attrs["config_json"])
    if "networks" in config:
        raise ValueError(
            f"the Dataset to resume is of {config['networks']} networks; only the run of a single one can be continued."
        )
    if config["dt"] != dt:
        raise ValueError(f"the Dataset to resume has dt={config['dt']}, got dt={dt}; they must be equal.")
    if config.get("keep") == "summary":
        raise ValueError(
            'the Dataset to resume was made with keep="summary", which leaves out the growth of each window that a '
            'longer run has to count; make it with keep="series", or do the whole run at once.'
        )
    whole = (ds.sizes["trajectory"], ds.sizes["step"], ds.sizes["exponent"])
    if not set(NEEDED) <= set(ds.variables) or whole != (config["trajectories"], config["windows"], config["k"]):
        raise ValueError(
            "the Dataset to resume is only a part of a result: all of its variables, trajectories, steps and exponents "
            "are needed."
        )
    if not bool((ds["last_step"] == config["steps"]).all()):
        raise ValueError(
            "the Dataset to resume is of sequences of unequal length, which end at different steps; analyse the longer "
            "sequences as a whole instead."
        )
    if k not in (None, config["k"]):
        raise ValueError(f"the Dataset to resume has k={config['k']} exponents, got k={k}; leave k out.")
    if frame_dtype not in (None, getattr(torch, config["frame_dtype"])):
        raise ValueError(
            f"the Dataset to resume has a frame of {config['frame_dtype']}, got {frame_dtype}; leave frame_dtype out."
        )
    window = torch.as_tensor(np.diff(ds["step"].values, prepend=config["transient"]), dtype=torch.float64, device="cpu")
    order = _tensor(ds["frame_order"])  # (B, k): the frame's column of each rank
    rate = _tensor(ds["local_growth"]).movedim(1, 0)  # (W, B, k)
    log_growth = torch.empty_like(rate).scatter(-1, order.expand_as(rate), rate * dt * window.reshape(-1, 1, 1))
    sorted_frame = _tensor(ds["final_frame"])  # (B, N, k)
    frame = torch.empty_like(sorted_frame).scatter(-1, order.unsqueeze(1).expand_as(sorted_frame), sorted_frame)
    flagged = _tensor(ds["below_resolution"]).bool()
    unresolved = torch.empty_like(flagged).scatter(-1, order, flagged)
    device = map.device
    state = _tensor(ds["final_state"]).to(device=device, dtype=map.dtype)
    if check and config.get("map_images") is not None:
        _refuse_another_map(config["map_images"], map, state, ds.attrs["dtype"])
    return Growth(
        log_growth.to(device),
        window.to(device),
        _tensor(ds["log_volume_residual"]).to(device) * dt,
        _tensor(ds["frame_condition"]).to(device),
        state,
        frame.to(device=device, dtype=getattr(torch, config["frame_dtype"])),
        unresolved.to(device),
        torch.arange(order.shape[-1], device=device).expand_as(order),
        len(window),
    )


def names_of(ds: xr.Dataset, given: Any) -> Any:
    """Return the names of the trajectories of a continued run: the given ones, or those of the Dataset.

    Args:
        ds: An earlier result.
        given: The argument ``trajectory_names`` of the continued run.

    Raises:
        ValueError: If the Dataset has other names.
    """
    earlier = ds["trajectory"].values
    has_names = not np.array_equal(earlier, np.arange(len(earlier)))
    if given is None:
        return earlier if has_names else None
    found = check_trajectory_names(given, len(earlier))
    if has_names and found.tolist() != earlier.tolist():
        raise ValueError(
            f"the Dataset to resume has the trajectories {', '.join(map(str, earlier))}, got trajectory_names="
            f"{found.tolist()}; leave trajectory_names out, or rename them with .assign_coords(trajectory=...)."
        )
    return found


def states_after(ds: xr.Dataset | None, states: NDArray[Any], done: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the states of a run behind those that an earlier result has kept, and the steps of all of them.

    Args:
        ds: An earlier result, or None.
        states: States after the steps from ``done`` + 1 on, shape (B, L, N).
        done: Steps done before, transient ones among them.
    """
    steps = np.arange(done + 1, done + 1 + states.shape[1])
    if ds is None or "state" not in ds:
        return states, steps
    return np.concatenate((ds["state"].values, states), axis=1), np.concatenate((ds["recorded_step"].values, steps))


def _refuse_another_map(images: Fingerprint, map: RecurrentMap, state: Tensor, dtype: str) -> None:
    found = difference(fingerprint(map, state[0]), images)
    if found > tolerance(map.state_size, dtype, str(map.dtype).removeprefix("torch.")):
        raise ValueError(
            "the Dataset to resume is of another map: from the same states, a step of this map gives other results, "
            f"which differ by {found:.2g} of the size of the state. Weights, constants, feedback or order of arguments "
            "have changed. Resume with the map of the Dataset, or start a new run."
        )


def _tensor(variable: Any) -> Tensor:
    return torch.from_numpy(variable.values.copy())
