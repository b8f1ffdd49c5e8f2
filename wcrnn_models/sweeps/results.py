"""Collect the measurements of the runs of a sweep in one Dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr

from lyapkit.results import provenance
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.assemble import By, assemble
from wcrnn_models.sweeps.layout import read_result, read_runs, varying
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult

Unfinished = Literal["refuse", "include"]


def collect(
    directory: str | Path,
    configs: Iterable[TrainConfig] | None = None,
    *,
    by: By = "grid",
    unfinished: Unfinished = "refuse",
) -> xr.Dataset:
    """Return the results of a sweep over the fields in which its configurations differ, such as (seed, r).

    Args:
        directory: The directory of a sweep.
        configs: Configurations of the runs; all of the directory by default.
        by: Arrangement. ``"grid"`` gives one dimension per field that varies. ``"run"``, for runs that do not form a
            full grid, gives one dimension ``run`` with those fields as coordinates.
        unfinished: Treatment of runs that have not ended: ``"refuse"`` them with an error, or ``"include"`` their
            measurements so far.

    Returns:
        For every run ``status`` (``"finished"``, ``"diverged"``, or, if included, ``"running"`` and ``"waiting"``);
        ``best_metric``, ``best_iteration`` and ``final_metric``, NaN if there is none; and
        ``iterations_to_minimal_performance``. If minimal performance was not reached, the latter is the number of
        iterations of the run, as in section 4.1, and ``reached_minimal_performance`` is 0. ``test_metric``,
        ``train_loss`` and ``gradient_norm`` lie along ``iteration``, and are NaN after a run has ended early. The
        attribute ``config_json`` holds the fields that all runs share.

    Raises:
        UserError: If there is no such sweep or run, a file is damaged, runs have not ended, runs do not form a full
            grid, or runs were not evaluated at the same iterations.
    """
    if unfinished not in ("refuse", "include"):
        raise UserError(f"unfinished must be 'refuse' or 'include', got {unfinished!r}.")
    directory = Path(directory)
    chosen = chosen_runs(directory, configs)
    results = {name: read_result(directory / name) for name in chosen}
    open_runs = [name for name, result in results.items() if result is None or result.status == "running"]
    if open_runs and unfinished == "refuse":
        raise UserError(
            f"{len(open_runs)} of {len(chosen)} runs in {directory} have not ended, such as {open_runs[0]}; finish the "
            "sweep, or collect with unfinished='include'."
        )
    iterations = _common_iterations(results)
    parts = {name: run_dataset(result, iterations) for name, result in results.items()}
    return assemble(parts, chosen, by).assign_attrs(
        analysis="sweep",
        metric_name=next((result.metric_name for result in results.values() if result is not None), ""),
        **shared_provenance(chosen),
    )


def chosen_runs(directory: Path, configs: Iterable[TrainConfig] | None) -> dict[str, TrainConfig]:
    """Return the runs of a sweep, or those of the given configurations, by name.

    Raises:
        UserError: If there is no such sweep, or one of the configurations is not in it.
    """
    present = read_runs(directory)
    if configs is None:
        return present
    wanted = {config.fingerprint(): config for config in configs}
    names = {config.fingerprint(): name for name, config in present.items()}
    if missing := [config for each, config in wanted.items() if each not in names]:
        differing = varying([*present.values(), *wanted.values()])
        example = ", ".join(f"{name}={getattr(missing[0], name)}" for name in differing)
        raise UserError(
            f"{directory} holds no run of {len(missing)} of the configurations, such as {example}; train them first."
        )
    if not wanted:
        raise UserError("there is no configuration to collect; give at least one, or None for all.")
    return {names[each]: present[names[each]] for each in wanted}


def shared_provenance(configs: Mapping[str, TrainConfig]) -> dict[str, object]:
    """Return attributes for a Dataset of many runs; ``config_json`` holds the fields that they share."""
    rows = [asdict(config) for config in configs.values()]
    shared = {name: value for name, value in rows[0].items() if all(row[name] == value for row in rows)}
    dtype = torch.float64 if shared.get("dtype") == "float64" else torch.float32
    return provenance(shared, dtype=dtype, device=torch.device("cpu"))


def _common_iterations(results: Mapping[str, TrainResult | None]) -> list[int]:
    """Return the iterations of the run with the most evaluations; all other runs must share the first ones."""
    courses = {name: result.iterations for name, result in results.items() if result is not None}
    longest = max(courses.values(), key=len, default=[])
    for name, iterations in courses.items():
        if iterations != longest[: len(iterations)]:
            raise UserError(
                f"the runs were not evaluated at the same iterations: run {name} at {iterations[:5]} ..., another at "
                f"{longest[:5]} ...; collect them separately."
            )
    return longest


def run_dataset(result: TrainResult | None, iterations: Sequence[int]) -> xr.Dataset:
    """Return the measurements of a run in the form that `collect` gives them.

    Args:
        result: Result of the run; None if it has not begun.
        iterations: Training iterations in increasing order, including those of the run's evaluations. The course is NaN
            at the others.
    """
    values: dict[str, tuple[object, str]]
    if result is None:
        values = {name: (np.nan, long_name) for name, long_name in _SCALARS.items()}
        course: dict[str, list[float]] = {name: [] for name in _COURSES}
    else:
        ended = result.status != "running"
        reached = result.iterations_to_minimal_performance
        if reached is None and ended:
            reached = result.total_iterations
        numbers = {
            "best_metric": result.best_metric,
            "best_iteration": result.best_iteration,
            "final_metric": result.test_metrics[-1] if result.test_metrics else None,
            "iterations_to_minimal_performance": reached,
            "reached_minimal_performance": float(result.iterations_to_minimal_performance is not None),
        }
        values = {
            name: (np.nan if numbers[name] is None else float(numbers[name]), long_name)  # type: ignore[arg-type]
            for name, long_name in _SCALARS.items()
        }
        course = {
            "test_metric": result.test_metrics,
            "train_loss": result.train_losses,
            "gradient_norm": result.gradient_norms,
        }
    units = {"iterations_to_minimal_performance": "iteration", "best_iteration": "iteration"}
    variables = {
        name: xr.Variable((), value, {"long_name": long_name, "units": units.get(name, "1")})
        for name, (value, long_name) in values.items()
    }
    variables["status"] = xr.Variable((), "waiting" if result is None else result.status, {"long_name": "status"})
    places = np.searchsorted(iterations, [] if result is None else result.iterations)
    for name, long_name in _COURSES.items():
        padded = np.full(len(iterations), np.nan)
        padded[places] = course[name]
        variables[name] = xr.Variable(("iteration",), padded, {"long_name": long_name, "units": "1"})
    return xr.Dataset(
        variables, {"iteration": xr.Variable(("iteration",), iterations, {"long_name": "training iteration"})}
    )


_SCALARS = {
    "best_metric": "best test metric",
    "best_iteration": "iterations to the best test metric",
    "final_metric": "test metric at the end",
    "iterations_to_minimal_performance": "iterations to minimal performance",
    "reached_minimal_performance": "minimal performance was reached",
}
_COURSES = {
    "test_metric": "test metric",
    "train_loss": "mean training loss",
    "gradient_norm": "mean gradient norm",
}
