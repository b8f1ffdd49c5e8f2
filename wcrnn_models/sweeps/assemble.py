"""Join Datasets of single runs in one Dataset over the fields in which the runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any, Literal

import xarray as xr

from wcrnn_models.errors import UserError, clause
from wcrnn_models.sweeps.layout import varying
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.values import is_number

By = Literal["grid", "run"]


def assemble(
    parts: Mapping[str, xr.Dataset],
    configs: Mapping[str, TrainConfig],
    by: By = "grid",
    dimensions: Sequence[str] | None = None,
) -> xr.Dataset:
    """Concatenate Datasets without padding; all must have the same coordinates.

    Args:
        parts: One Dataset per run, by the name of the run.
        configs: Configurations of the same runs.
        by: Either ``"grid"`` for one dimension per field that varies, or ``"run"`` for one dimension ``run`` with
            those fields as coordinates along it.
        dimensions: Fields that become dimensions, or coordinates of the runs, even if they have only one value. By
            default, the fields that vary.

    Returns:
        The Dataset; attributes that differ between runs are dropped.

    Raises:
        UserError: If the runs do not form a full grid, or the coordinates of the parts differ.
    """
    if by not in ("grid", "run"):
        raise UserError(f"by must be 'grid' or 'run', got {by!r}.")
    names = varying(configs.values()) if dimensions is None else list(dimensions)
    labels = {name: _labels(name, configs) for name in names}
    if by == "run":
        joined = concatenate(list(parts.values()), xr.Variable(("run",), list(parts), {"long_name": "run"}))
        along = {name: xr.Variable(("run",), list(labels[name].values()), _attributes(name)) for name in names}
        return joined.assign_coords(along)
    axes = {name: sorted(set(labels[name].values())) for name in names}
    runs = {tuple(labels[name][run] for name in names): run for run in configs}
    if missing := [point for point in product(*axes.values()) if point not in runs]:
        example = ", ".join(f"{name}={value}" for name, value in zip(names, missing[0], strict=True))
        raise UserError(
            f"the runs do not form a full grid over {', '.join(names)}: {len(missing)} of {len(runs) + len(missing)} "
            f"combinations are missing, such as {example}; train them, choose configs, or collect by='run'."
        )

    def collected(chosen: tuple[Any, ...]) -> xr.Dataset:
        if len(chosen) == len(names):
            return parts[runs[chosen]]
        name = names[len(chosen)]
        return concatenate(
            [collected((*chosen, value)) for value in axes[name]], xr.Variable((name,), axes[name], _attributes(name))
        )

    return collected(())


def concatenate(parts: list[xr.Dataset], dimension: xr.Variable) -> xr.Dataset:
    """Concatenate Datasets of equal coordinates along a new dimension.

    Raises:
        UserError: If the coordinates differ.
    """
    try:
        joined: xr.Dataset = xr.concat(
            parts,
            dim=dimension,
            data_vars="all",
            coords="minimal",
            compat="equals",
            join="exact",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        raise UserError(
            f"the runs do not have the same coordinates along {dimension.dims[0]} ({clause(error)}); collect them "
            "separately."
        ) from error
    return joined


def _labels(name: str, configs: Mapping[str, TrainConfig]) -> dict[str, Any]:
    """Return the value of a field for every run: numbers where all are, else text."""
    values = {run: asdict(config)[name] for run, config in configs.items()}
    return values if all(map(is_number, values.values())) else {run: str(value) for run, value in values.items()}


def _attributes(name: str) -> dict[str, str]:
    return {"long_name": _LONG_NAMES.get(name, name.replace("_", " "))}


_LONG_NAMES = {"r": "residual strength r", "phi": "angle phi (radians per step)", "coupling": "coupling gamma"}
