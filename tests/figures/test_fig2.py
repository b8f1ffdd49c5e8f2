"""Fig. 2: what is drawn of synthetic results; `test_shipped` compares all four panels with the measured ones."""

import json

import numpy as np
import pytest
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
    figure = draw(trees)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [drawn(cross) for cross in crosses] == [
        ([0.0], [float(usual.test_metric[0, 3, 0])]),
        ([5.0], [float(slow.test_metric[0, 0, 2, 1])]),
    ]
    assert [cross.get_color() for cross in crosses] == [strength_color(r) for r in (1.01, 1.0025)]
    assert "A, crosses: diverged" in footnote(figure)


@pytest.mark.parametrize(
    ("seeds", "slow_seeds", "spread"), [(1, 1, ""), (2, 1, "A, solid"), (1, 2, "A, dotted"), (2, 2, "A")]
)
def test_the_caption_says_which_lines_are_means(draw, seeds, slow_seeds, spread):
    text = footnote(draw(data(seeds, slow_seeds)))
    assert ("mean and range over seeds" in text) == bool(spread)
    assert not spread or f" {spread}: mean and range over seeds" in text


def test_nothing_is_said_of_crosses_where_there_are_none(draw):
    figure = draw(data(2))
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert "diverged" not in footnote(figure)
