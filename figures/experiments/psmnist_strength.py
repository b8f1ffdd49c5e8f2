"""Scalar residuals r I on psMNIST: Figs. 3C-D and B.1E-F."""

from __future__ import annotations

from figures.experiments.base import Experiment
from figures.experiments.residual_strength import SAVE_AT
from figures.protocols import STRENGTH_CLASSES, Protocol
from wcrnn_models.training.config import TrainConfig


def trained(protocol: Protocol) -> list[TrainConfig]:
    """Every strength of the protocol, for every seed; at `cpu` for the first."""
    return [
        protocol.images("psmnist", r=r, seed=seed, save_at=SAVE_AT[protocol.name])
        for seed in (protocol.seeds[:1] if protocol.name == "cpu" else protocol.seeds)
        for r in sorted({*protocol.strengths, *STRENGTH_CLASSES})
    ]


def analysed(protocol: Protocol) -> list[TrainConfig]:
    """The four classes of Fig. 2, of the first seed."""
    return [config for config in trained(protocol) if config.r in STRENGTH_CLASSES and config.seed == protocol.seeds[0]]


PSMNIST_STRENGTH = Experiment(
    "psmnist_strength",
    "psMNIST with scalar residuals: learning against r, and exponents before and after",
    trained,
    ("seed", "r"),
    analysed,
    lambda protocol: {"samples": 8, "trajectories": 1, "record_every": 14, "include": ("variational_term",)},
    checkpoints="ends",
)
