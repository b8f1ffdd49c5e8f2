"""Scalar residuals r I on sMNIST: Figs. 2, 3C-D, B.3 and exponents over training."""

from __future__ import annotations

from typing import Literal

from figures.experiments.base import Experiment
from figures.protocols import STRENGTH_CLASSES, Protocol
from wcrnn_models.training.config import TrainConfig

SAVE_AT = {"quick": (5,), "cpu": (100, 300), "paper": (100, 300, 1000, 3000, 10000, 30000)}


def trained(protocol: Protocol, task: Literal["smnist", "psmnist"] = "smnist") -> list[TrainConfig]:
    """Every strength of the protocol, for every seed."""
    return [
        protocol.images(task, r=r, seed=seed, save_at=SAVE_AT[protocol.name])
        for seed in protocol.image_seeds
        for r in sorted({*protocol.strengths, *STRENGTH_CLASSES})
    ]


def analysed(protocol: Protocol, task: Literal["smnist", "psmnist"] = "smnist") -> list[TrainConfig]:
    """The four classes of Fig. 2, of the first seed."""
    first = [config for config in trained(protocol, task) if config.seed == protocol.image_seeds[0]]
    return [config for config in first if config.r in STRENGTH_CLASSES]


RESIDUAL_STRENGTH = Experiment(
    "residual_strength",
    "sMNIST with scalar residuals: learning, exponents, gradients and curvature against r",
    trained,
    ("seed", "r"),
    analysed,
    lambda protocol: {
        "samples": protocol.hessian_samples,
        "trajectories": 1,
        "hessian_k": protocol.hessian_k,
        "record_every": 14,
        "include": ("lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"),
    },
    checkpoints="all",
)
