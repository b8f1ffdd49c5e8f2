"""The state of the campaign: what is done and left, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from figures.campaign.records import Record
from figures.campaign.runner import Campaign
from wcrnn_models.sweeps.layout import read_result, run_name
from wcrnn_models.tables import table
from wcrnn_models.training.config import TrainConfig

SAMPLES = {"smnist": 60_000, "psmnist": 60_000, "scifar10": 50_000}
"""Number of training samples of the data sets."""

STEP_SECONDS = 2.1e-4
"""Seconds of one step of an iteration with 100 units and a batch of 128 on one thread, if nothing has been measured."""


def status(campaign: Campaign) -> str:
    """Return a table of the stages: trainings done, running and left, and hours left on one thread.

    Args:
        campaign: The stages with their records.
    """
    records = campaign.read()
    left = campaign.left(records)
    measured = speeds(record for stage in records.values() for record in stage)
    rows, total = [], 0.0
    for stage in campaign.stages:
        waiting = left[stage.name]
        running = sum(_begun(campaign.runs, config) for config in waiting)
        cost = sum(seconds(config, measured) for config in waiting)
        total += cost
        needs = ", ".join(need for need in stage.needs if left[need])
        row = [stage.name, len(records[stage.name]), running, len(waiting) - running, f"{cost / 3600:.1f}", needs]
        rows.append([str(cell) for cell in row])
    text = table(["stage", "done", "begun", "left", "hours", "waits for"], rows)
    return (
        f"{text}\n\n{sum(map(len, records.values()))} trainings done, about {total / 3600:.1f} hours left on one thread"
    )


def iterations(config: TrainConfig) -> int:
    """Return the number of iterations of a training, without a look at its data."""
    if config.task == "adding":
        return config.epochs * (config.iterations_per_epoch or 1000)
    samples = config.train_size or SAMPLES[config.task] - (config.validation_size or 0)
    return config.epochs * -(-samples // config.batch_size)


def _begun(runs: Path, config: TrainConfig) -> bool:
    result = read_result(runs / run_name(config))
    return result is not None and bool(result.iterations)


def _kind(config: TrainConfig) -> tuple[object, ...]:
    """Return the fields that the time of an iteration depends on."""
    return config.task, config.length, config.model, config.form, config.hidden_size, config.batch_size


def speeds(records: Iterable[Record]) -> Mapping[tuple[object, ...], float]:
    """Return the median seconds of an iteration on one thread, by what it depends on: task, network and batch."""
    measured: dict[tuple[object, ...], list[float]] = {}
    for record in records:
        if record.seconds_per_iteration is not None and record.where.startswith("cpu"):
            measured.setdefault(_kind(record.config), []).append(record.seconds_per_iteration)
    return {kind: _median(values) for kind, values in measured.items()}


def seconds(config: TrainConfig, measured: Mapping[tuple[object, ...], float]) -> float:
    """Return how long a training takes on one thread, estimated from `speeds`.

    Args:
        config: Configuration of the training.
        measured: Result of `speeds`.
    """
    steps = config.length or {"scifar10": 1024}.get(config.task, 784)
    guess = STEP_SECONDS * steps * config.batch_size / 128 * (config.hidden_size / 100) ** 2
    return iterations(config) * measured.get(_kind(config), guess)


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
