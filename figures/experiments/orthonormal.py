"""Random orthogonal residuals beside rotations by random angles, on sMNIST: Fig. B.4D."""

from __future__ import annotations

from collections.abc import Mapping

from figures.experiments.comparison import Comparison, Contestants
from figures.protocols import Protocol

EPOCHS = {"quick": 1, "cpu": 1, "paper": 15}
"""The paper draws 7000 iterations, which are 15 epochs."""

SEEDS = {"cpu": (0, 1, 2)}
"""More instances than the protocol has, where two kinds are compared that differ as little as instances do."""

RESIDUALS: Mapping[str, Mapping[str, str]] = {
    "random orthogonal": {"residual": "orthogonal"},
    "rotations, random angles": {"residual": "rotation", "phi": "random"},
}
"""Fields of `TrainConfig` by the name of the network."""


def tasks(protocol: Protocol) -> Mapping[str, Contestants]:
    """Both residuals, for every seed."""
    return {
        "smnist": {
            name: [
                protocol.images("smnist", **fields, seed=seed, epochs=EPOCHS[protocol.name], r=1.0)
                for seed in SEEDS.get(protocol.name, protocol.image_seeds)
            ]
            for name, fields in RESIDUALS.items()
        }
    }


ORTHONORMAL = Comparison("orthonormal", "random orthogonal residuals and rotations by random angles on sMNIST", tasks)
