"""How many test samples trainings are judged by, and what that allows to be told apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import xarray as xr

from figures.experiments import EXPERIMENTS
from figures.experiments.base import Training
from figures.paper import TITLES
from figures.protocols import PROTOCOLS, Protocol
from wcrnn_models.training.config import TrainConfig

TEST_SIZES: Mapping[str, int] = {"smnist": 10_000, "psmnist": 10_000, "scifar10": 10_000, "adding": 2000}
"""Test samples of the tasks, where a configuration leaves them open."""

ASSUMED = 2000
"""Test samples where a result file does not keep their number, because networks of several kinds stand in it."""


def test_samples(config: TrainConfig) -> int:
    """Test samples of a training."""
    return config.test_size or TEST_SIZES[config.task]


def recorded_test_samples(training: xr.Dataset) -> int:
    """Test samples of trainings, from the configuration that they share; `ASSUMED` where it says nothing of them."""
    shared = json.loads(str(training.attrs.get("config_json", "{}")))
    if "test_size" not in shared:
        return ASSUMED
    images = training.attrs["metric_name"] == "accuracy"
    return int(shared["test_size"] or TEST_SIZES["smnist" if images else "adding"])


def standard_error(test_samples: int, *accuracies: float) -> float:
    """Of a sum or difference of accuracies, each a binomial one: sqrt(sum of p (1 - p) / number of test samples).

    The samples count once, however many network instances are averaged, as all are tested on the same ones.
    """
    return math.sqrt(sum(accuracy * (1 - accuracy) for accuracy in accuracies) / test_samples)


def test_sets() -> str:
    """How many test samples every protocol uses, in words, from the configurations of its experiments."""
    return "\n".join(f"- `{name}`: {_test_sets(protocol)}." for name, protocol in PROTOCOLS.items())


def _test_sets(protocol: Protocol) -> str:
    """By task, the usual number of test samples first, and the experiments with another one."""
    used: dict[str, dict[int, list[str]]] = {}
    for name, experiment in EXPERIMENTS.items():
        if isinstance(experiment, Training):
            pairs = [(str(each.task), test_samples(each)) for each in experiment.trainings(protocol)]
            for task, size in dict.fromkeys(pairs):
                used.setdefault(task, {}).setdefault(size, []).append(f"`{name}`")
    parts = []
    for task in [each for each in TEST_SIZES if each in used]:
        experiments = used[task]
        usual, *others = sorted(experiments, key=lambda size: -len(experiments[size]))
        exceptions = "".join(f" ({size:,} in {', '.join(experiments[size])})" for size in others)
        parts.append(f"{TITLES.get(task, 'the adding problem')} {usual:,}{exceptions}")
    return ", ".join(parts)
