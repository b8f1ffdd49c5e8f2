"""Homogeneous rotations (eq. 16) on sMNIST and psMNIST: Figs. 4, 6B and B.4A-C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from figures.experiments.base import Experiment
from figures.experiments.several import Several
from figures.protocols import CHARACTERISTIC_FREQUENCY, Protocol
from wcrnn_models.training.config import TrainConfig

EPOCHS = {"quick": 1, "cpu": 1, "paper": 50}
"""Of Fig. 4."""

LONG_EPOCHS = {"paper": 200}
"""Of Fig. B.4C, by the protocols that have it."""

SAMPLES = 16
"""Digits whose gradients are followed."""


def rotations(
    protocol: Protocol, task: Literal["smnist", "psmnist"], epochs: int, seeds: tuple[int, ...]
) -> list[TrainConfig]:
    """A network of every angle of the protocol, for every seed."""
    return [
        protocol.images(
            task, epochs=epochs, residual="rotation", phi=multiple * CHARACTERISTIC_FREQUENCY, r=1.0, seed=seed
        )
        for seed in seeds
        for multiple in protocol.angles
    ]


def trained(protocol: Protocol) -> list[TrainConfig]:
    """Both data sets."""
    epochs = EPOCHS[protocol.name]
    tasks: tuple[Literal["smnist", "psmnist"], ...] = ("smnist", "psmnist")
    return [config for task in tasks for config in rotations(protocol, task, epochs, protocol.image_seeds)]


def trained_long(protocol: Protocol) -> list[TrainConfig]:
    """On sMNIST for 200 epochs."""
    return rotations(protocol, "smnist", LONG_EPOCHS[protocol.name], protocol.image_seeds)


def analysed(protocol: Protocol) -> list[TrainConfig]:
    """Those of sMNIST, of the first seed."""
    return rotations(protocol, "smnist", EPOCHS[protocol.name], protocol.image_seeds[:1])


LEARNING = Experiment(
    "rotations_learning",
    "sMNIST and psMNIST with homogeneous rotations",
    trained,
    ("task", "seed", "phi"),
    analysed,
    lambda protocol: {"samples": SAMPLES, "trajectories": 1, "include": ("gradient_propagation",)},
    checkpoints="first",
)

LEARNING_LONG = Experiment("rotations_long", "sMNIST with homogeneous rotations", trained_long, ("seed", "phi"))


def parts(protocol: Protocol) -> Mapping[str, Experiment]:
    """Learning of all and gradients of untrained networks; and learning for longer where the protocol has it."""
    return {"": LEARNING} | ({"long": LEARNING_LONG} if protocol.name in LONG_EPOCHS else {})


ROTATIONS = Several(
    "rotations", "sMNIST and psMNIST with homogeneous rotations: learning and gradients against phi_0", parts
)
