"""Learning rate and coupling on the adding problem of length 100: Fig. B.2."""

from __future__ import annotations

from figures.experiments.base import Experiment
from figures.protocols import STRENGTH_CLASSES, Protocol
from wcrnn_models.training.config import TrainConfig

RATES = (0.1, 0.01)
COUPLINGS = (0.01, 0.001)


def trained(protocol: Protocol) -> list[TrainConfig]:
    """The four classes of Fig. 2 with each learning rate and each coupling; one network instance, as in the paper."""
    return [
        protocol.adds(100, learning_rate=learning_rate, coupling=coupling, r=r, seed=0)
        for learning_rate in RATES
        for coupling in COUPLINGS
        for r in STRENGTH_CLASSES
    ]


LEARNING_RATES = Experiment(
    "learning_rates",
    "adding problem of length 100: stability of learning against learning rate and coupling",
    trained,
    ("seed", "learning_rate", "coupling", "r"),
)
