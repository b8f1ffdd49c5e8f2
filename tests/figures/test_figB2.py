from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from artists import drawn
from figures.experiments import EXPERIMENTS
from figures.experiments.learning_rates import LEARNING_RATES
from figures.figB2 import SCRIPT
from figures.marks import BEST_CONSTANT
from figures.protocols import PROTOCOLS, STRENGTH_CLASSES
from figures.style import strength_color, strength_label
from training_results import footnote, named, result, training
from wcrnn_models.tasks import AddingProblem

PANELS = [(0.1, 0.01), (0.1, 0.001), (0.01, 0.01), (0.01, 0.001)]
GRID = {"seed": [0], "learning_rate": [0.01, 0.1], "coupling": [0.001, 0.01], "r": list(STRENGTH_CLASSES)}


@pytest.fixture
def tree():
    return result("learning_rates", {"training": training(GRID, (0, 250, 500), metric="rms")}, seeds=1)


@pytest.fixture
def draw():
    figures = []

    def drawn_from(tree):
        figures.append(SCRIPT.draw({"learning_rates": tree}))
        return figures[-1]

    yield drawn_from
    for figure in figures:
        plt.close(figure)


def test_every_panel_has_its_learning_rate_and_coupling(tree, draw):
    figure = draw(tree)
    assert len(figure.axes) == 4
    for letter, ax, (rate, coupling) in zip("ABCD", figure.axes, PANELS, strict=True):
        assert ax.get_title(loc="left") == letter
        assert ax.get_title(loc="center") == rf"$\eta = {rate:g},\ \gamma = {coupling:g}$"
        for r in STRENGTH_CLASSES:
            line = named(ax, strength_label(r))
            metric = tree["training"].test_metric.sel(learning_rate=rate, coupling=coupling, r=r, seed=0)
            assert drawn(line) == ([250, 500], metric.values[1:].tolist())  # untrained networks are not shown
            assert line.get_color() == strength_color(r)
        assert [BEST_CONSTANT] * 2 in [list(line.get_ydata()) for line in ax.lines]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [[], ["best\nconstant\nanswer"]] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(map(strength_label, STRENGTH_CLASSES))
    assert [bool(ax.get_ylabel()) for ax in figure.axes] == [True, False] * 2
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == [False, False, True, True]
    assert footnote(figure).endswith("ADD100; from iteration 250 on")


def test_the_axis_is_logarithmic_and_holds_a_decade_of_trained_networks(tree, draw):
    metric = tree["training"].test_metric
    metric[:] = [50.0, 0.4, 0.2]
    axes = draw(tree).axes
    assert {ax.get_yscale() for ax in axes} == {"log"}
    low, high = axes[0].get_ylim()
    assert (high / low, low * high) == (pytest.approx(10), pytest.approx(0.4 * 0.2))


def test_diverged_runs_end_in_a_cross(tree, draw):
    sweep = tree["training"]
    sweep.status.loc[{"learning_rate": 0.1, "coupling": 0.01, "r": 1.01}] = "diverged"
    sweep.test_metric.loc[{"learning_rate": 0.1, "coupling": 0.01, "r": 1.01, "iteration": 500}] = np.nan
    figure = draw(tree)
    crosses = [[line for line in ax.lines if line.get_marker() == "x"] for ax in figure.axes]
    assert [len(each) for each in crosses] == [1, 0, 0, 0]
    last = float(sweep.test_metric.sel(learning_rate=0.1, coupling=0.01, r=1.01, iteration=250, seed=0))
    assert drawn(crosses[0][0]) == ([250.0], [last])
    assert crosses[0][0].get_color() == strength_color(1.01)
    assert "crosses: diverged" in footnote(figure)


def test_the_best_constant_answer_is_that_of_the_task():
    """The targets' mean is the constant of the least RMS, and their standard deviation is that RMS."""
    task = AddingProblem(100, test_size=100_000)
    targets = np.concatenate([batch.double().numpy() for _, batch in task.test_batches()])
    assert pytest.approx(np.sqrt(1 / 6), rel=1e-15) == BEST_CONSTANT
    assert np.sqrt(((targets - targets.mean()) ** 2).mean()) == pytest.approx(BEST_CONSTANT, rel=0.01)
    assert targets.mean() == pytest.approx(1.0, abs=0.01)


# -- experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_experiment_is_a_full_grid_of_one_instance(protocol):
    configs = LEARNING_RATES.configs(protocol)
    assert [(each.learning_rate, each.coupling, each.r) for each in configs] == [
        (rate, coupling, r) for rate, coupling in PANELS for r in STRENGTH_CLASSES
    ]
    assert {(each.task, each.length, each.seed, each.residual) for each in configs} == {("adding", 100, 0, "scalar")}
    if protocol.name == "paper":
        assert {each.epochs for each in configs} == {150}
    assert LEARNING_RATES.analysed is None


@pytest.mark.slow
def test_the_experiment_is_measured(tmp_path):
    """Two iterations of tiny networks; also that the figure can be drawn from it."""
    tiny = {"epochs": 1, "iterations_per_epoch": 2, "test_size": 8, "batch_size": 2, "hidden_size": 4}
    protocol = replace(PROTOCOLS["quick"], adding=tiny)
    tree = LEARNING_RATES.measure(protocol, tmp_path, workers=1, progress=False)
    assert dict(tree["training"].sizes) == {"seed": 1, "learning_rate": 2, "coupling": 2, "r": 4, "iteration": 2}
    figure = SCRIPT.draw({"learning_rates": tree})
    line = named(figure.axes[3], strength_label(0.95))
    measured = tree["training"].test_metric.sel(seed=0, learning_rate=0.01, coupling=0.001, r=0.95)
    assert drawn(line) == ([2], measured.values[1:].tolist())
    plt.close(figure)


def test_the_experiment_is_registered():
    assert EXPERIMENTS["learning_rates"] is LEARNING_RATES
