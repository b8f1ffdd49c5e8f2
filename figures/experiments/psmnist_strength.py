"""Scalar residuals r I on psMNIST: Figs. 3C-D and B.1E-F."""

from __future__ import annotations

from figures.experiments.base import Experiment
from figures.experiments.residual_strength import analysed, trained

PSMNIST_STRENGTH = Experiment(
    "psmnist_strength",
    "psMNIST with scalar residuals: learning against r, and exponents before and after",
    lambda protocol: trained(protocol, "psmnist"),
    ("seed", "r"),
    lambda protocol: analysed(protocol, "psmnist"),
    lambda protocol: {"samples": 8, "trajectories": 1, "record_every": 14, "include": ("variational_term",)},
    checkpoints="ends",
)
