"""What a training iteration costs, in processor time, from which the costs of a whole protocol follow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import xarray as xr

from figures.experiments.base import describe
from figures.protocols import PROTOCOLS, Protocol
from lyapkit.results import provenance
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import NETWORKS, network_fields
from wcrnn_models.training.run import Run

REPEATS = 4
"""Iterations that are measured; the least is taken, as others may share the machine."""

TESTED = 500
"""Test samples of a measured evaluation."""

NETWORK_LENGTH = 100
"""Length of the adding problem on which networks are compared."""


@dataclass(frozen=True)
class Costs:
    """Processor seconds of a training iteration of the protocol `paper`, on one core.

    They do not depend on the protocol that is measured, but which tasks are: `quick` takes one data set and one adding
    problem.
    """

    name: str = "costs"
    about: str = "processor seconds of a training iteration"

    def tasks(self, protocol: Protocol) -> dict[str, TrainConfig]:
        """A network with a scalar residual by task, as the paper trains it."""
        paper = PROTOCOLS["paper"]
        images = paper.images("smnist", test_size=TESTED)
        chosen = {"smnist": images}
        if protocol.name != "quick":
            chosen |= {"psmnist": replace(images, task="psmnist"), "scifar10": replace(images, task="scifar10")}
        lengths = protocol.lengths if protocol.name == "quick" else paper.lengths
        return chosen | {f"add{length}": paper.adds(length, test_size=TESTED) for length in lengths}

    def networks(self) -> dict[str, TrainConfig]:
        """A network with a scalar residual and those of Table 2, on the same adding problem."""
        config = PROTOCOLS["paper"].adds(NETWORK_LENGTH, test_size=TESTED)
        return {"scalar": config} | {name: replace(config, **network_fields(name)) for name in NETWORKS}

    def measure(self, protocol: Protocol, runs: Path, *, workers: int | None, progress: bool) -> xr.DataTree:
        """Measure all, one after the other, with one thread; nothing is kept in ``runs``.

        Args:
            protocol: Which tasks.
            runs: Not used.
            workers: Not used: measurements at the same time would disturb each other.
            progress: Not used.

        Returns:
            A tree with the children ``tasks``, over ``task``, and ``networks``, over ``network``: seconds of an
            iteration, and of a test sample in an evaluation. Attributes as those of an `Experiment`.

        Raises:
            UserError: If data are missing.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            children = {
                "tasks": _seconds("task", self.tasks(protocol)),
                "networks": _seconds("network", self.networks()),
            }
        finally:
            torch.set_num_threads(threads)
        tree = xr.DataTree.from_dict(children)
        tree.attrs = describe(self.name, protocol, 1)
        return tree


def _seconds(dimension: str, configs: dict[str, TrainConfig]) -> xr.Dataset:
    measured = [_measure(config) for config in configs.values()]
    names = ("seconds_per_iteration", "seconds_per_test_sample")
    about = ("processor time of a training iteration", "processor time of a test sample in an evaluation")
    return xr.Dataset(
        {
            name: (dimension, [each[place] for each in measured], {"long_name": long_name, "units": "s"})
            for place, (name, long_name) in enumerate(zip(names, about, strict=True))
        },
        {dimension: list(configs)},
        provenance({}, dtype=torch.float32, device=torch.device("cpu")),
    )


def _measure(config: TrainConfig) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, Path(folder), torch.device("cpu"))
        run.step()  # allocates what later iterations use again
        iteration = _least(run.step, REPEATS)
        evaluation = _least(lambda: run.task.test_metric(run.forward, run.device), 2)
    return iteration, evaluation / TESTED


def _least(action: Callable[[], object], repeats: int) -> float:
    """Processor seconds of the fastest of some repeats."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)


COSTS = Costs()
