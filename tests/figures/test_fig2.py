"""Fig. 2: what is drawn of synthetic results; `test_shipped` compares all four panels with the measured ones."""

import json

import numpy as np
import pytest
import xarray as xr
from analysis_results import gradient_propagation, hessian_spectrum, variational_term

from artists import drawn
from figures.protocols import STRENGTH_CLASSES
from figures.style import strength_color
from training_results import footnote, result, training


def data(seeds, slow_seeds=1):
    untrained = {"seed": [0], "r": list(STRENGTH_CLASSES), "checkpoint": [0]}
    usual = training({"seed": list(range(seeds)), "r": list(STRENGTH_CLASSES)}, rng=1)
    slow = training({"seed": list(range(slow_seeds)), "learning_rate": [0.002], "r": list(STRENGTH_CLASSES)}, rng=2)
    children = {
        "training": usual.assign_attrs(config_json=json.dumps({"learning_rate": 0.02})),
        "variational_term": variational_term(untrained),
        "gradient_propagation": gradient_propagation(untrained),
        "hessian_spectrum": hessian_spectrum(untrained),
    }
    slow = slow.assign_attrs(config_json=json.dumps({"learning_rate": 0.002}))
    return {
        "residual_strength": result("residual_strength", children, seeds),
        "smaller_learning_rate": result("smaller_learning_rate", {"training": slow}, slow_seeds),
    }


@pytest.mark.parametrize("seeds", [1, 2])
def test_diverged_runs_of_both_learning_rates_are_crossed(draw, seeds):
    trees = data(seeds)
    usual, slow = trees["residual_strength"]["training"], trees["smaller_learning_rate"]["training"]
    usual.status[0, 3], slow.status[0, 0, 2] = "diverged", "diverged"
    usual.test_metric[0, 3, 1:] = np.nan
    slow.test_metric[0, 0, 2, 2:] = np.nan
    usual.best_metric[0, 3], slow.best_metric[0, 0, 2] = 0.5, 0.5
    figure = draw(trees)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [drawn(cross) for cross in crosses] == [
        ([5.0], [float(slow.test_metric[0, 0, 2, 1])]),
        ([0.0], [float(usual.test_metric[0, 3, 0])]),
    ]
    assert [cross.get_color() for cross in crosses] == [strength_color(r) for r in (1.0025, 1.01)]
    assert "A, crosses: diverged" in footnote(figure)


@pytest.mark.parametrize(
    ("seeds", "slow_seeds", "spread"), [(1, 1, ""), (2, 1, "A, solid"), (1, 2, "A, dashed"), (2, 2, "A")]
)
def test_the_caption_says_which_lines_are_means(draw, seeds, slow_seeds, spread):
    text = footnote(draw(data(seeds, slow_seeds)))
    assert ("mean and range over seeds" in text) == bool(spread)
    assert not spread or f" {spread}: mean and range over seeds" in text


def test_nothing_is_said_of_crosses_where_there_are_none(draw):
    figure = draw(data(2))
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert "diverged" not in footnote(figure)


def columns(figure):
    return figure.axes[3:]


def test_the_edge_of_chaos_itself_is_shown_where_it_was_measured(draw):
    trees = data(2)
    assert [ax.get_title(loc="right") for ax in columns(draw(trees))] == [f"$r={r:g}$" for r in STRENGTH_CLASSES]
    grid = {"seed": [0], "r": [0.95, 0.995, 1.0, 1.0025, 1.01], "checkpoint": [0]}
    for name, made in (
        ("variational_term", variational_term(grid)),
        ("gradient_propagation", gradient_propagation(grid)),
        ("hessian_spectrum", hessian_spectrum(grid)),
        ("training", training({"seed": [0, 1], "r": grid["r"]}).assign_attrs(config_json='{"learning_rate": 0.02}')),
    ):
        trees["residual_strength"][name] = xr.DataTree(made)
    figure = draw(trees)
    assert [ax.get_title(loc="right") for ax in columns(figure)] == [f"$r={r:g}$" for r in grid["r"]]
    assert figure.legends[0].get_texts()[2].get_text() == "$r=1$"
    edge = [line for line in figure.axes[0].lines if line.get_color() == strength_color(1.0)]
    expected = trees["residual_strength"]["training"].test_metric.sel(r=1.0).mean("seed").values.tolist()
    assert [drawn(line) for line in edge] == [([0, 5, 10], pytest.approx(expected))]


@pytest.mark.parametrize("kept", [False, True])
def test_exponents_over_time_are_those_of_algorithm_1_where_they_were_kept(draw, kept):
    trees = data(1)
    term = trees["residual_strength"]["variational_term"].to_dataset()
    spectrum = term.assign(running_exponent=term.running_exponent + 1).assign_attrs(analysis="lyapunov_spectrum")
    trees["residual_strength"]["lyapunov_spectrum"] = xr.DataTree(
        spectrum if kept else spectrum.drop_vars("running_exponent")
    )
    figure = draw(trees)
    shown = drawn(columns(figure)[0].lines[0])[1]
    expected = term.running_exponent.isel(seed=0, r=0, checkpoint=0, trajectory=0, exponent=0).values + kept
    assert shown == expected.tolist()
    said = (
        "running exponents of Algorithm 1" if kept else "log of the singular values of the variational term over t, not"
    )
    assert f"B: {said}" in footnote(figure)


def test_lines_of_lost_networks_are_dotted_and_pale_and_the_axis_ends_at_one(draw):
    trees = data(2)
    usual = trees["residual_strength"]["training"]
    usual.test_metric[:, 0, -1] = 0.2  # as good as chance
    usual.train_loss[:, 2, -1] = 1001.0
    usual.test_metric[0, 1, -1] = 0.1  # of one instance of two
    figure = draw(trees)
    learning = figure.axes[0]
    lost = {line.get_color() for line in learning.lines if line.get_gid() == "at chance"}
    assert lost == {strength_color(0.95), strength_color(1.0025)}
    assert "ended at chance: 1 of 2 at eta = 0.02, r = 0.995" in footnote(figure)
    assert learning.get_ylim() == (0, 1)
    names = [text.get_text() for text in learning.get_legend().get_texts()]
    assert names == [r"$\eta=0.02$", r"$\eta=0.002$", r"ended at chance, any $\eta$"]
    assert [line.get_linestyle() for line in figure.legends[0].get_lines()] == ["-"] * 4
