"""The stages of the campaign in the order in which they run: networks, training, and number of iterations."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

from figures.campaign.analyses import Analysis, curvature, exponents, gradients, singular_values
from figures.campaign.rates import Rates
from figures.campaign.stage import (
    INFORMED,
    TESTED,
    Stage,
    adding_networks,
    adds,
    each,
    heterogeneous,
    image,
    over_rates,
    rate_pilot,
    rotation,
    trained,
)
from figures.paper import STRENGTH_CLASSES
from wcrnn_models.names import LossName
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import network_fields

SEEDS = (0, 1, 2)
MORE_SEEDS = (*SEEDS, 3, 4, 5)
"""Instances where three of them differ too much for an answer."""

STRENGTHS = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.0025, 1.01)
FEWER_STRENGTHS = (0.95, 0.98, 0.995, 1.0, 1.0025, 1.01)
"""Residual strengths r."""

IMAGE_RATES = (2e-5, 2e-4, 2e-3, 2e-2, 2e-1)
FEWER_IMAGE_RATES = (2e-3, 2e-2, 2e-1)
COMMON_RATE = 0.02
"""Learning rate of sMNIST where all networks have the same; of 0.02, 0.1, 0.5 and 2, it was best at r = 0.995."""

SMALL_RATE = 2e-5
"""Learning rate of sMNIST at which strongly supercritical networks learn; all others do, too, but slowly."""

ADDING_RATES = (0.01, 0.03, 0.1)
HOMOGENEOUS = 0.995
"""Residual strength of homogeneous networks beside informed ones on the adding problem."""

INFORMED_ADDING_RATE = 0.1
"""Learning rate of informed networks there: the better one of the stages adding_losses and adding_losses_fast."""

LSTM_RATES = (0.1, 0.3, 1.0)
"""Higher than those of other networks, as the LSTM does not leave chance in an epoch at any of `FEWER_IMAGE_RATES`."""

PILOT_EPOCHS, EPOCHS, MORE_EPOCHS, EVERY_QUARTER = 3, 7, 10, 117
"""Epochs on images of networks that learn nothing in one: to choose their learning rates, to compare them on sMNIST,
and on psMNIST, where they learn more slowly; and the iterations between their evaluations, a quarter of an epoch."""

ANGLES = tuple(step / 2 for step in range(9))
FORM_ANGLES = (0.5, 1.0, 1.5, 2.0, 2.5)
"""Angular frequencies phi_0 of rotations, in multiples of the characteristic frequency."""

WIDTHS = (0.0, 0.04, 0.06, 0.08, 0.12)
"""Widths delta_r of heterogeneous residuals (Fig. 5)."""

EDGE, EDGE_WIDTHS = 0.99, (0.0, 0.01, 0.04)
"""The same near the edge of chaos."""

SPLIT = (0.98, 0.995, 1.0025)
"""Residual strengths of the networks whose Hessian is split into its two terms."""

TABLE_2 = ("elman-res-clip", "elman-wc", "wcrnn-best", "wcrnn-no-tanh", "lstm")
"""Networks of Table 2 of about 10,000 parameters."""

COUPLINGS = (1e-4, 1e-3, 1e-2, 1e-1)
MORE_COUPLINGS = (*COUPLINGS, 3e-1)
COUPLING_RATES = (2e-4, 2e-3, 2e-2, 2e-1, 2.0)
SIZES = (50, 100, 200)
BATCHES = (64, 128, 256)

SAVED = (100, 300, 1000)
"""Iterations whose checkpoints are kept, to follow exponents and curvature over training."""


def strength_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return the analyses of networks on sMNIST against r: most of them of the four classes of Fig. 2."""
    if config.r not in STRENGTH_CLASSES:
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
    return (exponents("ends"),) if config.r in STRENGTH_CLASSES else ()


def heterogeneity_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return the analyses of untrained heterogeneous networks."""
    if config.seed not in SEEDS:
        return ()
    return exponents("first"), gradients("first"), curvature("hessian_recurrent", "first", k=50)


def rotation_analyses(config: TrainConfig) -> tuple[Analysis, ...]:
    """Return the gradients of untrained networks with rotations, on sMNIST (Fig. B.4B)."""
    return (gradients("first"),) if config.task == "smnist" and config.seed in SEEDS else ()


def table_1_networks(length: int, rates: Rates, **fields: Any) -> list[TrainConfig]:
    """Return the informed and the homogeneous network of Table 1 on an adding problem, each at its own rate."""
    homogeneous = adds(length, r=HOMOGENEOUS, learning_rate=rates.of("add100_pilot", r=HOMOGENEOUS), **fields)
    return [adds(length, learning_rate=INFORMED_ADDING_RATE, **INFORMED, **fields), homogeneous]


LOSSES: tuple[LossName, LossName] = ("mse", "rms")

IMAGES = ("smnist", "psmnist")
FORMS = ("A", "B")
ROTATIONS = [rotation(multiple) for multiple in ANGLES]
HETEROGENEOUS = [heterogeneous(width) for width in WIDTHS]
NEAR_THE_EDGE = [heterogeneous(width, EDGE) for width in EDGE_WIDTHS]
ROTATIONS_BY_TASK = [{"task": task, **each} for task, each in product(IMAGES, ROTATIONS)]
PERMUTED = [{"task": "psmnist", "r": r} for r in FEWER_STRENGTHS]
FORMS_BY_ANGLE = [{"form": form, **rotation(multiple)} for form, multiple in product(FORMS, FORM_ANGLES)]
FORMS_BY_STRENGTH = [{"form": form, "r": r} for form, r in product(FORMS, FEWER_STRENGTHS)]
INFORMED_FORMS = [{"form": form, **INFORMED} for form in FORMS]
NETWORKS_OF_TABLE_2 = [network_fields(name) for name in TABLE_2]
USUAL = each("r", [0.995])
COUPLED = [{"coupling": coupling, **USUAL[0]} for coupling in COUPLINGS]
"""Networks of the stages, by the fields in which they differ."""

long_pilot = partial(rate_pilot, epochs=PILOT_EPOCHS)
long_image = partial(image, epochs=EPOCHS, evaluate_every=EVERY_QUARTER)
"""Trainings of `PILOT_EPOCHS` and of `EPOCHS`."""

STAGES = (
    Stage(
        "rate_pilot",
        "learning rates on sMNIST by residual strength",
        over_rates(rate_pilot, each("r", STRENGTHS), IMAGE_RATES),
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
        trained(partial(image, "smnist", epochs=3, save_at=SAVED), each("r", STRENGTHS), SEEDS, pilot="rate_pilot"),
        ("seed", "r"),
        ("rate_pilot",),
        analyses=strength_analyses,
    ),
    Stage(
        "smnist_common_rate",
        "sMNIST against r, all networks at one learning rate",
        trained(partial(image, "smnist", epochs=2, learning_rate=COMMON_RATE), each("r", STRENGTH_CLASSES), MORE_SEEDS),
        ("seed", "r"),
    ),
    Stage(
        "smnist_small_rate",
        "sMNIST against r, all networks at one learning rate that suits supercritical ones",
        trained(partial(image, "smnist", epochs=1, learning_rate=SMALL_RATE), each("r", (0.98, 1.0025, 1.01)), SEEDS),
        ("seed", "r"),
    ),
    Stage(
        "clipping",
        "supercritical networks on sMNIST with clipped gradients, at the common learning rate",
        trained(
            partial(image, "smnist", epochs=2, learning_rate=COMMON_RATE, gradient_clip=1.0),
            each("r", (1.0025, 1.01)),
            MORE_SEEDS,
        ),
        ("seed", "r"),
    ),
    Stage(
        "orthonormal",
        "random orthogonal residuals beside rotations by random angles",
        trained(
            partial(image, "smnist", epochs=1, r=1.0, learning_rate=COMMON_RATE),
            [{"residual": "orthogonal"}, {"residual": "rotation", "phi": "random"}],
            range(10),
        ),
        ("seed", "residual"),
    ),
    Stage(
        "rotation_pilot",
        "learning rates on sMNIST and psMNIST by angular frequency",
        over_rates(long_pilot, ROTATIONS_BY_TASK, FEWER_IMAGE_RATES),
        ("task", "phi", "learning_rate"),
    ),
    Stage(
        "rotations",
        "sMNIST and psMNIST against the angular frequency",
        trained(long_image, ROTATIONS_BY_TASK, SEEDS, pilot="rotation_pilot"),
        ("task", "seed", "phi"),
        ("rotation_pilot",),
        analyses=rotation_analyses,
    ),
    Stage(
        "psmnist_pilot",
        "learning rates on psMNIST by residual strength",
        over_rates(long_pilot, PERMUTED, IMAGE_RATES),
        ("r", "learning_rate"),
    ),
    Stage(
        "psmnist_strength",
        "psMNIST against r, each network at its own learning rate",
        trained(partial(long_image, epochs=MORE_EPOCHS), PERMUTED, SEEDS, pilot="psmnist_pilot"),
        ("seed", "r"),
        ("psmnist_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "heterogeneity_pilot",
        "learning rates on sMNIST by heterogeneity",
        over_rates(long_pilot, HETEROGENEOUS, FEWER_IMAGE_RATES),
        ("delta_r", "learning_rate"),
    ),
    Stage(
        "heterogeneity",
        "sMNIST against the heterogeneity of the residual",
        trained(partial(long_image, "smnist"), HETEROGENEOUS, MORE_SEEDS, pilot="heterogeneity_pilot"),
        ("seed", "delta_r"),
        ("heterogeneity_pilot",),
        analyses=heterogeneity_analyses,
    ),
    Stage(
        "form_pilot",
        "learning rates on sMNIST of residuals of types A and B",
        over_rates(long_pilot, FORMS_BY_STRENGTH, FEWER_IMAGE_RATES),
        ("form", "r", "learning_rate"),
    ),
    Stage(
        "form_strength",
        "sMNIST with residuals of types A and B against r",
        trained(partial(long_image, "smnist"), FORMS_BY_STRENGTH, SEEDS, pilot="form_pilot"),
        ("form", "seed", "r"),
        ("form_pilot",),
    ),
    Stage(
        "form_angle_pilot",
        "learning rates on sMNIST of residuals of types A and B by angular frequency",
        over_rates(long_pilot, FORMS_BY_ANGLE, FEWER_IMAGE_RATES),
        ("form", "phi", "learning_rate"),
    ),
    Stage(
        "form_angle",
        "sMNIST with residuals of types A and B against the angular frequency",
        trained(partial(long_image, "smnist"), FORMS_BY_ANGLE, SEEDS, pilot="form_angle_pilot"),
        ("form", "seed", "phi"),
        ("form_angle_pilot",),
    ),
    Stage(
        "add100_pilot",
        "learning rates on ADD100 by residual strength",
        over_rates(
            partial(adds, 100, epochs=3, validation_size=TESTED, evaluate_every=1000),
            each("r", STRENGTHS),
            ADDING_RATES,
        ),
        ("r", "learning_rate"),
    ),
    Stage(
        "add100_strength",
        "ADD100 against r, each network at its own learning rate",
        trained(partial(adds, 100, epochs=20), each("r", STRENGTHS), MORE_SEEDS, pilot="add100_pilot"),
        ("seed", "r"),
        ("add100_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "add200_strength",
        "ADD200 against r, at the learning rates of ADD100",
        trained(partial(adds, 200, epochs=40), each("r", (0.95, 0.98, 0.995, 1.0, 1.01)), SEEDS, pilot="add100_pilot"),
        ("seed", "r"),
        ("add100_pilot",),
        analyses=exponents_of_classes,
    ),
    Stage(
        "informed_images",
        "informed heterogeneous networks beside homogeneous ones on sMNIST and psMNIST, for ten epochs",
        trained(
            partial(image, epochs=10, learning_rate=COMMON_RATE),
            [INFORMED, rotation(1.0)],
            SEEDS,
            varied=each("task", IMAGES),
        ),
        ("seed", "task", "residual"),
        analyses=lambda config: (exponents("ends"),),
    ),
    Stage(
        "gauss_newton",
        "the two terms of the Hessian before and after training, of networks of the stage smnist_strength",
        trained(partial(image, "smnist", epochs=3, save_at=SAVED), each("r", SPLIT), MORE_SEEDS, pilot="rate_pilot"),
        ("seed", "r"),
        ("rate_pilot",),
        analyses=lambda config: (
            curvature("ggn_recurrent", "ends", k=5, operator="ggn"),
            curvature("residual_recurrent", "ends", k=5, operator="residual"),
        ),
    ),
    Stage(
        "coupling_common_rate",
        "sMNIST against the coupling gamma, r = 0.995, all networks at one learning rate",
        trained(
            partial(image, "smnist", epochs=1, learning_rate=COMMON_RATE),
            USUAL,
            MORE_SEEDS,
            varied=each("coupling", MORE_COUPLINGS),
        ),
        ("seed", "coupling"),
    ),
    Stage(
        "coupling_pilot",
        "learning rates on sMNIST by the coupling gamma, r = 0.995",
        over_rates(long_pilot, COUPLED, COUPLING_RATES),
        ("coupling", "learning_rate"),
    ),
    Stage(
        "coupling_range",
        "sMNIST against the coupling gamma, r = 0.995, each network at its own learning rate",
        trained(partial(long_image, "smnist"), COUPLED, SEEDS, pilot="coupling_pilot"),
        ("seed", "coupling"),
        ("coupling_pilot",),
    ),
    Stage(
        "size_range",
        "independence of the number of units on sMNIST, r = 0.995",
        trained(
            partial(image, "smnist", epochs=1), USUAL, MORE_SEEDS, pilot="rate_pilot", varied=each("hidden_size", SIZES)
        ),
        ("seed", "hidden_size"),
        ("rate_pilot",),
    ),
    Stage(
        "batch_range",
        "independence of the batch size on sMNIST, r = 0.995",
        trained(partial(long_image, "smnist"), USUAL, SEEDS, pilot="rate_pilot", varied=each("batch_size", BATCHES)),
        ("seed", "batch_size"),
        ("rate_pilot",),
    ),
    Stage(
        "adding_rates",
        "ADD100, r = 0.995, at the learning rates and couplings of Fig. B.2",
        trained(
            partial(adds, 100, epochs=40),
            USUAL,
            SEEDS,
            varied=[
                {"learning_rate": rate, "coupling": coupling} for rate, coupling in product((0.1, 0.01), (0.01, 0.001))
            ],
        ),
        ("seed", "learning_rate", "coupling"),
    ),
    Stage(
        "heterogeneity_edge_pilot",
        "learning rates on sMNIST by heterogeneity near the edge of chaos",
        over_rates(long_pilot, NEAR_THE_EDGE, FEWER_IMAGE_RATES),
        ("delta_r", "learning_rate"),
    ),
    Stage(
        "heterogeneity_edge",
        "sMNIST against the heterogeneity of the residual near the edge of chaos",
        trained(partial(long_image, "smnist"), NEAR_THE_EDGE, MORE_SEEDS, pilot="heterogeneity_edge_pilot"),
        ("seed", "delta_r"),
        ("heterogeneity_edge_pilot",),
    ),
    Stage(
        "form_informed_pilot",
        "learning rates on sMNIST of informed networks of types A and B",
        over_rates(long_pilot, INFORMED_FORMS, FEWER_IMAGE_RATES),
        ("form", "learning_rate"),
    ),
    Stage(
        "form_informed",
        "sMNIST with informed networks of types A and B",
        trained(partial(long_image, "smnist"), INFORMED_FORMS, SEEDS, pilot="form_informed_pilot"),
        ("form", "seed"),
        ("form_informed_pilot",),
    ),
    Stage(
        "table2_pilot",
        "learning rates on sMNIST of the networks of Table 2",
        over_rates(rate_pilot, NETWORKS_OF_TABLE_2, FEWER_IMAGE_RATES),
        ("model", "form", "nonlinearity", "learning_rate"),
        by="run",
    ),
    Stage(
        "table2",
        "the networks of Table 2 on sMNIST, each at its own learning rate",
        trained(partial(image, "smnist", epochs=1), NETWORKS_OF_TABLE_2, SEEDS, pilot="table2_pilot"),
        ("model", "form", "nonlinearity", "seed"),
        ("table2_pilot",),
        by="run",
    ),
    Stage(
        "psmnist_scalar",
        "homogeneous networks without rotation on psMNIST, for ten epochs",
        trained(partial(image, "psmnist", epochs=10, learning_rate=COMMON_RATE), each("r", (0.995, 1.0)), SEEDS),
        ("seed", "r"),
    ),
    Stage(
        "psmnist_half_angle",
        "homogeneous rotations by half of the characteristic frequency on psMNIST, for ten epochs",
        trained(partial(image, "psmnist", epochs=10, learning_rate=COMMON_RATE), [rotation(0.5)], SEEDS),
        ("seed",),
    ),
    Stage(
        "lstm_pilot",
        "learning rates of the LSTM of Table 2 on sMNIST, by ten epochs",
        over_rates(partial(rate_pilot, epochs=10), [network_fields("lstm")], LSTM_RATES),
        ("learning_rate",),
    ),
    Stage(
        "lstm",
        "the LSTM of Table 2 on sMNIST for twenty epochs, at its own learning rate",
        trained(partial(image, "smnist", epochs=20), [network_fields("lstm")], SEEDS, pilot="lstm_pilot"),
        ("seed",),
        ("lstm_pilot",),
    ),
    Stage(
        "adding_long",
        "informed heterogeneous networks beside homogeneous ones on ADD100, for 40,000 iterations",
        lambda rates: [each for seed in SEEDS for each in table_1_networks(100, rates, epochs=40, seed=seed)],
        ("seed", "residual"),
        ("add100_pilot",),
    ),
    Stage(
        "informed_add200",
        "informed heterogeneous networks beside homogeneous ones on ADD200, for 60,000 iterations",
        lambda rates: [each for seed in SEEDS for each in table_1_networks(200, rates, epochs=60, seed=seed)],
        ("seed", "residual"),
        ("add100_pilot",),
    ),
)
