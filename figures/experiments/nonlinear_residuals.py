"""Residuals of types A (eq. 18) and B (eq. 19) on sMNIST: Fig. 6."""

from __future__ import annotations

from collections.abc import Mapping

from figures.experiments.base import Experiment
from figures.experiments.several import Several
from figures.protocols import CHARACTERISTIC_FREQUENCY, STRENGTH_CLASSES, Protocol
from wcrnn_models.names import Form
from wcrnn_models.training.config import TrainConfig

FORMS: tuple[Form, ...] = ("A", "B")

CPU_ANGLES = (0.5, 1.0, 1.5, 2.0)
"""At `cpu`, multiples of the characteristic frequency."""

STRENGTH_EPOCHS = {"quick": 1, "cpu": 1, "paper": 200}
"""As those of the linear networks of Fig. 3 at `quick` and `paper`."""

ANGLE_EPOCHS = {"quick": 1, "cpu": 1, "paper": 50}
"""As those of the linear networks of Fig. 4."""


def of_strengths(protocol: Protocol) -> list[TrainConfig]:
    """Scalar residuals of every strength of the protocol."""
    return [
        protocol.images("smnist", form=form, r=r, seed=seed, epochs=STRENGTH_EPOCHS[protocol.name])
        for form in FORMS
        for seed in protocol.seeds
        for r in sorted({*protocol.strengths, *STRENGTH_CLASSES})
    ]


def of_angles(protocol: Protocol) -> list[TrainConfig]:
    """Homogeneous rotations."""
    return [
        protocol.images(
            "smnist",
            form=form,
            residual="rotation",
            phi=multiple * CHARACTERISTIC_FREQUENCY,
            r=1.0,
            seed=seed,
            epochs=ANGLE_EPOCHS[protocol.name],
        )
        for form in FORMS
        for seed in protocol.seeds
        for multiple in (CPU_ANGLES if protocol.name == "cpu" else protocol.angles)
    ]


def parts(protocol: Protocol) -> Mapping[str, Experiment]:
    """The sweeps over r and over phi_0; linear networks are trained for other figures."""
    return {
        "strength": Experiment(
            "nonlinear_strength", "residuals of types A and B against r", of_strengths, ("form", "seed", "r")
        ),
        "angle": Experiment(
            "nonlinear_angle", "residuals of types A and B against phi_0", of_angles, ("form", "seed", "phi")
        ),
    }


NONLINEAR_RESIDUALS = Several(
    "nonlinear_residuals", "sMNIST with residuals of types A and B: learning against r and phi_0", parts
)
