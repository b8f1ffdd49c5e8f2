from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from analysis_results import gradient_propagation, hessian_spectrum, variational_term

from artists import drawn
from figures.experiments import EXPERIMENTS
from figures.experiments.heterogeneity import HETEROGENEITY
from figures.fig5 import EXPONENTS, SCRIPT, colors, name
from figures.protocols import PROTOCOLS
from training_results import filled, footnote, named, result, training
from wcrnn_models.training.config import TrainConfig

WIDTHS = [0.0, 0.04, 0.08, 0.12]
TINY = TrainConfig(
    length=6,
    hidden_size=4,
    batch_size=2,
    epochs=1,
    iterations_per_epoch=3,
    test_size=9,
    residual="heterogeneous",
    r=0.96,
    delta_r=0.0,
)
LABELS = ["0, homogeneous", "0.04, moderate", "0.08, up to the edge of chaos", "0.12, strong"]


def data(widths=WIDTHS):
    untrained = {"seed": [0], "r": [0.96], "delta_r": widths, "checkpoint": [0]}
    children = {
        "training": training({"seed": [0, 1], "r": [0.96], "delta_r": widths}),
        "variational_term": variational_term(untrained),
        "gradient_propagation": gradient_propagation(untrained),
        "hessian_spectrum": hessian_spectrum(untrained),
    }
    return {"heterogeneity": result("heterogeneity", children)}


@pytest.fixture
def made():
    trees = data()
    figure = SCRIPT.draw(trees)
    yield trees["heterogeneity"], figure, figure.axes
    plt.close(figure)


def test_accuracy_is_drawn_as_mean_and_range(made):
    tree, _, (learning, *_) = made
    metric = tree["training"].to_dataset().test_metric.isel(r=0)
    for index, (label, color) in enumerate(zip(LABELS, colors(4), strict=True)):
        line, values = named(learning, label), metric.values[:, index]
        assert drawn(line) == ([0, 5, 10], pytest.approx(values.mean(0).tolist()))
        assert line.get_color() == color
        range_ = filled(learning.collections[index])
        assert range_ == {
            x: pytest.approx((low, high)) for x, low, high in zip((0, 5, 10), values.min(0), values.max(0), strict=True)
        }
    assert (learning.get_xlabel(), learning.get_ylabel()) == ("training iteration", "test accuracy")


def test_fifteen_exponents_of_every_width_and_its_interval_are_drawn(made):
    tree, figure, (*_, first, second, third, fourth) = made
    term = tree["variational_term"].running_exponent.isel(seed=0, r=0, checkpoint=0, trajectory=0)
    ranks = np.linspace(0, 29, EXPONENTS).round().astype(int)
    columns = (first, second, third, fourth)
    for delta_r, color, ax in zip(WIDTHS, colors(4), columns, strict=True):
        running, bounds, edge = ax.lines[:EXPONENTS], ax.lines[EXPONENTS:-1], ax.lines[-1]
        assert {line.get_color() for line in running} == {color}
        assert list(edge.get_ydata()) == [0.0, 0.0]
        assert ax.get_title(loc="right") == rf"$\delta r={delta_r:g}$"
        assert ax.get_ylim() == first.get_ylim()
        assert [drawn(line)[1] for line in running] == term.sel(delta_r=delta_r).values[:, ranks].T.tolist()
        expected = [np.log(0.96 - delta_r / 2), np.log(0.96 + delta_r / 2)]
        assert [line.get_ydata()[0] for line in bounds] == pytest.approx(expected if delta_r else expected[:1])
        assert {line.get_linestyle() for line in bounds} == {"--"}
    assert [[text.get_text() for text in ax.texts] for ax in columns] == [[], [], [], ["edge of\nchaos"]]
    assert first.get_title(loc="left") == "B"
    assert "B: log of the singular values of the variational term over t" in footnote(figure)


def test_eigenvalues_and_gradients_of_the_untrained_networks_are_drawn(made):
    tree, _, (_, curvature, gradients, *_) = made
    eigenvalue = tree["hessian_spectrum"].eigenvalue.isel(seed=0, r=0, checkpoint=0)
    norms = tree["gradient_propagation"].gradient_norm.sel(norm="inf").isel(seed=0, r=0, checkpoint=0)
    for delta_r, color in zip(WIDTHS, colors(4), strict=True):
        ranks = next(line for line in curvature.lines if line.get_color() == color)
        assert drawn(ranks) == ([1, 2, 3, 4, 5], abs(eigenvalue.sel(delta_r=delta_r)).values.tolist())
        lines = [line for line in gradients.lines if line.get_color() == color]
        assert [drawn(line)[1] for line in lines] == norms.sel(delta_r=delta_r).values.tolist()
    assert (curvature.get_yscale(), gradients.get_yscale()) == ("log", "log")


def test_the_legend_names_widths_and_the_centre(made):
    _, figure, _ = made
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == LABELS
    assert "r_0 = 0.96" in legend.get_title().get_text()


def test_diverged_runs_are_crossed_and_named():
    trees = data()
    sweep = trees["heterogeneity"]["training"]
    sweep.status[1, 0, 3] = "diverged"
    sweep.test_metric[1, 0, 3, 1:] = np.nan
    figure = SCRIPT.draw(trees)
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert drawn(cross) == ([0.0], [float(sweep.test_metric[1, 0, 3, 0])])
    assert cross.get_color() == colors(4)[3]
    assert "crosses: diverged" in footnote(figure)
    plt.close(figure)


def test_nothing_is_said_of_crosses_where_there_are_none(made):
    _, figure, _ = made
    assert "diverged" not in footnote(figure)
    assert "first seed" in footnote(figure)


def test_any_number_of_widths_is_drawn():
    figure = SCRIPT.draw(data([0.0, 0.01, 0.02, 0.03, 0.05, 0.1]))
    assert len(figure.legends[0].get_texts()) == 6
    assert len(set(colors(6))) == 6
    plt.close(figure)


@pytest.mark.parametrize(
    ("delta_r", "r", "label"),
    [(0.0, 0.9, "0, homogeneous"), (0.2, 0.9, "0.2, up to the edge of chaos"), (0.1, 1.04, "0.1, strong")],
)
def test_widths_are_named_by_how_far_they_reach(delta_r, r, label):
    assert name(delta_r, r) == label


# -- experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_experiment_is_a_full_grid_of_heterogeneous_residuals(protocol):
    configs = HETEROGENEITY.configs(protocol)
    seeds = {"quick": 1, "cpu": 2, "paper": 5}[protocol.name]
    grid = [(each.seed, each.delta_r) for each in configs]
    assert grid == [(seed, width) for seed in range(seeds) for width in (0.0, 0.04, 0.06, 0.08, 0.12)]
    assert {(each.task, each.residual, each.r, each.coupling) for each in configs} == {
        ("smnist", "heterogeneous", 0.96, 0.01)
    }
    analysed = HETEROGENEITY.analysed(protocol)
    assert [each for each in configs if each.seed == protocol.seeds[0]] == analysed
    options = HETEROGENEITY.options(protocol)
    assert (options["samples"], options["hessian_k"]) == (protocol.hessian_samples, protocol.hessian_k)
    assert (options["trajectories"], options["record_every"]) == (1, 14)
    assert HETEROGENEITY.checkpoints == "first"
    assert {each.epochs for each in configs} == {{"quick": 1, "cpu": 2, "paper": 200}[protocol.name]}


@pytest.mark.slow
def test_untrained_networks_are_measured_and_drawn(tmp_path):
    """The experiment with tiny networks on the adding problem in place of MNIST."""

    def trained(protocol):
        return [replace(TINY, delta_r=width, seed=seed) for seed in (0, 1) for width in (0.0, 0.1)]

    experiment = replace(
        HETEROGENEITY,
        configs=trained,
        analysed=lambda protocol: trained(protocol)[:2],
        options=lambda protocol: {**HETEROGENEITY.options(protocol), "samples": 4, "hessian_k": 2, "record_every": 2},
    )
    tree = experiment.measure(PROTOCOLS["quick"], tmp_path, workers=1, progress=False)
    assert dict(tree["training"].sizes) == {"r": 1, "seed": 2, "delta_r": 2, "iteration": 2}
    term = tree["variational_term"]
    assert dict(term.sizes) == {
        "seed": 1,
        "r": 1,
        "delta_r": 2,
        "checkpoint": 1,
        "trajectory": 1,
        "step": 3,
        "exponent": 4,
    }
    assert term.checkpoint.values.tolist() == [0]
    figure = SCRIPT.draw({"heterogeneity": tree})
    homogeneous = [line for line in figure.axes[3].lines if line.get_color() == colors(2)[0]]
    expected = term.running_exponent.sel(delta_r=0.0).squeeze().values[:, 0]
    assert drawn(homogeneous[0]) == ([2, 4, 6], expected.tolist())
    plt.close(figure)


def test_the_experiment_is_registered():
    assert EXPERIMENTS["heterogeneity"] is HETEROGENEITY
