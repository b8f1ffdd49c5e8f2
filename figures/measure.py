"""Measure the results of an experiment and write them where figures find them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from figures.compact import compact
from figures.experiments import EXPERIMENTS
from figures.experiments.base import Training
from figures.protocols import Protocol
from lyapkit import save
from wcrnn_models.tasks.datasets import DATA_SETS
from wcrnn_models.tasks.download import find_file

DATA_SET_OF: Mapping[str, str] = MappingProxyType({"smnist": "mnist", "psmnist": "mnist", "scifar10": "cifar10"})
"""Of the tasks that need one."""


def find_data_sets(names: Iterable[str], protocol: Protocol) -> None:
    """See whether the data sets are there before hours are spent on measurements that do without.

    Args:
        names: Of the experiments to measure.
        protocol: How much they train.

    Raises:
        UserError: If a file is missing or damaged; the text says how to get it.
    """
    needed = {DATA_SET_OF[task] for name in names for task in _tasks(name, protocol) if task in DATA_SET_OF}
    for data_set in sorted(needed):
        find_data_set(data_set)


def find_data_set(name: str) -> None:
    """See whether a data set is there.

    Raises:
        UserError: If a file is missing or damaged; the text says how to get it.
    """
    for file in DATA_SETS[name].files:
        find_file(name, file)


def _tasks(name: str, protocol: Protocol) -> set[str]:
    """Those that an experiment trains or measures on."""
    experiment = EXPERIMENTS[name]
    if isinstance(experiment, Training):
        return {config.task for config in experiment.trainings(protocol)}
    return {"smnist"} if name in ("curvature_over_time", "untrained") else set()


def measure(name: str, protocol: Protocol, runs: Path, data: Path, workers: int | None = None) -> Path:
    """Train, analyse, and write ``NAME.nc``.

    Args:
        name: Of the experiment.
        protocol: How much to train.
        runs: Directory of the trained networks, one below it for each protocol; what is there is not trained again.
        data: Directory of the result files, made if missing.
        workers: Networks trained at a time; all cores by default.

    Returns:
        The file.

    Raises:
        UserError: If a training or an analysis failed, or data are missing.
    """
    tree = EXPERIMENTS[name].measure(protocol, runs / protocol.name, workers=workers, progress=True)
    data.mkdir(parents=True, exist_ok=True)
    return save(compact(tree), data / f"{name}.nc")
