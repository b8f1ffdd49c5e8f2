"""Records of trainings that never took place, for tests of the campaign."""

from __future__ import annotations

from dataclasses import replace

import torch
import xarray as xr

from figures.campaign.analyses import results_file
from figures.campaign.rates import Rates
from figures.campaign.records import Record, add_records, read_records
from figures.campaign.stages import STAGES
from lyapkit import save
from lyapkit.results import provenance
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult


def ended(*, metrics=(0.1, 0.5), metric_name="accuracy", seconds=0.1, weights=None, reached=None, every=10, **fields):
    """Return the record of a training with the given course of the test metric, evaluated every few iterations."""
    metrics = list(metrics)
    best = max(metrics) if metric_name == "accuracy" else min(metrics)
    steps = [every * number for number in range(len(metrics))]
    result = TrainResult(
        status="finished",
        metric_name=metric_name,
        best_metric=best,
        best_iteration=steps[metrics.index(best)],
        iterations_to_minimal_performance=reached,
        total_iterations=steps[-1],
        iterations=steps,
        train_losses=[1.0] * len(metrics),
        gradient_norms=[1.0] * len(metrics),
        test_metrics=metrics,
        diverged_at=None,
        warning=None,
        checkpoints={},
    )
    config = TrainConfig(**fields)
    return Record(config, result, weights or {}, seconds, "abc", "cpu")


def record_of(config, metrics, *, losses=None, status="finished", weights=None, **course):
    """Return the record of a training of a given configuration; ``course`` holds arguments of `ended`."""
    result = replace(
        ended(metrics=metrics, **course).result,
        status=status,
        diverged_at=5 if status == "diverged" else None,
        train_losses=list(losses) if losses is not None else [1.0] * len(metrics),
    )
    return Record(config, result, weights or {}, 0.1, "abc", "cpu")


def write_stage(folder, stage, measured):
    """Write the records of a stage; rates are those that the records in the folder recommend.

    Args:
        folder: Folder of the records.
        stage: Name of the stage.
        measured: Returns the arguments of `record_of` for a configuration, or None for a training that waits.
    """
    records = {each.name: read_records(folder, each.name) for each in STAGES}
    (chosen,) = [each for each in STAGES if each.name == stage]
    answers = [(config, measured(config)) for config in chosen.configs(Rates(records))]
    add_records(folder, stage, [record_of(config, **answer) for config, answer in answers if answer is not None])


def write_analysis(folder, stage, measured):
    """Write the analyses of a stage: `measured` returns Datasets over ``checkpoint`` by name for a configuration."""
    records = {each.name: read_records(folder, each.name) for each in STAGES}
    (chosen,) = [each for each in STAGES if each.name == stage]
    for config in chosen.configs(Rates(records)):
        found = measured(config)
        if found:
            path = results_file(folder, stage, run_name(config))
            path.parent.mkdir(parents=True, exist_ok=True)
            attributes = provenance({}, dtype=torch.float64, device=torch.device("cpu"))
            children = {name: dataset.assign_attrs(attributes) for name, dataset in found.items()}
            save(xr.DataTree.from_dict(children), path)
