"""Each claim on records and analyses that were made up: as the paper says, the other way round, and incomplete."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from campaign_records import write_analysis, write_stage
from figures.campaign.stages import STAGES
from figures.evidence import Evidence
from figures.experiments.initial_dynamics import STRENGTHS
from figures.paper import CHARACTERISTIC_FREQUENCY, STRENGTH_CLASSES
from figures.report.claim import NOT_TOLD_APART, judge
from figures.report.heterogeneity import better_gradients, iterations_beside, richer_curvature
from figures.report.page import CLAIMS, report
from lyapkit import gradient_propagation, save
from lyapkit.results import provenance
from wcrnn_models import TrainConfig
from wcrnn_models.tasks.measures import cross_entropy
from wcrnn_models.training.build import build_model
from wcrnn_models.training.networks import network_fields

BY_TITLE = {claim.title: claim for claim in CLAIMS}
ADDING = "adding"


def quality(config):
    """How good a network is, between 0 and 1, if the paper is right."""
    if config.task == ADDING:
        good = 0.9 - 9 * abs(config.r - 0.995)
    else:
        good = 0.9 - 6 * abs(config.r - (1.0025 if config.form != "A" else 0.995))
    if config.residual == "rotation" and isinstance(config.phi, float):
        multiple = config.phi / CHARACTERISTIC_FREQUENCY
        peak = 0.1 * (1 - 4 * abs(multiple - round(multiple)))
        good = 0.7 + peak * {"linear": 1, "A": 0.5, "B": 2}[config.form] * (config.task == "smnist")
    if config.residual == "heterogeneous":
        good = 0.5 + 2 * min(config.delta_r, 0.08) * (config.r < 0.98)
    good -= 0.3 * (config.coupling in (1e-4,)) + 0.2 * (config.nonlinearity == "identity" or config.model != "wcrnn")
    good -= 0.05 * (config.form == "B" and config.residual == "informed")
    return good


def as_the_paper_says(config, direction=1):
    """Return the course of a training, or with direction -1 that of a network as good as the paper's is bad."""
    good = quality(config) * direction + (1.3 if direction < 0 else 0.0) + 0.001 * config.seed
    if config.validation_size is not None:  # a trial of learning rates, of which one that is neither end is best
        good += 0.001 * (config.learning_rate in (0.02, 0.03, 0.3))
    unstable = (config.r > 1 and config.gradient_clip is None and config.residual == "scalar") or config.coupling == 0.3
    unstable |= config.residual == "heterogeneous" and config.delta_r > 0.08
    unstable |= config.task == ADDING and config.learning_rate == 0.1
    losses = (2.0, 50.0 if unstable == (direction > 0) else 2.5, 1.0)
    reached = 1 + max(
        0, int(3000 - 2500 * good + 2000 * (config.coupling == 0.001) + 3000 * (config.learning_rate == 0.01))
    )
    if config.task == ADDING:
        error = float(np.exp(-6 * good))
        metrics = (0.4, error, error * (3.0 if unstable else 1.1))
        return {"metrics": metrics, "metric_name": config.loss, "reached": reached, "losses": losses, "every": 5000}
    accuracy = min(good, 0.99)
    metrics = (0.1, accuracy, accuracy - (0.2 if unstable else 0.01))
    weights = {"recurrent.weight": (1.0, 20.0, 19.5)} if direction > 0 else {"recurrent.weight": (1.0, 1.1, 0.2)}
    return {"metrics": metrics, "reached": reached, "losses": losses, "weights": weights, "every": 5000}


def analyses(config, direction=1):
    strength, ends = config.r + (config.delta_r or 0.0) / 2, [0, 100]
    spread = np.array([0.003, 0.0, -0.003]) + 1e-6 * config.seed
    trained = spread * (1 if direction > 0 else 3) + (0.0 if direction > 0 else 0.002)
    exponents = np.log(strength) + np.array([spread, trained])[:, None]
    change = 2.0 if (config.r < 1) == (direction > 0) else 0.5
    sizes = np.exp(500 * (strength - 1)) * np.logspace(0, -4, 20) * (1 + 0.01 * config.seed)
    coords = {"checkpoint": ends}
    leading = np.full((2, 2), np.log(strength) + 0.003 + 1e-6 * config.seed)
    rate = leading[:, None] * direction + np.zeros((2, 2, 2))
    curvature = xr.Dataset({"eigenvalue": (("checkpoint", "rank"), [sizes, change * sizes])}, coords)
    return {
        "lyapunov_spectrum": xr.Dataset(
            {"lyapunov_exponent": (("checkpoint", "trajectory", "exponent"), exponents)}, coords
        ),
        "gradient_propagation": xr.Dataset(
            {
                "growth_rate": (("checkpoint", "norm", "trajectory"), rate),
                "leading_exponent": (("checkpoint", "trajectory"), leading),
            },
            {**coords, "norm": ["inf", "2"]},
        ),
        "hessian_recurrent": curvature,
        "ggn_recurrent": curvature,
        "residual_recurrent": curvature * xr.DataArray([1.0, 0.1 if direction > 0 else 10.0], dims="checkpoint"),
    }


def write_untrained(folder, direction):
    """Write the measurements of untrained networks; with direction -1, all that the paper says of them is wrong."""
    r, few, seed = xr.DataArray(list(STRENGTHS), dims="r"), xr.DataArray(list(STRENGTH_CLASSES), dims="r"), np.arange(4)
    by_seed = xr.DataArray(1 + 0.01 * seed, dims="seed")
    off = 0.0 if direction > 0 else 0.02
    exponents = {
        "mean": np.log(r) + 1e-6 * by_seed + off,
        "smallest": np.log(r) - 0.003 * by_seed + off,
        "largest": np.log(r) + 0.003 * by_seed + off,
        "lower_bound": np.log(r) - 0.01 * by_seed,
        "upper_bound": np.log(r) + 0.01 * by_seed,
    }
    leading = np.log(few) + 0.003 * by_seed
    size = np.exp(500 * direction * (few - 1)) * by_seed**2
    children = {
        "exponents": xr.Dataset(exponents).expand_dims(task=["smnist", "psmnist", "add100"]).assign_coords(r=r),
        "gradients": xr.Dataset({"rate": direction * leading, "leading_exponent": leading}).assign_coords(r=few),
        "curvature": xr.Dataset({"largest": size, "median": 0.1 * size}).assign_coords(r=few),
    }
    origin = provenance({}, dtype=torch.float64, device=torch.device("cpu"))
    tree = xr.DataTree.from_dict({name: each.assign_attrs(origin) for name, each in children.items()})
    tree.attrs = {"experiment": "initial_dynamics", "seeds": len(seed), "commit": "0123456789"}
    save(tree, folder / "initial_dynamics.nc")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Records that say what the paper says, and the opposite."""
    made = {}
    for name, direction in (("paper", 1), ("opposite", -1)):
        folder = made[name] = tmp_path_factory.mktemp(name)
        write_untrained(folder, direction)
        for stage in STAGES:
            write_stage(folder, stage.name, lambda config, way=direction: as_the_paper_says(config, way))
            write_analysis(
                folder,
                stage.name,
                lambda config, stage=stage, way=direction: {
                    each.name: found
                    for each in stage.analyses(config)
                    if (found := analyses(config, way).get(each.name)) is not None
                },
            )
    return made


@pytest.fixture(scope="module")
def evidence(folders):
    return {name: Evidence(folder, folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nothing")
    return Evidence(folder, folder)


EXPECTED = {
    "The Hessian converges to its Gauss-Newton part": ("reproduced", "not reproduced"),
    "Gradients decay or grow exponentially, at the rate of the leading exponent": ("reproduced", "not reproduced"),
    "The mean Lyapunov exponent is log r before training": ("reproduced", "not reproduced"),
    "Every Lyapunov exponent is as near to log r as weak coupling forces it to be": ("reproduced", "not reproduced"),
    "The mean Lyapunov exponent stays log r over training": ("reproduced", "not reproduced"),
    "The Hessian grows with r": ("reproduced", "not reproduced"),
    "The Hessian rises over training in subcritical networks": ("reproduced", "not reproduced"),
    "The Hessian falls over training in critical and supercritical networks": ("reproduced", "not reproduced"),
    "Weights change by an order of magnitude": ("reproduced", "not reproduced"),
    "Subcritical networks learn faster the nearer they are to the edge of chaos": ("reproduced", "not reproduced"),
    "Supercritical networks are better on MNIST": ("reproduced", "not reproduced"),
    "Supercritical networks learn faster": ("reproduced", "open"),
    "Subcritical networks are better on the adding problem": ("reproduced", "reproduced"),
    "Clipping stabilises supercritical networks, whose gradients are informative": ("reproduced", None),
    "A smaller learning rate makes learning more stable and slower": ("reproduced", None),
    "A smaller coupling makes learning more stable and slower": ("partly", None),
    "gamma from 0.001 to 0.1 works": ("reproduced", None),
    "A smaller gamma performs worse": ("reproduced", "not reproduced"),
    "A larger gamma is unstable": ("reproduced", "open"),
    "Results do not depend on the number of units": ("reproduced", "reproduced"),
    "Results do not depend on the batch size": ("reproduced", "reproduced"),
    "sMNIST: best performance at the characteristic frequency and its harmonics": ("reproduced", "not reproduced"),
    "sMNIST: fastest learning at the characteristic frequency and its harmonics": ("reproduced", "not reproduced"),
    "psMNIST: no strong effect of the angular frequency": ("reproduced", None),
    "Random orthogonal residuals perform like rotations by random angles": ("reproduced", None),
    "Moderate heterogeneity improves performance": ("reproduced", "not reproduced"),
    "Moderate heterogeneity makes learning faster": ("reproduced", "not reproduced"),
    "Strong heterogeneity destabilises learning": ("reproduced", "not reproduced"),
    "Heterogeneity lengthens memory": ("reproduced", None),
    "Heterogeneity improves gradient propagation": ("reproduced", "not reproduced"),
    "Heterogeneity makes the Hessian richer": ("reproduced", None),
    "Heterogeneity brings little near the edge of chaos": ("reproduced", None),
    "Types A and B perform best near r = 1": ("reproduced", None),
    "Types A and B learn fastest near r = 1": ("reproduced", None),
    "Type A is best subcritical": ("reproduced", "reproduced"),
    "Type B is best supercritical": ("reproduced", "not reproduced"),
    "Types A and B peak at the characteristic frequency": ("reproduced", "not reproduced"),
    "Type B is more sensitive to the angle": ("reproduced", None),
    "The informed WCRNN is better than Elman networks": ("reproduced", "not reproduced"),
    "The tanh of the WCRNN matters": ("reproduced", "not reproduced"),
    "The informed WCRNN is better than an LSTM of its size on sMNIST": ("reproduced", "not reproduced"),
    "Weakly coupled initialisation is better than identity residuals with clipping": ("reproduced", "not reproduced"),
}


@pytest.fixture(scope="module")
def judged(evidence, nothing):
    return {
        name: {claim.title: judge(claim, found) for claim in CLAIMS}
        for name, found in {**evidence, "nothing": nothing}.items()
    }


@pytest.mark.parametrize("title", EXPECTED)
def test_claims_hold_where_the_numbers_say_so_and_fail_where_they_do_not(title, judged):
    for expected, name in zip(EXPECTED[title], ("paper", "opposite"), strict=True):
        if expected is not None:
            found = judged[name][title]
            assert found.verdict == expected, "\n".join(map(str, found.checks))


@pytest.mark.parametrize("title", BY_TITLE)
def test_every_claim_is_open_where_nothing_is_recorded(title, judged):
    found = judged["nothing"][title]
    assert found.verdict == "open"
    assert found.checks
    assert all(check.reason for check in found.checks)


@pytest.mark.parametrize("title", BY_TITLE)
def test_what_is_decided_rests_on_three_instances_with_an_interval(title, judged):
    for check in (*judged["paper"][title].checks, *judged["opposite"][title].checks):
        assert (check.holds is None) == bool(check.reason)
        if check.holds is not None:
            assert check.instances >= 3
            assert " to " in check.interval


def test_there_are_at_least_forty_claims_of_different_names():
    assert len(BY_TITLE) == len(CLAIMS) >= 40
    known = {stage.name for stage in STAGES}
    assert all(stage in known for claim in CLAIMS for stage in claim.stages)


def test_two_instances_leave_a_claim_open(tmp_path):
    write_stage(tmp_path, "form_pilot", as_the_paper_says)
    write_stage(tmp_path, "form_strength", lambda config: as_the_paper_says(config) if config.seed < 2 else None)
    found = Evidence(tmp_path, tmp_path)
    assert judge(BY_TITLE["Type B is best supercritical"], found).verdict == "open"
    left = found.left("form_strength")
    assert (left.trainings, left.of) == (12, 36)
    assert left.hours == pytest.approx(12 * 7 * 469 * 0.1 / 3600)
    assert left.instance_hours == pytest.approx(left.hours)


@pytest.mark.parametrize("instances", [1, 2])
def test_claims_on_networks_of_which_few_are_analysed_stay_open(tmp_path, instances):
    """Analyses arrive one by one; those of one residual strength come before others have any."""
    few = []
    for stage in STAGES:
        write_stage(tmp_path, stage.name, as_the_paper_says)

        def first_ones(config, stage=stage, few=few):
            if not stage.analyses(config) or few.count(stage.name) == instances:
                return {}
            few.append(stage.name)
            return {
                each.name: found
                for each in stage.analyses(config)
                if (found := analyses(config).get(each.name)) is not None
            }

        write_analysis(tmp_path, stage.name, first_ones)
    found = Evidence(tmp_path, tmp_path)
    for claim in CLAIMS:
        judgement = judge(claim, found)
        if {stage for stage in claim.stages if any(each == stage for each in few)} and "Hessian" in claim.title:
            assert judgement.verdict == "open", claim.title
    assert few.count("gauss_newton") == instances


def test_the_page_has_a_section_for_every_claim_and_counts_the_verdicts(evidence, judged):
    page = report(evidence["paper"])
    summary = page.partition("## How verdicts")[0]
    verdicts = [judged["paper"][claim.title].verdict for claim in CLAIMS]
    counted = ", ".join(f"{verdicts.count(name)} {name}" for name in ("reproduced", "partly", "not reproduced", "open"))
    assert f"{len(CLAIMS)} claims: {counted}." in " ".join(summary.split())
    for claim, verdict in zip(CLAIMS, verdicts, strict=True):
        section = page.partition(f"### {claim.title}\n")[2].partition("\n### ")[0]
        assert claim.quotation in section
        assert f"**{verdict}**. Reproduced means: {claim.rule}." in section
        assert f"[{claim.title}](#" in summary
        failing = "*fails*" in section
        assert ("\nWhy: " in section) == (failing and verdict != "open")
        assert ("\nWhat would settle it: " in section) == ("*open*" in section)


def test_samples_without_a_gradient_have_no_rate():
    widths, seeds = [0.0, 0.04], range(3)
    rate = np.add.outer(np.array([-0.05, -0.03]), 1e-4 * np.arange(3))[:, :, None, None, None] * np.ones(
        (1, 1, 1, 1, 2)
    )
    rate[1, 2, 0, 0, 0] = -np.inf
    dims = ("delta_r", "seed", "checkpoint", "norm", "trajectory")
    coords = {"delta_r": widths, "seed": seeds, "norm": ["inf"]}
    found = xr.Dataset({"growth_rate": (dims, rate)}, coords)
    (check,) = better_gradients(SimpleNamespace(analysis=lambda stage, name: found))
    assert check.holds
    assert check.measured.startswith("rises by +0.02 nats per step")


@pytest.mark.parametrize(("vanished", "verdict"), [(5, True), (0, None)])
def test_homogeneous_networks_with_all_computed_eigenvalues_above_the_limit_decide_nothing(vanished, verdict):
    """More may be above the limit than were computed; for the other side, their number is a lower bound."""
    values = np.ones((2, 3, 1, 20))
    values[0, :, 0, 20 - vanished :] = 1e-3
    dims = ("delta_r", "seed", "checkpoint", "rank")
    found = xr.Dataset({"eigenvalue": (dims, values)}, {"delta_r": [0.0, 0.04], "seed": range(3)})
    (check,) = richer_curvature(SimpleNamespace(analysis=lambda stage, name: found))
    assert check.holds is verdict
    assert (check.reason == "all computed eigenvalues of homogeneous networks are above the limit") == (vanished == 0)
    assert f"{20 - vanished} and 20 of the 20 computed" in check.measured


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gradients_of_the_lstm_vanish_as_the_page_says(seed):
    """Over 120 blank pixels: 0.42 to 0.46 nats a step, a factor of 1e-22 or less."""
    network = build_model(TrainConfig(task="smnist", seed=seed, **network_fields("lstm"))).double()
    blank, labels = torch.zeros(240, 10, 1, dtype=torch.float64), torch.arange(10)
    found = gradient_propagation(network, blank, labels, cross_entropy)
    assert -0.465 < float(found.growth_rate.min()) <= float(found.growth_rate.max()) < -0.415
    norms = found.log_gradient_norm.sel(norm="2")
    shrunk = (norms.sel(step=120) - norms.sel(step=240)) / np.log(10)
    assert -25 < float(shrunk.min()) <= float(shrunk.max()) < -22
    claim = BY_TITLE["The informed WCRNN is better than an LSTM of its size on sMNIST"]
    assert "0.42 to 0.46 nats a step" in claim.beyond


@pytest.mark.parametrize(("every", "holds", "interval"), [(0, True, "0.5 to 0.5"), (50, None, "0.25 to 1")])
def test_iterations_beside_the_papers_are_known_up_to_the_distance_of_two_evaluations(every, holds, interval):
    """100 of the paper's 200; evaluated every 50, they may be 50, and 0.25 is more than a factor of 3 away."""
    values = {
        "iterations_to_minimal_performance": ("seed", [100.0] * 3),
        "reached_minimal_performance": ("seed", [1.0] * 3),
        "status": ("seed", ["finished"] * 3),
    }
    config = f'{{"evaluate_every": {every}}}' if every else "{}"
    check = iterations_beside("a", xr.Dataset(values, attrs={"config_json": config}), 200)
    assert (check.holds, check.interval) == (holds, interval)
    assert check.reason == ("" if holds else NOT_TOLD_APART)


def test_what_settles_a_comparison_at_the_end_of_a_grid_is_a_wider_one(tmp_path):
    """Supercritical networks are worse here, at the lowest rate: the pilots prefer it."""

    def best_at_the_lowest(config):
        good = 0.6 - 0.2 * (config.r > 1) - 0.01 * np.log10(config.learning_rate / 2e-5) + 0.001 * config.seed
        return {"metrics": (0.1, good, good)}

    for stage in ("rate_pilot", "psmnist_pilot", "smnist_strength", "psmnist_strength"):
        write_stage(tmp_path, stage, best_at_the_lowest)
    text = report(Evidence(tmp_path, tmp_path))
    section = text.split("### Supercritical networks are better on MNIST\n")[1].split("\n### ")[0]
    assert (
        section.count("*open*, it fails, but the best learning rate that was tried is the lowest or the highest") == 2
    )
    (settling,) = [line for line in section.splitlines() if line.startswith("What would settle it: ")]
    assert settling.endswith("; a wider grid of learning rates.")  # after the analyses that are not there
