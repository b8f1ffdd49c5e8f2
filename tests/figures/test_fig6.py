import matplotlib.pyplot as plt
import numpy as np
import pytest

from artists import drawn
from figures.experiments.nonlinear_residuals import NONLINEAR_RESIDUALS
from figures.fig6 import COLORS, LABELS, SCRIPT
from figures.protocols import PROTOCOLS, STRENGTH_CLASSES
from training_results import filled, footnote, named, result, training

CHARACTERISTIC = 2 * np.pi / 28
R = [0.95, 1.0]
LINEAR_PHI = [0.0, CHARACTERISTIC, 2 * CHARACTERISTIC]
PHI = [CHARACTERISTIC, 2 * CHARACTERISTIC]
LONG = [0, 50, 100, 150, 200, 250]
SHORT = [0, 50, 100, 120]
"""The last iteration of the short trainings is none at which the long ones are evaluated."""


def data(strength=LONG, angle=SHORT):
    forms = {"form": ["A", "B"], "seed": [0]}
    return {
        "nonlinear_residuals": result(
            "nonlinear_residuals",
            {
                "training_strength": training({**forms, "r": R}, SHORT, rng=1),
                "training_angle": training({**forms, "phi": PHI}, SHORT, rng=2),
            },
            seeds=1,
        ),
        "residual_strength": result(
            "residual_strength", {"training": training({"seed": [0, 1], "r": R}, strength, rng=3)}
        ),
        "rotations": result(
            "rotations",
            {"training": training({"task": ["psmnist", "smnist"], "seed": [0, 1], "phi": LINEAR_PHI}, angle, rng=4)},
        ),
    }


@pytest.fixture
def made():
    trees = data()
    figure = SCRIPT.draw(trees)
    yield trees, figure, figure.axes
    plt.close(figure)


def test_trainings_of_different_length_are_compared_up_to_a_common_iteration(made):
    trees, figure, (ax, _) = made
    linear = trees["residual_strength"]["training"].test_metric.values[..., :3].max(-1)  # iterations 0, 50, 100
    assert drawn(named(ax, LABELS["linear"])) == (R, pytest.approx(linear.mean(0).tolist()))
    ((low, high),) = [(linear.min(0).tolist(), linear.max(0).tolist())]
    assert filled(ax.collections[0]) == {0.95: (low[0], high[0]), 1.0: (low[1], high[1])}
    metric = trees["nonlinear_residuals"]["training_strength"].test_metric
    for form in ("A", "B"):
        line = named(ax, LABELS[form])
        best = metric.sel(form=form).values[0, :, :3].max(-1)
        assert drawn(line) == (R, pytest.approx(best.tolist()))
        assert line.get_color() == COLORS[form]
    assert "A: first 100 iterations, as the longer trainings have up to 250" in footnote(figure)


def test_trainings_of_equal_length_are_compared_to_their_end(made):
    trees, figure, (_, ax) = made
    linear = trees["rotations"]["training"].sel(task="smnist").test_metric.values.max(-1)
    assert drawn(named(ax, LABELS["linear"])) == (LINEAR_PHI, pytest.approx(linear.mean(0).tolist()))
    for form in ("A", "B"):
        best = trees["nonlinear_residuals"]["training_angle"].sel(form=form).test_metric.values[0].max(-1)
        assert drawn(named(ax, LABELS[form])) == (PHI, pytest.approx(best.tolist()))
    assert "B: 120 iterations;" in footnote(figure)
    positions = [line.get_xdata()[0] for line in ax.lines if line.get_color() == "#009E73"]
    assert positions == pytest.approx(PHI)


def test_numbers_after_a_run_has_diverged_do_not_count():
    trees = data()
    metric = trees["nonlinear_residuals"]["training_strength"].test_metric
    metric.loc[{"form": "B", "r": 1.0}] = [0.1, 0.3, np.nan, np.nan]
    figure = SCRIPT.draw(trees)
    assert drawn(named(figure.axes[0], LABELS["B"]))[1][1] == pytest.approx(0.3)
    plt.close(figure)


def test_panel_a_alone_is_against_log_r_on_request():
    figure = SCRIPT.draw(data(), "log-r")
    strength, angle = figure.axes
    assert drawn(named(strength, LABELS["A"]))[0] == pytest.approx(np.log(R).tolist())
    assert strength.get_xlabel() == r"$\log r$ (nats per step)"
    assert drawn(named(angle, LABELS["A"]))[0] == PHI
    plt.close(figure)


def test_lines_can_be_told_apart_without_their_colours():
    figure = SCRIPT.draw(data())
    looks = {(line.get_marker(), line.get_linestyle()) for line in figure.axes[0].get_legend().get_lines()}
    assert looks == {("o", "-"), ("s", "-"), ("D", "--")}
    plt.close(figure)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_sweeps_are_full_grids(name):
    protocol = PROTOCOLS[name]
    parts = NONLINEAR_RESIDUALS.parts(protocol)
    assert list(parts) == ["strength", "angle"]
    seeds = [0, 1, 2, 3, 4] if name == "paper" else [0]
    angles = (0.5, 1.0, 1.5, 2.0) if name == "cpu" else protocol.angles
    strength, angle = (parts[part].configs(protocol) for part in ("strength", "angle"))
    strengths = sorted({*protocol.strengths, *STRENGTH_CLASSES})
    expected = [(form, seed, r) for form in "AB" for seed in seeds for r in strengths]
    assert sorted((each.form, each.seed, each.r) for each in strength) == expected
    expected = [(form, seed, multiple * CHARACTERISTIC) for form in "AB" for seed in seeds for multiple in angles]
    assert sorted((each.form, each.seed, each.phi) for each in angle) == expected
    assert {(each.task, each.residual) for each in strength} == {("smnist", "scalar")}
    assert {(each.task, each.residual, each.r) for each in angle} == {("smnist", "rotation", 1.0)}


@pytest.mark.parametrize(("name", "epochs"), [("quick", (1, 1)), ("cpu", (1, 1)), ("paper", (200, 50))])
def test_epochs_are_those_of_the_linear_networks(name, epochs):
    parts = NONLINEAR_RESIDUALS.parts(PROTOCOLS[name]).values()
    assert tuple(part.configs(PROTOCOLS[name])[0].epochs for part in parts) == epochs
