"""What is trained and measured for the figures: one file per experiment, one result file in ``figures/data`` each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from figures.experiments.adding_strength import ADDING_STRENGTH
from figures.experiments.architecture_spectra import ARCHITECTURE_SPECTRA
from figures.experiments.architectures import ARCHITECTURES
from figures.experiments.base import Experiment, Measurement
from figures.experiments.coupling_law import COUPLING_LAW
from figures.experiments.curvature_over_time import CURVATURE_OVER_TIME
from figures.experiments.digit import DIGIT
from figures.experiments.heterogeneity import HETEROGENEITY
from figures.experiments.informed import INFORMED
from figures.experiments.learning_rates import LEARNING_RATES
from figures.experiments.nonlinear_residuals import NONLINEAR_RESIDUALS
from figures.experiments.orthonormal import ORTHONORMAL
from figures.experiments.psmnist_strength import PSMNIST_STRENGTH
from figures.experiments.residual_strength import RESIDUAL_STRENGTH
from figures.experiments.rotations import ROTATIONS
from figures.experiments.smaller_learning_rate import SMALLER_LEARNING_RATE
from figures.experiments.untrained import UNTRAINED

_ALL: tuple[Measurement, ...] = (
    RESIDUAL_STRENGTH,
    SMALLER_LEARNING_RATE,
    HETEROGENEITY,
    LEARNING_RATES,
    ADDING_STRENGTH,
    NONLINEAR_RESIDUALS,
    ORTHONORMAL,
    PSMNIST_STRENGTH,
    ROTATIONS,
    INFORMED,
    ARCHITECTURES,
    DIGIT,
    COUPLING_LAW,
    CURVATURE_OVER_TIME,
    ARCHITECTURE_SPECTRA,
    UNTRAINED,
)

EXPERIMENTS: Mapping[str, Measurement] = MappingProxyType({each.name: each for each in _ALL})
"""By name, which is also that of the result file."""

__all__ = ["EXPERIMENTS", "Experiment", "Measurement"]
