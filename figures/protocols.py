"""How much is trained: minutes, a night on two cores, or what the paper did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset

ProtocolName = Literal["quick", "cpu", "paper"]

IMAGE_LEARNING_RATE = 0.02
"""Of sMNIST and psMNIST. The paper does not state its own; of 0.02, 0.1, 0.5 and 2 (scalar residual, r = 0.995, one
epoch of sMNIST) 0.02 learned best."""

ADDING_LEARNING_RATE = 0.01
"""Of the adding problem: the stable one of Fig. B.2."""


@dataclass(frozen=True)
class Protocol:
    """How long networks are trained and how many of them.

    Attributes:
        name: As on the command line.
        seeds: Network instances.
        image_seeds: Those of linear residuals on sMNIST and psMNIST.
        table_seeds: Those of Table 1.
        image: Fields of `TrainConfig` for sMNIST and psMNIST that differ from the preset.
        adding: The same for the adding problem.
        strengths: Residual connection strengths r of the efficiency curves (Figs. 3, 6A).
        angles: Angular frequencies phi_0 of rotations (Figs. 4, 6B), in multiples of the characteristic frequency.
        lengths: Lengths of the adding problem.
        hessian_samples: Test samples of Hessians and gradients.
        hessian_k: Hessian eigenvalues.
    """

    name: ProtocolName
    seeds: tuple[int, ...]
    image: Mapping[str, Any]
    adding: Mapping[str, Any]
    strengths: tuple[float, ...]
    angles: tuple[float, ...]
    lengths: tuple[int, ...]
    hessian_samples: int
    hessian_k: int
    image_seeds: tuple[int, ...]
    table_seeds: tuple[int, ...]

    def images(self, task: Literal["smnist", "psmnist"], **changes: Any) -> TrainConfig:
        """The configuration of a network on sMNIST or psMNIST."""
        return preset(task, **{"learning_rate": IMAGE_LEARNING_RATE, **self.image, **changes})

    def adds(self, length: int, **changes: Any) -> TrainConfig:
        """The configuration of a network on the adding problem."""
        return preset(f"add{length}", **{"learning_rate": ADDING_LEARNING_RATE, **self.adding, **changes})


STRENGTH_CLASSES = (0.95, 0.995, 1.0025, 1.01)
"""Strongly and weakly subcritical, critical and strongly supercritical networks, as in the legend of Fig. 2."""

CHARACTERISTIC_FREQUENCY = 0.2243994752564138
"""phi_c = 2 pi / 28 of sMNIST, in radians per step."""

PROTOCOLS: Mapping[ProtocolName, Protocol] = MappingProxyType(
    {
        "quick": Protocol(
            "quick",
            seeds=(0,),
            image={"epochs": 1, "train_size": 1280, "test_size": 200, "evaluate_every": 5, "probe_every": 5},
            adding={"epochs": 1, "iterations_per_epoch": 100, "test_size": 200, "evaluate_every": 50},
            strengths=STRENGTH_CLASSES,
            angles=(0.0, 1.0, 1.5),
            lengths=(100,),
            hessian_samples=8,
            hessian_k=5,
            image_seeds=(0,),
            table_seeds=(0,),
        ),
        "cpu": Protocol(
            "cpu",
            seeds=(0,),
            image={"epochs": 2, "test_size": 2000, "evaluate_every": 50, "probe_every": 25},
            adding={"epochs": 12, "iterations_per_epoch": 1000, "evaluate_every": 250},
            strengths=STRENGTH_CLASSES,
            angles=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
            lengths=(100, 400),
            hessian_samples=64,
            hessian_k=10,
            image_seeds=(0, 1),
            table_seeds=(0, 1),
        ),
        "paper": Protocol(
            "paper",
            seeds=(0, 1, 2, 3, 4),
            image={"probe_every": 100},
            adding={"iterations_per_epoch": 3000},
            strengths=(0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.0, 1.0025, 1.005, 1.01, 1.02),
            angles=tuple(step / 4 for step in range(21)),
            lengths=(100, 200, 400, 800),
            hessian_samples=1000,
            hessian_k=50,
            image_seeds=(0, 1, 2, 3, 4),
            table_seeds=(0, 1, 2, 3, 4),
        ),
    }
)
