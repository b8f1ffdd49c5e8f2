"""The stages of the campaign in the order in which they run: which networks are trained, how, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from figures.campaign.analyses import Analysis, curvature, exponents, gradients, singular_values
from figures.campaign.rates import Rates
from figures.protocols import CHARACTERISTIC_FREQUENCY
from wcrnn_models.names import LossName
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset

SEEDS = (0, 1, 2)
STRENGTHS = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.0025, 1.01)
FEWER_STRENGTHS = (0.95, 0.98, 0.995, 1.0, 1.0025, 1.01)
CLASSES = (0.95, 0.995, 1.0025, 1.01)
"""Residual strengths r; the last are the four classes of Fig. 2."""

IMAGE_RATES = (2e-5, 2e-4, 2e-3, 2e-2, 2e-1)
FEWER_IMAGE_RATES = (2e-3, 2e-2, 2e-1)
COMMON_RATE = 0.02
"""Of sMNIST where all networks have the same; it learned best at r = 0.995 of 0.02, 0.1, 0.5 and 2."""

ADDING_RATES = (0.01, 0.03, 0.1)
ADDING_RATE = 0.01
"""Of the adding problem where all networks have the same: the stable one of Fig. B.2."""

ADDING_LOSS: LossName = "mse"
"""Of the adding problem in all stages after the one that compares both."""

ANGLES = tuple(step / 2 for step in range(9))
FORM_ANGLES = (0.5, 1.0, 1.5, 2.0, 2.5)
"""Angular frequencies phi_0 of rotations, in multiples of the characteristic frequency."""

WIDTHS = (0.0, 0.04, 0.06, 0.08, 0.12)
CENTRE = 0.96
"""Widths delta_r and centre r_0 of heterogeneous residuals (Fig. 5)."""

COUPLINGS = (1e-4, 1e-3, 1e-2, 1e-1, 3e-1)
SIZES = (50, 100, 200)
BATCHES = (64, 128, 256)

INFORMED = {"residual": "informed", "coupling": "informed"}
NETWORKS = ("homogeneous", "informed")

SAVED = (100, 300, 1000)
"""Iterations whose checkpoints are kept, to follow exponents and curvature over training."""

TESTED, EVERY = 2000, 50
"""Test samples, a random choice, and iterations between evaluations on images."""

HELD_OUT = 5000
"""Training images that learning rates are judged by."""


@dataclass(frozen=True)
class Stage:
    """Trainings that belong together.

    Attributes:
        name: Name of its records, without a suffix.
        about: One line that says what it is for.
        configs: Returns the trainings, given the learning rates that earlier stages have found.
        dimensions: Fields of `TrainConfig` in which the trainings differ.
        needs: Stages that must be complete before, because they choose learning rates.
        analyses: Returns what is measured of the networks of a training.
    """

    name: str
    about: str
    configs: Callable[[Rates], Sequence[TrainConfig]]
    dimensions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    analyses: Callable[[TrainConfig], tuple[Analysis, ...]] = lambda config: ()


def image(task: Literal["smnist", "psmnist"], *, epochs: int, learning_rate: float, **fields: Any) -> TrainConfig:
    """Return the configuration of a network on images, judged by a random choice of the test set."""
    judged = {} if "validation_size" in fields else {"test_size": TESTED}
    return preset(
        task, **{"learning_rate": learning_rate, "epochs": epochs, "evaluate_every": EVERY, **judged, **fields}
    )


def rate_pilot(*, learning_rate: float, **fields: Any) -> TrainConfig:
    """Return a training of one epoch of sMNIST that is judged by held-out training images."""
    return image(
        "smnist", epochs=1, learning_rate=learning_rate, validation_size=HELD_OUT, evaluate_every=1000, **fields
    )


def adds(length: int, *, epochs: int, **fields: Any) -> TrainConfig:
    """Return the configuration of a network on the adding problem, with epochs of 1,000 iterations."""
    fixed = {"iterations_per_epoch": 1000, "evaluate_every": 250, "loss": ADDING_LOSS, "learning_rate": ADDING_RATE}
    return preset(f"add{length}", **{**fixed, "epochs": epochs, **fields})


def adding_networks(loss: LossName, seed: int, **fields: Any) -> list[TrainConfig]:
    """Return the homogeneous and the informed network of Table 1 on ADD100."""
    homogeneous = adds(100, epochs=25, loss=loss, r=0.995, seed=seed, **fields)
    informed = adds(100, epochs=25, loss=loss, seed=seed, **INFORMED, **fields)
    return [homogeneous, informed]


def rotation(multiple: float) -> dict[str, Any]:
    """Return the fields of a homogeneous rotation."""
    return {"residual": "rotation", "phi": multiple * CHARACTERISTIC_FREQUENCY, "r": 1.0}


def heterogeneous(width: float) -> dict[str, Any]:
    """Return the fields of a heterogeneous residual."""
    return {"residual": "heterogeneous", "r": CENTRE, "delta_r": width}


def strength_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return what is measured of networks on sMNIST against r: most of the four classes of Fig. 2."""
    if config.r not in CLASSES:
        return (exponents("ends"),)
    if config.seed > 0:
        return exponents("ends"), gradients("ends"), curvature("hessian_recurrent", "ends", k=20)
    return (
        exponents("all"),
        singular_values(),
        gradients("ends"),
        curvature("hessian_all", "ends", k=10, recurrent=False),
        curvature("hessian_recurrent", "all", k=20),
        curvature("ggn_recurrent", "ends", k=5, operator="ggn"),
        curvature("residual_recurrent", "ends", k=5, operator="residual"),
    )


def exponents_of_classes(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return the exponents before and after training of the four classes of Fig. 2."""
    return (exponents("ends"),) if config.r in CLASSES else ()


def heterogeneity_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return what is measured of untrained heterogeneous networks."""
    return exponents("first"), gradients("first"), curvature("hessian_recurrent", "first", k=50)


def rotation_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return the gradients of untrained networks with rotations, on sMNIST (Fig. B.4B)."""
    return (gradients("first"),) if config.task == "smnist" else ()


LOSSES: tuple[LossName, LossName] = ("mse", "rms")

STAGES = (
    Stage(
        "rate_pilot",
        "learning rates on sMNIST by residual strength",
        lambda rates: [rate_pilot(r=r, learning_rate=rate) for r, rate in product(STRENGTHS, IMAGE_RATES)],
        ("r", "learning_rate"),
    ),
    Stage(
        "adding_losses",
        "which error the adding problem is trained on: mean square or its root",
        lambda rates: [each for seed in SEEDS for loss in LOSSES for each in adding_networks(loss, seed)],
        ("seed", "loss", "residual"),
    ),
    Stage(
        "adding_losses_fast",
        "the same at ten times the learning rate",
        lambda rates: [each for loss in LOSSES for each in adding_networks(loss, 0, learning_rate=0.1)],
        ("loss", "residual"),
    ),
    Stage(
        "smnist_strength",
        "sMNIST against r, each network at its own learning rate",
        lambda rates: [
            image("smnist", epochs=3, r=r, seed=seed, learning_rate=rates.of("rate_pilot", r=r), save_at=SAVED)
            for seed, r in product(SEEDS, STRENGTHS)
        ],
        ("seed", "r"),
        ("rate_pilot",),
        analyses=strength_analyses,
    ),
    Stage(
        "smnist_common_rate",
        "sMNIST against r, all networks at one learning rate",
        lambda rates: [
            image("smnist", epochs=2, r=r, seed=seed, learning_rate=COMMON_RATE) for seed, r in product(SEEDS, CLASSES)
        ],
        ("seed", "r"),
    ),
    Stage(
        "clipping",
        "supercritical networks on sMNIST with clipped gradients, at the common learning rate",
        lambda rates: [
            image("smnist", epochs=2, r=r, seed=seed, learning_rate=COMMON_RATE, gradient_clip=1.0)
            for seed, r in product(SEEDS, (1.0025, 1.01))
        ],
        ("seed", "r"),
    ),
    Stage(
        "orthonormal",
        "random orthogonal residuals beside rotations by random angles",
        lambda rates: [
            image("smnist", epochs=1, r=1.0, seed=seed, learning_rate=COMMON_RATE, **fields)
            for seed in range(10)
            for fields in ({"residual": "orthogonal"}, {"residual": "rotation", "phi": "random"})
        ],
        ("seed", "residual"),
    ),
    Stage(
        "rotation_pilot",
        "learning rates on sMNIST by angular frequency",
        lambda rates: [
            rate_pilot(learning_rate=rate, **rotation(multiple))
            for multiple, rate in product(ANGLES, FEWER_IMAGE_RATES)
        ],
        ("phi", "learning_rate"),
    ),
    Stage(
        "rotations",
        "sMNIST and psMNIST against the angular frequency",
        lambda rates: [
            image(
                task,
                epochs=1,
                seed=seed,
                learning_rate=rates.of("rotation_pilot", phi=rotation(multiple)["phi"]),
                **rotation(multiple),
            )
            for task in ("smnist", "psmnist")
            for seed, multiple in product(SEEDS, ANGLES)
        ],
        ("task", "seed", "phi"),
        ("rotation_pilot",),
        analyses=rotation_analyses,
    ),
    Stage(
        "psmnist_strength",
        "psMNIST against r, at the learning rates of sMNIST",
        lambda rates: [
            image("psmnist", epochs=2, r=r, seed=seed, learning_rate=rates.of("rate_pilot", r=r))
            for seed, r in product(SEEDS, FEWER_STRENGTHS)
        ],
        ("seed", "r"),
        ("rate_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "heterogeneity_pilot",
        "learning rates on sMNIST by heterogeneity",
        lambda rates: [
            rate_pilot(learning_rate=rate, **heterogeneous(width)) for width, rate in product(WIDTHS, FEWER_IMAGE_RATES)
        ],
        ("delta_r", "learning_rate"),
    ),
    Stage(
        "heterogeneity",
        "sMNIST against the heterogeneity of the residual",
        lambda rates: [
            image(
                "smnist",
                epochs=2,
                seed=seed,
                learning_rate=rates.of("heterogeneity_pilot", delta_r=width),
                **heterogeneous(width),
            )
            for seed, width in product(SEEDS, WIDTHS)
        ],
        ("seed", "delta_r"),
        ("heterogeneity_pilot",),
        analyses=heterogeneity_analyses,
    ),
    Stage(
        "form_pilot",
        "learning rates on sMNIST of residuals of types A and B",
        lambda rates: [
            rate_pilot(form=form, r=r, learning_rate=rate)
            for form, r, rate in product(("A", "B"), FEWER_STRENGTHS, FEWER_IMAGE_RATES)
        ],
        ("form", "r", "learning_rate"),
    ),
    Stage(
        "form_strength",
        "sMNIST with residuals of types A and B against r",
        lambda rates: [
            image("smnist", epochs=1, form=form, r=r, seed=seed, learning_rate=rates.of("form_pilot", form=form, r=r))
            for form, seed, r in product(("A", "B"), SEEDS, FEWER_STRENGTHS)
        ],
        ("form", "seed", "r"),
        ("form_pilot",),
    ),
    Stage(
        "form_angle",
        "sMNIST with residuals of types A and B against the angular frequency, at the learning rates of linear ones",
        lambda rates: [
            image(
                "smnist",
                epochs=1,
                form=form,
                seed=seed,
                learning_rate=rates.of("rotation_pilot", phi=rotation(multiple)["phi"]),
                **rotation(multiple),
            )
            for form, seed, multiple in product(("A", "B"), SEEDS, FORM_ANGLES)
        ],
        ("form", "seed", "phi"),
        ("rotation_pilot",),
    ),
    Stage(
        "add100_pilot",
        "learning rates on ADD100 by residual strength",
        lambda rates: [
            adds(100, epochs=3, r=r, learning_rate=rate, validation_size=TESTED, evaluate_every=1000)
            for r, rate in product(STRENGTHS, ADDING_RATES)
        ],
        ("r", "learning_rate"),
    ),
    Stage(
        "add100_strength",
        "ADD100 against r, each network at its own learning rate",
        lambda rates: [
            adds(100, epochs=20, r=r, seed=seed, learning_rate=rates.of("add100_pilot", r=r))
            for seed, r in product(SEEDS, STRENGTHS)
        ],
        ("seed", "r"),
        ("add100_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "couplings",
        "the range of the coupling gamma on sMNIST, r = 0.995",
        lambda rates: [
            image("smnist", epochs=1, coupling=coupling, learning_rate=rates.of("rate_pilot", r=0.995))
            for coupling in COUPLINGS
        ],
        ("coupling",),
        ("rate_pilot",),
    ),
    Stage(
        "sizes",
        "independence of the number of units on sMNIST, r = 0.995",
        lambda rates: [
            image("smnist", epochs=1, hidden_size=size, learning_rate=rates.of("rate_pilot", r=0.995)) for size in SIZES
        ],
        ("hidden_size",),
        ("rate_pilot",),
    ),
    Stage(
        "batches",
        "independence of the batch size on sMNIST, r = 0.995",
        lambda rates: [
            image("smnist", epochs=1, batch_size=size, learning_rate=rates.of("rate_pilot", r=0.995))
            for size in BATCHES
        ],
        ("batch_size",),
        ("rate_pilot",),
    ),
    Stage(
        "add200_strength",
        "ADD200 against r, at the learning rates of ADD100",
        lambda rates: [
            adds(200, epochs=40, r=r, seed=seed, learning_rate=rates.of("add100_pilot", r=r))
            for seed, r in product(SEEDS[:2], (0.95, 0.98, 0.995, 1.0, 1.01))
        ],
        ("seed", "r"),
        ("add100_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "informed_images",
        "informed heterogeneous networks beside homogeneous ones on sMNIST and psMNIST, for ten epochs",
        lambda rates: [
            image(task, epochs=10, seed=seed, learning_rate=COMMON_RATE, **fields)
            for seed in SEEDS
            for task in ("smnist", "psmnist")
            for fields in (INFORMED, rotation(1.0))
        ],
        ("seed", "task", "residual"),
        analyses=lambda config: (exponents("ends"),),
    ),
)
