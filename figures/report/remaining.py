"""What the protocol `paper` costs, estimated from measured seconds per iteration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import xarray as xr

from figures.cells import markdown
from figures.experiments import EXPERIMENTS
from figures.experiments.base import Training
from figures.protocols import PROTOCOLS
from figures.report.samples import test_samples
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.training.config import TrainConfig

TRAIN_SIZES: Mapping[str, int] = {"smnist": 60_000, "psmnist": 60_000, "scifar10": 50_000}
"""Training samples of the tasks, where a configuration leaves them open."""


def training_iterations(config: TrainConfig) -> int:
    """Iterations of a whole training."""
    if config.task == "adding":
        return config.epochs * (1000 if config.iterations_per_epoch is None else config.iterations_per_epoch)
    return config.epochs * math.ceil((config.train_size or TRAIN_SIZES[config.task]) / config.batch_size)


def training_seconds(config: TrainConfig, costs: xr.DataTree) -> float | None:
    r"""Processor seconds of a training on one core.

    iterations \* seconds of an iteration + evaluations \* test samples \* seconds of a test sample, those of a network
    with a scalar residual on the same task, times what its kind of network costs beside that. Measurements between
    evaluations, until minimal performance is reached, are left out.

    Args:
        config: What to train, with the batch size of the protocol.
        costs: Result of the experiment ``costs``.

    Returns:
        The seconds; None if the task was not measured.
    """
    task = f"add{config.length}" if config.task == "adding" else config.task
    tasks, networks = costs["tasks"].to_dataset(), costs["networks"].to_dataset()
    if task not in tasks.task.values:
        return None
    total = training_iterations(config)
    evaluations = 1 + math.ceil(total / (config.evaluate_every or total / config.epochs))
    counts = {
        "seconds_per_iteration": total,
        "seconds_per_test_sample": evaluations * test_samples(config),
    }
    seconds = 0.0
    for name, count in counts.items():
        ratio = networks[name].sel(network=_kind(config)) / networks[name].sel(network="scalar")
        seconds += count * float(tasks[name].sel(task=task) * ratio)
    return seconds


def _kind(config: TrainConfig) -> str:
    """The measured network that costs about as much."""
    if config.model != "wcrnn":
        return {"elman": "elman-res-clip"}.get(config.model, config.model)
    if config.form != "linear":
        return "elman-wc"
    if config.nonlinearity == "identity":
        return "wcrnn-no-tanh"
    return "scalar" if config.residual == "scalar" else "wcrnn-best"


def remaining(data: Mapping[str, xr.DataTree]) -> str:
    """Experiments that were not run at the protocol `paper`, with the trainings that each adds, and their costs.

    Args:
        data: Result files by experiment, those that exist.
    """
    unfinished = [name for name in EXPERIMENTS if name not in data or data[name].attrs["protocol"] != "paper"]
    trainings = {
        name: experiment.trainings(PROTOCOLS["paper"])
        for name in unfinished
        if isinstance(experiment := EXPERIMENTS[name], Training)
    }
    if not trainings:
        return "Nothing: every result is of the protocol `paper`."
    counted: set[str] = set()
    rows, total, unknown = [], 0.0, 0
    for name, configs in trainings.items():
        new = {run_name(config): config for config in configs if run_name(config) not in counted}
        if not new:
            continue
        counted |= set(new)
        have = data[name].attrs["protocol"] if name in data else "none"
        seconds, open_ones = _sum(new.values(), data.get("costs"))
        total, unknown = total + seconds, unknown + open_ones
        rows.append([f"`{name}`", have, str(len(new)), _hours(seconds, open_ones)])
    rows.append(["all", "", str(len(counted)), _hours(total, unknown)])
    return markdown(["experiment", "results so far", "trainings", "core hours"], rows)


def _sum(configs: Iterable[TrainConfig], costs: xr.DataTree | None) -> tuple[float, int]:
    """Seconds, and the number of trainings whose costs are not known."""
    known = [None if costs is None else training_seconds(config, costs) for config in configs]
    return sum(seconds for seconds in known if seconds is not None), known.count(None)


def _hours(seconds: float, unknown: int) -> str:
    parts = [f"{seconds / 3600:,.0f}"] * (seconds > 0) + [f"{unknown} trainings of unknown cost"] * (unknown > 0)
    return " and ".join(parts)
