"""Turn the records and analyses of a stage into Datasets over the fields in which its trainings differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from figures.campaign.analyses import read_analyses, results_file
from figures.campaign.rates import Rates
from figures.campaign.records import Record
from figures.campaign.stage import Stage
from figures.campaign.stages import STAGES
from wcrnn_models.sweeps.assemble import assemble
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.sweeps.results import run_dataset, shared_provenance
from wcrnn_models.training.config import TrainConfig

NORMS = ("norm_before", "norm_after", "norm_of_change")
"""Variables with the 2-norms of each parameter before and after training, and of the difference."""


def planned(stage: Stage, records: Mapping[str, Sequence[Record]]) -> dict[str, TrainConfig]:
    """Return the trainings of a stage by name, at the learning rates that the records recommend.

    Args:
        stage: The stage.
        records: Records by stage, those of the stages that it needs among them.
    """
    return {run_name(config): config for config in stage.configs(Rates(records))}


def training_results(stage: Stage, records: Mapping[str, Sequence[Record]]) -> xr.Dataset:
    """Return the measurements of the trainings of a stage.

    Args:
        stage: The stage.
        records: Records by stage, those of the stages that it needs among them.

    Returns:
        The variables of `wcrnn_models.sweeps.collect` over the dimensions of the stage, or over ``run`` where they are
        no full grid, and along ``iteration`` those
        of a course, NaN where a training was not evaluated. Also ``learning_rate``, unless it is a dimension;
        ``rate_at_edge``, whether that is the lowest or the highest that was tried for such a network; and over
        ``parameter`` the `NORMS`.
        A training that has no record has the status ``"waiting"``, and NaN elsewhere. Attributes: ``metric_name``,
        empty where nothing is recorded, and ``config_json``, the fields that all trainings share.
    """
    configs = planned(stage, records)
    found = {run_name(record.config): record for record in records.get(stage.name, ())}
    known = {name: found[name] for name in configs if name in found}
    iterations = sorted({number for record in known.values() for number in record.result.iterations})
    parameters = sorted({name for record in known.values() for name in record.weights})
    parts = {name: _training(known.get(name), iterations, parameters) for name in configs}
    for name, config in configs.items():
        parts[name]["rate_at_edge"] = _at_edge(config, stage, records)
    if "learning_rate" not in stage.dimensions:
        for name, config in configs.items():
            parts[name]["learning_rate"] = config.learning_rate if name in known else np.nan
    metric = next((record.result.metric_name for record in known.values()), "")
    return assemble(parts, configs, stage.by, stage.dimensions).assign_attrs(
        shared_provenance(configs) | {"analysis": "stage", "stage": stage.name, "metric_name": metric}
    )


def as_rms(training: xr.Dataset) -> xr.Dataset:
    """Return trainings with root mean squares as test metrics where they were mean squares; others as they are."""
    if training.attrs["metric_name"] != "mse":
        return training
    roots = {name: np.sqrt(training[name]) for name in ("best_metric", "test_metric")}
    return training.assign(roots).assign_attrs(metric_name="rms")


def analysis_results(stage: Stage, records: Mapping[str, Sequence[Record]], folder: Path) -> dict[str, xr.Dataset]:
    """Return the analyses of the networks of a stage, by name.

    Args:
        stage: The stage.
        records: Records by stage, those of the stages that it needs among them.
        folder: Folder of the records.

    Returns:
        The numbers of each analysis over the dimensions of the stage and ``checkpoint``, the training iteration.
        Networks that the stage does not analyse so are left out. Those whose analysis is not there yet have NaN, and so
        have checkpoints that were not analysed. An analysis that is there for no network is left out.

    Raises:
        ValueError: If a file is damaged.
    """
    configs = planned(stage, records)
    asked: dict[str, dict[str, TrainConfig]] = {}
    for run, config in configs.items():
        for analysis in stage.analyses(config):
            asked.setdefault(analysis.name, {})[run] = config
    runs = {run for chosen in asked.values() for run in chosen}
    files = {run: path for run in runs if (path := results_file(folder, stage.name, run)).is_file()}
    there = {run: read_analyses(path) for run, path in files.items()}
    results = {}
    for name, chosen in asked.items():
        parts = {run: _numbers(there[run][name]) for run in chosen if run in there and name in there[run]}
        if parts:
            results[name] = _over_grid(parts, chosen, stage.dimensions)
    return results


def _at_edge(config: TrainConfig, stage: Stage, records: Mapping[str, Sequence[Record]]) -> bool:
    """Return whether the learning rate of a training is the lowest or the highest that the stages before it tried."""
    for pilot in (other for other in STAGES if other.name in stage.needs):
        fields = [name for name in pilot.dimensions if name != "learning_rate"]
        tried = {
            record.config.learning_rate
            for record in records.get(pilot.name, ())
            if all(getattr(record.config, name) == getattr(config, name) for name in fields)
        }
        if tried:
            return config.learning_rate in (min(tried), max(tried))
    return False


def _training(record: Record | None, iterations: Sequence[int], parameters: Sequence[str]) -> xr.Dataset:
    weights = {} if record is None else record.weights
    norms = np.array([weights.get(name, (np.nan,) * 3) for name in parameters]).reshape(len(parameters), 3)
    course = run_dataset(None if record is None else record.result, iterations)
    variables = {name: xr.Variable(("parameter",), norms[:, place]) for place, name in enumerate(NORMS)}
    return course.assign(variables).assign_coords(parameter=parameters)


def _numbers(dataset: xr.Dataset) -> xr.Dataset:
    """Return the variables that are numbers, as float64, which has NaN."""
    numbers = [name for name, values in dataset.data_vars.items() if values.dtype.kind in "fiu"]
    return dataset[numbers].astype(np.float64)


def _over_grid(
    parts: Mapping[str, xr.Dataset], configs: Mapping[str, TrainConfig], dimensions: Sequence[str]
) -> xr.Dataset:
    """Concatenate, with NaN for the runs without a part and for the checkpoints that a part does not have."""
    checkpoints = sorted({int(number) for part in parts.values() for number in part.checkpoint.values})
    padded = {run: part.reindex(checkpoint=checkpoints) for run, part in parts.items()}
    empty = xr.full_like(next(iter(padded.values())), np.nan)
    return assemble({run: padded.get(run, empty) for run in configs}, configs, dimensions=dimensions)
