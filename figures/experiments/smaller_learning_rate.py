"""Scalar residuals r I on sMNIST at a tenth of the learning rate, at which critical networks learn too: Fig. 2A."""

from __future__ import annotations

from figures.experiments.base import Experiment
from figures.experiments.residual_strength import SAVE_AT
from figures.protocols import IMAGE_LEARNING_RATE, STRENGTH_CLASSES, Protocol
from wcrnn_models.training.config import TrainConfig


def trained(protocol: Protocol) -> list[TrainConfig]:
    """The four classes of Fig. 2, for every seed."""
    learning_rate = IMAGE_LEARNING_RATE / 10
    return [
        protocol.images("smnist", r=r, seed=seed, learning_rate=learning_rate, save_at=SAVE_AT[protocol.name])
        for seed in protocol.image_seeds
        for r in STRENGTH_CLASSES
    ]


SMALLER_LEARNING_RATE = Experiment(
    "smaller_learning_rate",
    "sMNIST with scalar residuals at a tenth of the learning rate",
    trained,
    ("learning_rate", "seed", "r"),
)
