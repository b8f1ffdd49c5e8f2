"""Scalar residuals r I on the adding problem: Figs. 3A-B and B.1A-D."""

from __future__ import annotations

from collections.abc import Mapping

from figures.experiments.base import Experiment
from figures.experiments.several import Several
from figures.protocols import STRENGTH_CLASSES, Protocol
from wcrnn_models.training.config import TrainConfig

RECORDED = 50
"""Steps at which exponents are recorded, whatever the length."""

CPU_EPOCHS = {400: 2}
"""At `cpu`, lengths that are trained for fewer epochs than the protocol's."""


def trained(protocol: Protocol, length: int) -> list[TrainConfig]:
    """Every strength of the protocol, for every seed; at `cpu` for the first."""
    changes = {"epochs": CPU_EPOCHS[length]} if protocol.name == "cpu" and length in CPU_EPOCHS else {}
    return [
        protocol.adds(length, r=r, seed=seed, **changes)
        for seed in protocol.seeds
        for r in sorted({*protocol.strengths, *STRENGTH_CLASSES})
    ]


def analysed(protocol: Protocol, length: int) -> list[TrainConfig]:
    """The four classes of Fig. 2, of the first seed."""
    return [
        config
        for config in trained(protocol, length)
        if config.r in STRENGTH_CLASSES and config.seed == protocol.seeds[0]
    ]


def of_length(length: int) -> Experiment:
    """The sweep of one length, with exponents before and after training."""
    return Experiment(
        f"adding_strength_{length}",
        f"ADD{length} with scalar residuals",
        lambda protocol: trained(protocol, length),
        ("seed", "r"),
        lambda protocol: analysed(protocol, length),
        lambda protocol: {
            "samples": 8,
            "trajectories": 1,
            "record_every": max(1, length // RECORDED),
            "include": ("variational_term",),
        },
        checkpoints="ends",
    )


def parts(protocol: Protocol) -> Mapping[str, Experiment]:
    """The sweeps by length."""
    return {str(length): of_length(length) for length in protocol.lengths}


ADDING_STRENGTH = Several(
    "adding_strength", "adding problem with scalar residuals: learning against r, and exponents before and after", parts
)
