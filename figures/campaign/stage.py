"""Stages of the campaign, and the configurations of their networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from figures.campaign.analyses import Analysis
from figures.campaign.rates import Rates
from figures.paper import CHARACTERISTIC_FREQUENCY
from wcrnn_models.names import LossName
from wcrnn_models.sweeps.assemble import By
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset

ADDING_RATE = 0.01
"""Learning rate of the adding problem where all networks have the same: the stable one of Fig. B.2."""

ADDING_LOSS: LossName = "mse"
"""Loss of the adding problem in all stages after the one that compares both."""

CENTRE = 0.96
"""Centre r_0 of heterogeneous residuals (Fig. 5)."""

INFORMED: dict[str, Any] = {"residual": "informed", "coupling": "informed"}
"""Fields of informed heterogeneous networks (Table 1)."""

TESTED, EVERY = 2000, 50
"""Test samples, a random choice, and iterations between evaluations on images."""

HELD_OUT = 5000
"""Number of training images by which learning rates are judged."""


Configs = Callable[[Rates], Sequence[TrainConfig]]
"""The trainings of a stage, given the learning rates that earlier stages have found."""

Networks = Sequence[Mapping[str, Any]]
"""The fields of `TrainConfig` in which networks differ, network by network."""


@dataclass(frozen=True)
class Stage:
    """Trainings that belong together.

    Attributes:
        name: Name of its records, without a suffix.
        about: One line that says what it is for.
        configs: Function that returns the trainings, given the learning rates that earlier stages have found.
        dimensions: Fields of `TrainConfig` in which the trainings differ.
        needs: Stages that must be complete before, because they choose learning rates.
        analyses: Function that returns the analyses of the networks of a training.
        by: Whether the trainings are a full grid over the dimensions; if not, results have one dimension ``run``.
    """

    name: str
    about: str
    configs: Configs
    dimensions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    analyses: Callable[[TrainConfig], tuple[Analysis, ...]] = lambda config: ()
    by: By = "grid"


def image(task: Literal["smnist", "psmnist"], *, epochs: int, learning_rate: float, **fields: Any) -> TrainConfig:
    """Return the configuration of a network on images, judged by a random choice of the test set."""
    judged = {} if "validation_size" in fields else {"test_size": TESTED}
    return preset(
        task, **{"learning_rate": learning_rate, "epochs": epochs, "evaluate_every": EVERY, **judged, **fields}
    )


def rate_pilot(
    *, learning_rate: float, task: Literal["smnist", "psmnist"] = "smnist", epochs: int = 1, **fields: Any
) -> TrainConfig:
    """Return a training on images that is judged by held-out training images."""
    judged = {"validation_size": HELD_OUT, "evaluate_every": 1000}
    return image(task, epochs=epochs, learning_rate=learning_rate, **judged, **fields)


def adds(length: int, *, epochs: int, **fields: Any) -> TrainConfig:
    """Return the configuration of a network on the adding problem, with epochs of 1,000 iterations."""
    fixed = {"iterations_per_epoch": 1000, "evaluate_every": 250, "loss": ADDING_LOSS, "learning_rate": ADDING_RATE}
    return preset(f"add{length}", **{**fixed, "epochs": epochs, **fields})


def adding_networks(loss: LossName, seed: int, **fields: Any) -> list[TrainConfig]:
    """Return the homogeneous and the informed network of Table 1 on ADD100."""
    homogeneous = adds(100, epochs=25, loss=loss, r=0.995, seed=seed, **fields)
    informed = adds(100, epochs=25, loss=loss, seed=seed, **INFORMED, **fields)
    return [homogeneous, informed]


def rotation(multiple: float) -> dict[str, Any]:
    """Return the fields of a homogeneous rotation."""
    return {"residual": "rotation", "phi": multiple * CHARACTERISTIC_FREQUENCY, "r": 1.0}


def heterogeneous(width: float, centre: float = CENTRE) -> dict[str, Any]:
    """Return the fields of a heterogeneous residual."""
    return {"residual": "heterogeneous", "r": centre, "delta_r": width}


def each(name: str, values: Sequence[Any]) -> Networks:
    """Return networks that differ in one field."""
    return [{name: value} for value in values]


def over_rates(make: Callable[..., TrainConfig], networks: Networks, learning_rates: Sequence[float]) -> Configs:
    """Return the trainings of networks at each learning rate of a grid."""
    return lambda rates: [make(learning_rate=rate, **network) for network, rate in product(networks, learning_rates)]


def trained(
    make: Callable[..., TrainConfig],
    networks: Networks,
    seeds: Sequence[int] = (0,),
    *,
    pilot: str | None = None,
    varied: Networks = ({},),
) -> Configs:
    """Return the trainings of several instances of networks.

    Args:
        make: Function that returns a training, given the fields of the network, ``seed`` and, with a pilot,
            ``learning_rate``.
        networks: The networks.
        seeds: Seed of each instance.
        pilot: Stage that has found a learning rate for each of the networks; by default, ``make`` knows the rate.
        varied: Further fields; the learning rate of a network is the same for all of them.
    """

    def configs(rates: Rates) -> list[TrainConfig]:
        found = [{} if pilot is None else {"learning_rate": rates.of(pilot, **network)} for network in networks]
        return [
            make(seed=seed, **network, **rate, **change)
            for change, seed, (network, rate) in product(varied, seeds, list(zip(networks, found, strict=True)))
        ]

    return configs
