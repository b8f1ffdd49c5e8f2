"""Different networks on the same tasks, as one file of results: Tables 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from figures.experiments.base import describe, train_all
from figures.protocols import Protocol
from wcrnn_models.sweeps import collect
from wcrnn_models.training.build import build_model
from wcrnn_models.training.config import TrainConfig

Contestants = Mapping[str, Sequence[TrainConfig]]
"""The trainings of every network, by its name; they differ in the seed only."""


@dataclass(frozen=True)
class Comparison:
    """Networks that differ in several fields, so that no grid of one field joins them.

    Attributes:
        name: Of the result file, without its suffix.
        about: In a line.
        tasks: What to train, by task, such as ``"smnist"`` or ``"add100"``.
    """

    name: str
    about: str
    tasks: Callable[[Protocol], Mapping[str, Contestants]]

    def trainings(self, protocol: Protocol) -> list[TrainConfig]:
        """What it trains."""
        return [
            each
            for contestants in self.tasks(protocol).values()
            for trainings in contestants.values()
            for each in trainings
        ]

    def measure(self, protocol: Protocol, runs: Path, *, workers: int | None, progress: bool) -> xr.DataTree:
        """Train what has not been, and collect it.

        Args:
            protocol: How much to train.
            runs: Directory of a sweep; experiments may share it.
            workers: Processes at a time; all cores by default.
            progress: Whether to show a table of the runs.

        Returns:
            A tree with a child ``training_TASK`` for every task: what `collect` gives, over ``network`` and ``seed``,
            and for every network ``learning_rate`` and ``parameters``, the number of trained ones. Attributes as those
            of an `Experiment`.

        Raises:
            UserError: If a run failed.
        """
        tasks = self.tasks(protocol)
        configs = self.trainings(protocol)
        train_all(configs, runs, workers=workers, progress=progress)
        children = {f"training_{task}": _joined(runs, contestants) for task, contestants in tasks.items()}
        tree = xr.DataTree.from_dict(children)
        tree.attrs = describe(self.name, protocol, len({config.seed for config in configs}))
        return tree


def _joined(runs: Path, contestants: Contestants) -> xr.Dataset:
    joined: xr.Dataset = xr.concat(
        [_one(runs, trainings) for trainings in contestants.values()],
        dim=xr.Variable(("network",), list(contestants), {"long_name": "network"}),
        data_vars="all",
        join="exact",  # the same seeds, evaluated at the same iterations
        combine_attrs="drop_conflicts",
    )
    return joined


def _one(runs: Path, trainings: Sequence[TrainConfig]) -> xr.Dataset:
    """The trainings of one network, over ``seed`` also where there is one."""
    dataset = collect(runs, trainings)
    if "seed" not in dataset.dims:
        dataset = dataset.expand_dims({"seed": [trainings[0].seed]})
    parameters = sum(each.numel() for each in build_model(trainings[0]).parameters() if each.requires_grad)
    return dataset.assign(
        parameters=xr.Variable((), parameters, {"long_name": "trained parameters", "units": "1"}),
        learning_rate=xr.Variable((), trainings[0].learning_rate, {"long_name": "learning rate", "units": "1"}),
    )
