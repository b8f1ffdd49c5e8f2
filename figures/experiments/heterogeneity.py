"""Heterogeneous residuals on sMNIST, eq. (17), with r_0 = 0.96: Fig. 5."""

from __future__ import annotations

from figures.experiments.base import Experiment
from figures.protocols import Protocol
from wcrnn_models.training.config import TrainConfig

R_0 = 0.96
"""Centre of the interval that the residual's entries are drawn from; 0.04 below the edge of chaos."""

WIDTHS = (0.0, 0.04, 0.06, 0.08, 0.12)
"""delta_r, the width of that interval: none; moderate, as half of it is below 0.04; up to the edge of chaos; strong."""


def trained(protocol: Protocol) -> list[TrainConfig]:
    """Every width for every seed."""
    return [
        protocol.images("smnist", residual="heterogeneous", r=R_0, delta_r=width, seed=seed)
        for seed in protocol.image_seeds
        for width in WIDTHS
    ]


def analysed(protocol: Protocol) -> list[TrainConfig]:
    """Every width, of the first seed."""
    return [config for config in trained(protocol) if config.seed == protocol.image_seeds[0]]


HETEROGENEITY = Experiment(
    "heterogeneity",
    "sMNIST with heterogeneous residuals: learning, and untrained exponents, gradients and curvature against delta_r",
    trained,
    ("seed", "r", "delta_r"),
    analysed,
    lambda protocol: {
        "samples": protocol.hessian_samples,
        "trajectories": 1,
        "hessian_k": protocol.hessian_k,
        "record_every": 14,
        "include": ("variational_term", "gradient_propagation", "hessian_spectrum"),
    },
    checkpoints="first",
)
