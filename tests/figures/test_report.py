"""Verdicts of the report follow from the numbers: each claim with results in which it holds, and in which it fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from figures import paper
from figures.experiments import EXPERIMENTS
from figures.protocols import CHARACTERISTIC_FREQUENCY, PROTOCOLS
from figures.report import __main__ as command
from figures.report import compare, dynamics, samples
from figures.report.claim import RULES, Check, Claim, judge
from figures.report.page import CLAIMS, learning_rates, report, seeds
from figures.report.readings import READINGS
from figures.report.remaining import remaining, training_iterations, training_seconds
from figures.scripts import DATA, read
from lyapkit import save
from lyapkit.results import provenance
from wcrnn_models import WCRNN, residuals
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.training.networks import NETWORKS
from wcrnn_models.training.presets import preset

R = [0.95, 0.995, 1.0025, 1.01]
MORE_R = [0.95, 0.98, 0.995, 1.0025, 1.01]
PHI = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5]) * CHARACTERISTIC_FREQUENCY
WIDTHS = [0.0, 0.04, 0.08, 0.12]


def training(coordinates, best, iterations=500.0, reached=1.0, setback=0.0, metric="accuracy", status="finished"):
    """Trainings of two instances with these values, which may depend on ``coordinates``."""
    coordinates = {"seed": [0, 1], **coordinates}
    dims, shape = tuple(coordinates), tuple(map(len, coordinates.values()))
    best, setback, iterations, reached = (
        np.broadcast_to(values, shape).astype(float) for values in (best, setback, iterations, reached)
    )
    sign = 1 if metric == "accuracy" else -1
    curve = np.stack([best - 0.05 * sign, best, best - sign * setback], axis=-1)
    return xr.Dataset(
        {
            "best_metric": (dims, best),
            "iterations_to_minimal_performance": (dims, iterations),
            "reached_minimal_performance": (dims, reached),
            "status": (dims, np.broadcast_to(status, shape)),
            "test_metric": ((*dims, "iteration"), curve),
        },
        {**coordinates, "iteration": [0, 500, 1000]},
        {"metric_name": metric, "config_json": '{"learning_rate": 0.02}'},
    )


def tree(name, protocol="paper", **children):
    made = xr.DataTree.from_dict(children)
    made.attrs = {"experiment": name, "protocol": protocol, "seeds": 2, "commit": "0123456789"}
    return made


def exponents(before, after, r=R):
    """Two exponents on both sides of log r, by the given distances."""
    values = np.log(r)[:, None, None] + np.array([before, after])[:, None] * np.array([1, -1])
    return xr.Dataset(
        {
            "running_exponent": (
                ("seed", "r", "checkpoint", "trajectory", "step", "exponent"),
                values[None, :, :, None, None],
            )
        },
        {"seed": [0], "r": r, "checkpoint": [0, 900], "step": [784], "exponent": [1, 2]},
    )


def with_exponents(before, after, accuracy=0.8, rms=0.1):
    images = {"variational_term": exponents(before, after), "training": training({"r": R}, accuracy)}
    adding = training({"r": R}, rms, metric="rms")
    return {
        "residual_strength": tree("residual_strength", **images),
        "psmnist_strength": tree("psmnist_strength", **images),
        "adding_strength": tree("adding_strength", variational_term_100=exponents(before, after), training_100=adding),
    }


def with_curvature(before, after, accuracy=0.8):
    """Hessian eigenvalues of magnitudes ``before`` and ``after`` by r, and half of them."""
    values = np.array([before, after], dtype=float).T[None, :, :, None] * np.array([-1, 0.5])
    curvature = xr.Dataset(
        {"eigenvalue": (("seed", "r", "checkpoint", "rank"), values)},
        {"seed": [0], "r": R, "checkpoint": [0, 900], "rank": [1, 2]},
    )
    trained = training({"r": R}, accuracy)
    return {"residual_strength": tree("residual_strength", hessian_spectrum=curvature, training=trained)}


def with_slopes(rates):
    dims = ("seed", "norm", "trajectory", "r", "checkpoint")
    values = np.array(rates)[None, None, None, :, None]
    names = ("growth_rate", "growth_rate_error", "leading_exponent", "leading_exponent_error")
    gradients = xr.Dataset(
        dict.fromkeys(names, (dims, values)), {"seed": [0], "norm": ["inf"], "r": R, "checkpoint": [0]}
    )
    return {"residual_strength": tree("residual_strength", gradient_propagation=gradients)}


def strengths(images, adding=((0.3, 0.1, 0.2, 0.3),) * 2, r=R, **values):
    """Scalar residuals: best accuracies by r, and best RMS by r for two lengths."""
    one, other = (training({"r": r}, rms, metric="rms", **values) for rms in adding)
    return {
        "residual_strength": tree("residual_strength", training=training({"r": r}, images, **values)),
        "psmnist_strength": tree("psmnist_strength", training=training({"r": r}, images, **values)),
        "smaller_learning_rate": tree(
            "smaller_learning_rate", training=training({"learning_rate": [0.002], "r": r}, images, **values)
        ),
        "adding_strength": tree("adding_strength", training_100=one, training_400=other),
    }


def rates(setback, iterations, rms=0.1):
    """Fig. B.2: values at (0.1, 0.01), (0.1, 0.001), (0.01, 0.01) and (0.01, 0.001)."""
    coordinates = {"learning_rate": [0.1, 0.01], "coupling": [0.01, 0.001], "r": R}
    values = (np.reshape(each, (1, 2, 2, 1)) for each in (setback, iterations))
    names = ("setback", "iterations")
    dataset = training(coordinates, rms, metric="rms", **dict(zip(names, values, strict=True)))
    return {"learning_rates": tree("learning_rates", training=dataset)}


def rotations(smnist, psmnist=(0.8,) * 6, iterations=500.0):
    accuracies = np.array([smnist, psmnist])[:, None].repeat(2, 1).swapaxes(0, 1)
    dataset = training({"task": ["smnist", "psmnist"], "phi": PHI}, accuracies, iterations)
    return {"rotations": tree("rotations", training=dataset)}


def orthonormal(one, other):
    networks = {"network": ["random orthogonal", "rotations, random angles"]}
    return {"orthonormal": tree("orthonormal", training_smnist=training(networks, [one, other]))}


def heterogeneity(best=0.8, iterations=500.0, setback=0.0, status="finished", measured=(1.0, 2.0, 3.0, 4.0)):
    sweep = training({"r": [0.96], "delta_r": WIDTHS}, best, iterations, setback=setback, status=status)
    where = {"seed": [0], "r": [0.96], "delta_r": WIDTHS, "checkpoint": [0]}
    values = np.reshape(measured, (1, 1, 4, 1, 1, 1, 1))
    dims = (*where, "trajectory", "step", "exponent")
    return {
        "heterogeneity": tree(
            "heterogeneity",
            training=sweep,
            variational_term=xr.Dataset({"running_exponent": (dims, values)}, where),
            gradient_propagation=xr.Dataset(
                {"growth_rate": ((*where, "norm", "trajectory"), values[..., 0])}, {**where, "norm": ["inf"]}
            ),
            hessian_spectrum=xr.Dataset({"eigenvalue": ((*where, "rank"), values[..., 0, 0])}, where),
        )
    }


def forms(strength=(0.5,) * 4, other=None, angle=(0.5,) * 6, other_angle=None):
    """Types A and B; of B, ``other`` if given."""
    by_r = np.array([strength, strength if other is None else other])[None]
    by_phi = np.array([angle, angle if other_angle is None else other_angle])[None]
    return {
        "nonlinear_residuals": tree(
            "nonlinear_residuals",
            training_strength=training({"form": ["A", "B"], "r": R}, by_r),
            training_angle=training({"form": ["A", "B"], "phi": PHI}, by_phi),
        )
    }


def informed(values):
    children = {}
    for task in (*paper.IMAGE_TASKS[:2], *paper.ADDING_TASKS):
        best, iterations = values(task)
        metric = "rms" if task in paper.ADDING_TASKS else "accuracy"
        networks = {"network": ["homogeneous", "heterogeneous"]}
        children[f"training_{task}"] = training(networks, best, iterations, metric=metric)
    return {"informed": tree("informed", **children)}


def architectures(values):
    children = {}
    for task in paper.TASKS:
        metric = "rms" if task in paper.ADDING_TASKS else "accuracy"
        best = [values(task, name) for name in paper.TABLE_2]
        children[f"training_{task}"] = training({"network": list(paper.TABLE_2)}, best, metric=metric)
    return {"architectures": tree("architectures", **children)}


def published(task, name):
    value = paper.TABLE_2[name][task]
    return 0.41 if value in (None, paper.FAIL) else value


def beside(task, ratio, accuracy):
    """The homogeneous network at twice the paper's RMS or 90 %, the heterogeneous one by a ratio above or so."""
    theirs = paper.TABLE_1_BEST["homogeneous"][task]
    return [2 * theirs, 2 * ratio * theirs] if task in paper.ADDING_TASKS else [0.9, accuracy]


PEAKS = (0.6, 0.6, 0.9, 0.6, 0.8, 0.6)
TROUGHS = (0.9, 0.9, 0.6, 0.9, 0.7, 0.9)

RESULTS = {
    "Exponents are log r before training": (with_exponents(0.015, 9.0), with_exponents(0.025, 0.0)),
    "Exponents stay in the same range over training": (with_exponents(9.0, 0.015), with_exponents(0.0, 0.025)),
    "Hessian magnitudes grow with r": (
        with_curvature([1, 2, 3, 4], [1] * 4),
        with_curvature([4, 3, 2, 1], [1] * 4),
    ),
    "Hessian magnitudes rise over training in subcritical networks and fall in others": (
        with_curvature([1, 2, 3, 4], [2, 3, 2, 1]),
        with_curvature([1, 2, 3, 4], [0.5, 1, 4, 5]),
    ),
    "Gradients decrease or increase exponentially, with the rate log r": (
        with_slopes(np.log(R) + 0.005),
        with_slopes(-np.log(R) + np.array([0, 0.1, 0.05, -0.05])),
    ),
    "Subcritical networks learn faster the nearer they are to the edge of chaos": (
        strengths(0.8, ((0.1,) * 5,) * 2, MORE_R, iterations=np.array([900, 800, 700, 400, 400])),
        strengths(0.8, ((0.1,) * 5,) * 2, MORE_R, iterations=np.array([400, 500, 700, 700, 900])),
    ),
    "Networks near the edge of chaos perform best": (
        strengths((0.5, 0.8, 0.9, 0.5), iterations=np.array([900.0, 700, 400, 900])),
        strengths((0.9, 0.5, 0.5, 0.9), ((0.1, 0.3, 0.3, 0.1),) * 2, iterations=np.array([400.0, 700, 900, 400])),
    ),
    "Supercritical networks are better on MNIST, subcritical ones on the adding problem": (
        strengths((0.5, 0.8, 0.9, 0.5)),
        strengths((0.5, 0.9, 0.8, 0.5), ((0.3, 0.2, 0.1, 0.3),) * 2),
    ),
    "The best r is nearer to 1 for longer adding problems": (
        strengths(0.8, ((0.1, 0.2, 0.3, 0.3), (0.3, 0.1, 0.2, 0.3))),
        strengths(0.8, ((0.3, 0.1, 0.2, 0.3), (0.1, 0.2, 0.3, 0.3))),
    ),
    "Supercritical networks learn unstably": (
        strengths(0.8, setback=np.array([0.0, 0.1, 0.2, 0.3])),
        strengths(0.8, setback=np.array([0.0, 0.3, 0.2, 0.1])),
    ),
    "A smaller learning rate or coupling makes learning more stable and slower": (
        rates([0.3, 0.1, 0.1, 0.0], [100, 200, 200, 400]),
        rates([0.1, 0.2, 0.2, 0.2], [400, 200, 200, 100]),
    ),
    "sMNIST: best performance at the characteristic frequency and its harmonics": (
        rotations(PEAKS),
        rotations(TROUGHS),
    ),
    "sMNIST: fastest learning at the characteristic frequency and its harmonics": (
        rotations(PEAKS, iterations=1000 * (1 - np.array(PEAKS))),
        rotations(PEAKS, iterations=1000 * np.array(PEAKS)),
    ),
    "psMNIST: no strong effect of the angular frequency": (
        rotations(PEAKS, (0.80, 0.82, 0.85, 0.8, 0.8, 0.8)),
        rotations(PEAKS, (0.60, 0.82, 0.90, 0.8, 0.8, 0.8)),
    ),
    "Random orthogonal residuals perform like rotations by random angles": (
        orthonormal(0.81, 0.80),
        orthonormal(0.85, 0.80),
    ),
    "Moderate heterogeneity helps": (
        heterogeneity([0.7, 0.8, 0.5, 0.5], np.array([900.0, 700, 900, 900])),
        heterogeneity([0.8, 0.7, 0.9, 0.9], np.array([700.0, 900, 100, 100])),
    ),
    "Strong heterogeneity destabilises learning": (
        heterogeneity(setback=np.array([0.1, 0.1, 0.5, 0.2])),
        heterogeneity(setback=np.array([0.1, 0.3, 0.0, 0.2])),
    ),
    "Heterogeneity lengthens memory, improves gradients and enriches curvature": (
        heterogeneity(),
        heterogeneity(measured=(4.0, 3.0, 2.0, 1.0)),
    ),
    "Types A and B perform best near r = 1": (forms((0.5, 0.9, 0.8, 0.5)), forms((0.5, 0.6, 0.7, 0.9))),
    "Type A is best subcritical, type B supercritical": (
        forms((0.5, 0.9, 0.8, 0.5), (0.5, 0.8, 0.9, 0.5)),
        forms((0.5, 0.8, 0.9, 0.5), (0.5, 0.9, 0.8, 0.5)),
    ),
    "Types A and B peak at the characteristic frequency, type B more strongly": (
        forms(angle=PEAKS, other_angle=np.array(PEAKS) * 1.5 - 0.45),
        forms(angle=TROUGHS, other_angle=np.array(TROUGHS) * 0.5 + 0.3),
    ),
    "Informed heterogeneous networks are on par with homogeneous ones": (
        informed(lambda task: (beside(task, 2.9, 0.89), 500.0)),
        informed(lambda task: (beside(task, 3.1, 0.87), 500.0)),
    ),
    "The numbers of Table 1": (
        informed(
            lambda task: (
                [paper.TABLE_1_BEST[name][task] for name in ("homogeneous", "heterogeneous")],
                [paper.TABLE_1_ITERATIONS[name][task] * 2 for name in ("homogeneous", "heterogeneous")],
            )
        ),
        informed(lambda task: ([0.35, 0.36] if task in paper.ADDING_TASKS else [0.5, 0.5], 10.0)),
    ),
    "The informed WCRNN is better than Elman networks and than itself without tanh": (
        architectures(lambda task, name: (0.1, 0.9)[task in paper.IMAGE_TASKS] if name == "wcrnn-best" else 0.3),
        architectures(lambda task, name: (0.35, 0.2)[task in paper.IMAGE_TASKS] if name == "wcrnn-best" else 0.3),
    ),
    "The numbers of Table 2": (
        architectures(published),
        architectures(lambda task, name: 0.388 if task in paper.ADDING_TASKS and published(task, name) < 0.4 else 0.05),
    ),
}
"""By claim: results in which it holds, and in which it fails."""


def find(title):
    return next(claim for claim in CLAIMS if claim.title == title)


def test_every_claim_is_tested():
    assert set(RESULTS) == {claim.title for claim in CLAIMS}
    assert len(CLAIMS) == len(RESULTS)


@pytest.mark.parametrize("title", RESULTS)
def test_a_claim_that_holds_is_reproduced(title):
    judged = judge(find(title), RESULTS[title][0])
    assert [check for check in judged.checks if not check.holds] == []
    assert judged.verdict == "reproduced"


@pytest.mark.parametrize("title", RESULTS)
def test_a_claim_that_fails_is_not_reproduced(title):
    judged = judge(find(title), RESULTS[title][1])
    assert [check for check in judged.checks if check.holds] == []
    assert judged.verdict == "not reproduced"


@pytest.mark.parametrize("title", RESULTS)
def test_a_claim_without_results_is_not_run(title):
    assert judge(find(title), {}).verdict == "not run"


@pytest.mark.parametrize("title", [claim.title for claim in CLAIMS if claim.full])
def test_numbers_of_full_trainings_are_not_judged_by_shorter_ones(title):
    data = RESULTS[title][0]
    for each in data.values():
        each.attrs["protocol"] = "cpu"
    try:
        judged = judge(find(title), data)
    finally:
        for each in data.values():
            each.attrs["protocol"] = "paper"
    assert judged.verdict == "not run at full protocol"
    assert {check.holds for check in judged.checks} == {None}


@pytest.mark.parametrize(
    ("outcomes", "protocol", "verdict"),
    [
        ([True, True], "cpu", "reproduced"),
        ([False, False], "paper", "not reproduced"),
        ([False, None], "cpu", "not reproduced"),
        ([True, False], "cpu", "partly"),
        ([True, None], "paper", "partly"),
        ([None], "cpu", "not run at full protocol"),
        ([None, None], "paper", "not decided"),
    ],
)
def test_verdicts_follow_the_rules(outcomes, protocol, verdict):
    claim = Claim("t", "s", "q", "r", ("a",), lambda data: [Check("", outcome) for outcome in outcomes])
    assert judge(claim, {"a": tree("a", protocol)}).verdict == verdict
    assert f"*{verdict}*" in RULES


def test_a_missing_result_file_is_a_comparison_that_is_not_decided():
    claim = Claim("t", "s", "q", "r", ("a", "b"), lambda data: [Check("a", True)])
    judged = judge(claim, {"a": tree("a")})
    assert judged.checks[-1] == Check("`b` was not run", None)
    assert judged.verdict == "partly"


def test_networks_that_learnt_nothing_decide_nothing():
    chance = strengths((0.1, 0.12, 0.1, 0.15), ((0.41, 0.40, 0.41, 0.41),) * 2, reached=0.0, iterations=1000.0)
    for title in ("Networks near the edge of chaos perform best", "Supercritical networks learn unstably"):
        assert judge(find(title), chance).verdict == "not decided"
    assert judge(
        find("Subcritical networks learn faster the nearer they are to the edge of chaos"), chance
    ).verdict == ("not decided")


def test_strong_heterogeneity_that_never_left_chance_is_not_judged_by_its_setback():
    claim = find("Strong heterogeneity destabilises learning")
    at_chance = [0.8, 0.8, 0.8, 0.1]
    assert judge(claim, heterogeneity(best=at_chance, setback=np.array([0.1, 0.1, 0.1, 0.0]))).verdict == "not decided"


def test_setbacks_count_only_for_networks_that_learnt_or_diverged():
    claim = find("Supercritical networks learn unstably")
    setbacks = np.array([0.0, 0.1, 0.2, 0.3])
    chance = strengths((0.8, 0.8, 0.8, 0.117), ((0.1, 0.1, 0.1, 0.4),) * 2, setback=setbacks)
    judged = judge(claim, chance)
    assert judged.verdict == "not decided"
    assert judged.checks[0].measured == "sMNIST: largest setback none (learnt nothing) at r = 1.01, 0.100 at r = 0.995"
    beside_chance = strengths((0.8, 0.117, 0.8, 0.8), ((0.1, 0.4, 0.1, 0.1),) * 2, setback=setbacks)
    assert judge(claim, beside_chance).verdict == "not decided"
    status = np.array(["finished", "finished", "finished", "diverged"])
    diverged = strengths((0.8, 0.8, 0.8, 0.117), ((0.1, 0.1, 0.1, 0.4),) * 2, setback=setbacks, status=status)
    assert judge(claim, diverged).verdict == "reproduced"


def test_small_rates_are_compared_over_the_strengths_at_which_both_learnt():
    claim = find("A smaller learning rate or coupling makes learning more stable and slower")
    constant_answer = np.full((2, 2, 4), 0.1)
    constant_answer[1, 1] = 0.408  # eta = 0.01, gamma = 0.001 at every r
    constant_answer[0, 1, 0] = 0.408  # eta = 0.1, gamma = 0.001 at r = 0.95
    checks = judge(claim, rates([0.3, 0.1, 0.1, 0.0], [100, 200, 200, 400], constant_answer)).checks
    first = "at eta = 0.1, gamma = 0.01"
    assert checks[0] == Check(
        f"largest setback, mean over r = 0.995, 1.0025, 1.01: 0.300 {first}, 0.100 at eta = 0.1, gamma = 0.001", True
    )
    assert checks[2].measured.startswith("largest setback, mean over r = 0.95, 0.995, 1.0025, 1.01: ")
    assert checks[4] == Check(
        f"largest setback {first} and at eta = 0.01, gamma = 0.001: at every r, one of the two or both learnt nothing",
        None,
    )
    assert checks[5] == Check(
        f"all r: 100 iterations to MP {first}; 400 iterations to MP at eta = 0.01, gamma = 0.001", True
    )


def test_trained_networks_that_learnt_nothing_are_no_evidence_about_learning():
    stay = find("Exponents stay in the same range over training")
    judged = judge(stay, with_exponents(0.0, 0.015, (0.8, 0.117, 0.8, 0.8), (0.1, 0.4, 0.1, 0.1)))
    assert [check.holds for check in judged.checks] == [True, None, True, True] * 3
    assert judged.checks[1].measured.endswith("after 900 iterations; learnt nothing")
    assert judge(find("Exponents are log r before training"), with_exponents(0.0, 0.0, 0.1)).verdict == "reproduced"
    curved = find("Hessian magnitudes rise over training in subcritical networks and fall in others")
    judged = judge(curved, with_curvature([1, 2, 3, 4], [2, 3, 2, 1], (0.117, 0.8, 0.8, 0.8)))
    assert [check.holds for check in judged.checks] == [None, True, True, True]
    assert judged.checks[0].measured.endswith("over 900 iterations; learnt nothing")


def test_two_subcritical_strengths_are_no_trend():
    claim = find("Subcritical networks learn faster the nearer they are to the edge of chaos")
    judged = judge(claim, strengths(0.8, iterations=np.array([900.0, 700, 400, 400])))
    assert judged.verdict == "not decided"
    assert judged.checks[0].measured == "sMNIST: 900 iterations to MP (r = 0.95); 700 iterations to MP (r = 0.995)"


@pytest.mark.parametrize(
    "title",
    [
        "Informed heterogeneous networks are on par with homogeneous ones",
        "The numbers of Table 1",
        "The informed WCRNN is better than Elman networks and than itself without tanh",
        "The numbers of Table 2",
    ],
)
def test_a_task_that_was_not_run_is_not_decided(title):
    ((name, made),) = RESULTS[title][0].items()
    fewer = tree(name, **{child: node.to_dataset() for child, node in made.children.items() if "psmnist" not in child})
    judged = judge(find(title), {name: fewer})
    assert judged.checks[-1] == Check("psMNIST was not run", None)
    assert judged.verdict == "partly"


def test_homogeneous_networks_far_from_the_papers_are_not_compared():
    claim = find("Informed heterogeneous networks are on par with homogeneous ones")
    judged = judge(claim, informed(lambda task: ([0.1, 0.1] if task in paper.ADDING_TASKS else [0.54, 0.87], 500.0)))
    assert judged.verdict == "not decided"
    text = "psMNIST: heterogeneous 87.0 %, homogeneous 54.0 % (paper 92.66), too far from the paper's to be compared"
    assert judged.checks[1].measured == text


@pytest.mark.parametrize(("count", "holds"), [(100, None), (300, None), (700, False)])
def test_a_lower_bound_is_not_within_a_factor_of_the_papers_iterations(count, holds):
    data = informed(lambda task: ([0.4, 0.4], count))
    for child in data["informed"].children.values():
        child["reached_minimal_performance"] = 0 * child["reached_minimal_performance"]
    checks = judge(find("The numbers of Table 1"), data).checks
    assert checks[1] == Check(f"sMNIST, homogeneous: MP not within {count} iterations, paper 200", holds)


def test_the_range_over_angles_is_given_without_the_angle_of_zero_and_with_margins():
    claim = find("psMNIST: no strong effect of the angular frequency")
    data = rotations(PEAKS, (0.60, 0.75, 0.74, 0.7, 0.7, 0.7))  # 15.0 points are allowed, with a margin of 3.8
    (check,) = judge(claim, data).checks
    ranges = (
        "sMNIST 30.0 percentage points, 30.0 without phi_0 = 0; psMNIST 15.0 percentage points, 5.0 without phi_0 = 0"
    )
    assert check == Check(f"range of the best accuracy over phi_0: {ranges}", None)


def test_types_that_differ_by_less_than_two_standard_errors_are_not_told_apart():
    near, far = (
        forms((0.117, 0.198, 0.219, 0.190), (0.117, 0.202, 0.191, 0.179)),
        "Types A and B perform best near r = 1",
    )
    first, second = judge(find(far), near).checks
    assert first == Check("type A: best near 1 21.9 % (r = 1.0025), farther away 19.0 % (r = 1.01)", True)
    assert second == Check("type B: best near 1 20.2 % (r = 0.995), farther away 17.9 % (r = 1.01)", None)
    assert judge(find("Type A is best subcritical, type B supercritical"), near).verdict == "not decided"


def test_both_learning_rates_of_smnist_are_judged():
    data = RESULTS["Networks near the edge of chaos perform best"][0]
    slow = {"smaller_learning_rate": data["smaller_learning_rate"]}
    (sub, _, above, _, *missing) = judge(find("Networks near the edge of chaos perform best"), slow).checks
    best = "sMNIST at a learning rate of 0.002: best within |r - 1| <= 0.005 90.0 %"
    assert sub == Check(f"{best}, most strongly subcritical (r = 0.95) 50.0 %", True)
    assert above == Check(f"{best}, most strongly supercritical (r = 1.01) 50.0 %", True)
    assert [check.holds for check in missing] == [None] * 3


def test_untrained_networks_alone_decide_nothing_about_training():
    alone = {"residual_strength": tree("residual_strength", variational_term=exponents(0, 0).isel(checkpoint=[0]))}
    assert {check.holds for check in judge(find("Exponents stay in the same range over training"), alone).checks} == {
        None
    }
    curved = {
        "residual_strength": tree(
            "residual_strength",
            hessian_spectrum=with_curvature([1, 2, 3, 4], [1] * 4)["residual_strength"]["hessian_spectrum"]
            .to_dataset()
            .isel(checkpoint=[0]),
        )
    }
    title = "Hessian magnitudes rise over training in subcritical networks and fall in others"
    assert judge(find(title), curved).verdict == "not decided"


# -- comparisons --------------------------------------------------------------------------------------------------


def test_results_within_the_margins_are_not_told_apart():
    accuracy, rms = training({}, 0.5), training({}, 0.1, metric="rms")
    assert compare.better(accuracy, 0.54, 0.50) is True
    assert compare.better(accuracy, 0.50, 0.54) is False
    assert compare.better(accuracy, 0.53, 0.50) is None  # two standard errors are 0.032 on 2000 samples
    assert compare.better(accuracy, 0.219, 0.198) is None  # and here 0.026
    assert compare.better(accuracy, 0.225, 0.198) is True
    many = accuracy.assign_attrs(config_json='{"test_size": null}')
    assert compare.better(many, 0.53, 0.50) is True  # 0.014 on all 10,000
    assert compare.better(many, 0.51, 0.50) is None
    assert compare.better(many, 0.995, 0.986) is None  # 0.003, but the margin is never below 0.01
    assert compare.better(accuracy, 0.19, 0.10) is None  # neither learnt anything
    assert compare.better(rms, 0.10, 0.11) is True
    assert compare.better(rms, 0.11, 0.10) is False
    assert compare.better(rms, 0.100, 0.104) is None
    assert compare.better(rms, 0.39, 0.60) is None
    assert compare.below(100, 100) is None
    assert compare.below(0.0, 0.0) is None
    assert compare.below(0.1, math.inf) is True


def test_a_setback_is_the_largest_loss_after_the_best():
    metric = [
        [0.1, 0.6, 0.5, 0.7, 0.4, 0.65],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [0.1, 0.3, np.nan, np.nan, np.nan, np.nan],
    ]
    dataset = xr.Dataset(
        {"test_metric": (("seed", "iteration"), metric), "status": ("seed", ["finished", "finished", "diverged"])},
        attrs={"metric_name": "accuracy"},
    )
    np.testing.assert_allclose(compare.setback(dataset), [0.3, 0.0, np.inf], atol=1e-15)
    errors = dataset.assign(test_metric=1 - dataset.test_metric).assign_attrs(metric_name="rms")
    np.testing.assert_allclose(compare.setback(errors), [0.3, 0.0, np.inf], atol=1e-15)


def test_the_counted_setback_is_that_of_instances_that_learnt_or_diverged():
    dataset = training({"r": R}, [[0.8, 0.8, 0.1, 0.1], [0.8, 0.1, 0.1, 0.1]], setback=[[0.1], [0.3]]).assign(
        status=(("seed", "r"), [["finished"] * 4, ["finished"] * 3 + ["diverged"]])
    )
    np.testing.assert_allclose(compare.counted_setback(dataset), [0.3, 0.1, np.nan, np.inf], atol=1e-15)
    assert compare.smaller_setback(0.1, 0.3) is True
    assert compare.smaller_setback(np.inf, 0.3) is False
    assert compare.smaller_setback(0.30, 0.31) is None
    assert compare.smaller_setback(np.nan, 0.3) is None
    assert compare.smaller_setback(0.3, np.nan) is None
    written = [compare.written_setback(value) for value in (0.1, np.inf, np.nan)]
    assert written == ["0.100", "infinite", "none (learnt nothing)"]


def test_iterations_say_where_minimal_performance_was_not_reached():
    dataset = training({"r": R}, 0.8, iterations=[[100, 200, 938, 938], [300, 938, 938, 938]]).assign(
        reached_minimal_performance=(("seed", "r"), [[1.0, 1, 0, 0], [1, 0, 0, 0]])
    )
    assert [compare.written_iterations(dataset, r=r) for r in R[:3]] == [
        "200 iterations to MP",
        "mean at least 569 iterations to MP, reached by 1 of 2 instances",
        "MP not within 938 iterations",
    ]
    assert "MP, minimal performance, is a test accuracy of 50 % on sMNIST" in compare.MARGINS
    assert "RMS of 0.05 on the adding problem" in compare.MARGINS.replace("\n", " ")


def test_standard_errors_of_accuracies():
    assert np.isclose(
        samples.standard_error(2000, 0.2), np.random.default_rng(0).binomial(2000, 0.2, 10**6).std() / 2000, rtol=0.01
    )
    assert np.isclose(samples.standard_error(100, 0.5, 0.5), 0.1 * 0.5**0.5, rtol=1e-14)


def test_the_number_of_test_samples_is_that_of_the_results_or_assumed():
    image, rms = training({}, 0.5), training({}, 0.1, metric="rms")
    assert samples.recorded_test_samples(image) == samples.ASSUMED == 2000
    assert samples.recorded_test_samples(image.assign_attrs(config_json='{"test_size": 300}')) == 300
    assert samples.recorded_test_samples(image.assign_attrs(config_json='{"test_size": null}')) == 10_000
    assert samples.recorded_test_samples(rms.assign_attrs(config_json='{"test_size": null}')) == 2000


def test_the_test_sets_of_every_protocol_are_those_of_its_experiments():
    quick, cpu, full = samples.test_sets().splitlines()
    assert quick == "- `quick`: sMNIST 200, psMNIST 200, the adding problem 200."
    assert cpu.startswith("- `cpu`: sMNIST 2,000 (10,000 in `informed`), psMNIST 2,000 (10,000 in `informed`), ")
    assert full == "- `paper`: sMNIST 10,000, psMNIST 10,000, sCIFAR10 10,000, the adding problem 2,000."


def test_numbers_that_are_not_finite_neither_rise_nor_fall():
    assert compare.rising(np.array([1.0, 2.0, 4.0])) is True
    assert compare.rising(np.array([1.0, 2.0, 2.0])) is False
    assert compare.rising(np.array([1.0, np.nan, 3.0])) is None
    assert compare.rising(np.array([1.0, 2.0, np.inf])) is None


def test_metrics_are_written_with_their_units():
    assert compare.written(training({}, 0.5), 0.12345) == "12.3 %"
    assert compare.written(training({}, 0.5, metric="rms"), 0.12345) == "0.123"
    assert compare.written(training({}, 0.5, metric="rms"), 2e-5) == "2.0 · 10⁻⁵"


# -- what the page says of networks and rates ------------------------------------------------------------------------


def test_no_exponent_of_an_untrained_network_can_be_farther_from_log_r_than_is_allowed():
    for seed in range(3):
        cell = WCRNN(1, 100, 1, residual=residuals.scalar(0.95), coupling=dynamics.COUPLING, rng=seed)
        norm = float(torch.linalg.matrix_norm(cell.recurrent.weight.detach(), 2))
        assert 1.05 < norm < 1.25
        farthest = -math.log(1 - dynamics.COUPLING * norm / 0.95)
        assert 1.0 * dynamics.COUPLING < farthest < 1.35 * dynamics.COUPLING < dynamics.ALLOWED


@pytest.mark.skipif(not DATA.is_dir(), reason="no result files in this clone")
def test_supercritical_networks_learn_at_the_smaller_rate_only_as_the_readings_say():
    assert "r = 1.0025 learns at a tenth of it" in READINGS
    data = read(("residual_strength", "smaller_learning_rate"), DATA)
    usual, smaller = (data[name]["training"].to_dataset() for name in ("residual_strength", "smaller_learning_rate"))
    assert not compare.has_learnt(usual, compare.best(usual, r=1.0025))
    assert compare.has_learnt(smaller, compare.best(smaller.isel(learning_rate=0), r=1.0025))


# -- what remains -------------------------------------------------------------------------------------------------


def costs(tasks):
    """0.1 s for an iteration of the first task, 0.2 s for one of the second, and so on; LSTMs cost three times that."""
    names = ["scalar", *NETWORKS]
    factor = np.array([3.0 if name == "lstm" else 1.0 for name in names])
    seconds = 0.1 * (1 + np.arange(len(tasks)))
    children = {
        "tasks": xr.Dataset(
            {"seconds_per_iteration": ("task", seconds), "seconds_per_test_sample": ("task", seconds / 1000)},
            {"task": tasks},
        ),
        "networks": xr.Dataset(
            {"seconds_per_iteration": ("network", 5 * factor), "seconds_per_test_sample": ("network", 7 + 0 * factor)},
            {"network": names},
        ),
    }
    return tree("costs", **children)


def test_iterations_of_a_training():
    assert training_iterations(preset("smnist", learning_rate=0.1)) == 200 * 469
    assert training_iterations(preset("smnist", learning_rate=0.1, train_size=256, epochs=3)) == 6
    assert training_iterations(replace(preset("smnist", learning_rate=0.1, epochs=1), task="scifar10")) == 391
    assert training_iterations(preset("add100", learning_rate=0.1)) == 150 * 1000
    assert training_iterations(preset("add100", learning_rate=0.1, iterations_per_epoch=3000)) == 450_000


def test_the_cost_of_a_training_is_that_of_its_iterations_and_evaluations():
    measured = costs(["smnist", "add100"])
    config = preset("smnist", learning_rate=0.1, epochs=2)
    assert np.isclose(training_seconds(config, measured), 938 * 0.1 + 3 * 10_000 * 1e-4, rtol=1e-12)
    adding = preset("add100", learning_rate=0.1, epochs=1, model="lstm", evaluate_every=100)
    assert np.isclose(training_seconds(adding, measured), 1000 * 0.2 * 3 + 11 * 2000 * 2e-4, rtol=1e-12)
    assert training_seconds(preset("add200", learning_rate=0.1), measured) is None


def test_what_remains_is_counted_once_and_summed():
    text = remaining({"costs": costs(["smnist", "psmnist", "scifar10", *paper.ADDING_TASKS])})
    rows = {line.split("|")[1].strip(" `"): line.split("|") for line in text.splitlines()[2:]}
    names = [name for name in rows if name != "all"]
    assert sum(int(rows[name][3]) for name in names) == int(rows["all"][3])
    hours = [float(row[4].replace(",", "")) for row in rows.values()]
    assert abs(sum(hours[:-1]) - hours[-1]) <= len(names) / 2  # they are rounded
    trained = EXPERIMENTS["residual_strength"].trainings(PROTOCOLS["paper"])
    assert int(rows["residual_strength"][3]) == len({run_name(config) for config in trained}) == 75
    assert np.isclose(hours[names.index("residual_strength")], 75 * (93_800 * 0.1 + 201 * 1) / 3600, atol=0.5)
    assert "digit" not in rows  # its network is one of residual_strength


def test_costs_that_are_not_known_are_not_made_up():
    assert "75 trainings of unknown cost" in remaining({})
    text = remaining({"costs": costs(["smnist"])})
    assert "| `psmnist_strength` | none | 75 | 75 trainings of unknown cost |" in text


def test_nothing_remains_when_all_is_of_the_paper():
    assert remaining({name: tree(name) for name in EXPERIMENTS}).startswith("Nothing")


# -- the page -----------------------------------------------------------------------------------------------------


def test_the_page_without_results_says_that_nothing_was_run():
    text = report({})
    assert f"{len(CLAIMS)} claims: {len(CLAIMS)} not run." in text
    for claim in CLAIMS:
        assert f"| {claim.title} | {claim.source} | not run | none |" in text


def test_the_page_has_verdicts_numbers_rules_and_origins():
    data = RESULTS["Random orthogonal residuals perform like rotations by random angles"][0]
    text = report(data)
    assert f"{len(CLAIMS)} claims: {len(CLAIMS) - 1} not run, 1 reproduced." in text
    assert "- random orthogonal 81.0 %, rotations, random angles 80.0 %: *holds*" in text
    claim = find("Random orthogonal residuals perform like rotations by random angles")
    assert claim.quotation in text
    assert f"**reproduced**. Reproduced means: {claim.rule}." in text
    assert "`orthonormal`, protocol paper, seeds 0, 1, learning rate 0.02, commit 0123456789." in text


def test_the_page_says_which_seeds_or_how_many():
    one = training({"network": ["random orthogonal", "rotations, random angles"]}, [0.81, 0.80]).sel(seed=[1])
    assert "protocol paper, seed 1, learning" in report({"orthonormal": tree("orthonormal", training_smnist=one)})
    assert seeds(tree("x", training=one.drop_vars("seed"))) == "2 seeds"  # the attribute of the file


def test_learning_rates_are_found_wherever_they_are_kept():
    assert learning_rates(
        RESULTS["A smaller learning rate or coupling makes learning more stable and slower"][0]["learning_rates"]
    ) == [0.01, 0.1]
    shared = training({"r": R}, 0.5)
    assert learning_rates(tree("x", training=shared)) == [0.02]
    assert learning_rates(tree("x", training=shared.assign(learning_rate=("r", [0.3, 0.3, 0.4, 0.3])))) == [0.3, 0.4]
    assert learning_rates(tree("x", training=shared.assign_attrs(config_json="{}"))) == []


def test_the_command_writes_the_page_from_the_files_that_exist(tmp_path, capsys):
    made = RESULTS["Random orthogonal residuals perform like rotations by random angles"][0]["orthonormal"]
    origin = provenance({"learning_rate": 0.02}, dtype=torch.float32, device=torch.device("cpu"))
    kept = tree(
        "orthonormal",
        training_smnist=made["training_smnist"].to_dataset().assign_attrs(**origin, metric_name="accuracy"),
    )
    save(kept, tmp_path / "orthonormal.nc")
    page = tmp_path / "page.md"
    assert command.main(["--data", str(tmp_path), "--output", str(page)]) == command.SUCCESS
    assert capsys.readouterr().out == f"{page}\n"
    assert f"{len(CLAIMS) - 1} not run, 1 reproduced" in page.read_text()


@pytest.mark.skipif(not (DATA.is_dir() and command.PAGE.is_file()), reason="no result files or no report in this clone")
def test_the_shipped_page_is_that_of_the_shipped_results(tmp_path):
    page = tmp_path / "page.md"
    assert command.main(["--output", str(page)]) == command.SUCCESS
    assert page.read_text() == command.PAGE.read_text(), "run python -m figures.report"
