import matplotlib.pyplot as plt
import numpy as np
import pytest

from artists import drawn
from figures.experiments.rotations import LEARNING, LEARNING_LONG, ROTATIONS
from figures.fig4 import SCRIPT
from figures.protocols import PROTOCOLS
from figures.style import TASK_COLORS
from training_results import footnote, named, ranged, result, training

CHARACTERISTIC = 2 * np.pi / 28
PHI = [0.0, CHARACTERISTIC, 3 * CHARACTERISTIC]
TASKS = {"psmnist": "psMNIST", "smnist": "sMNIST"}


def data(tasks):
    sweep = training({"task": tasks, "seed": [0, 1], "phi": PHI}, (0, 469))
    sweep.reached_minimal_performance.loc[{"task": tasks[-1], "seed": 1, "phi": 0.0}] = 0
    return {"rotations": result("rotations", {"training": sweep})}


def test_both_tasks_are_drawn_against_the_angle():
    trees = data(list(TASKS))
    figure = SCRIPT.draw(trees)
    sweep = trees["rotations"]["training"].to_dataset()
    for ax, variable in zip(figure.axes, ("best_metric", "iterations_to_minimal_performance"), strict=True):
        ranges = [ranged(each) for each in ax.collections]
        for task, label in TASKS.items():
            values = sweep[variable].sel(task=task).values
            line, first = named(ax, label), int(task == "smnist" and ax is figure.axes[1])  # the first is censored
            assert drawn(line) == (PHI[first:], pytest.approx(values.mean(0)[first:].tolist()))
            assert line.get_color() == TASK_COLORS[task]
            assert dict(zip(PHI, zip(values.min(0), values.max(0), strict=True), strict=True)) in ranges
        positions = [line.get_xdata()[0] for line in ax.lines if line.get_color() == "#009E73"]
        assert positions == pytest.approx([CHARACTERISTIC, 2 * CHARACTERISTIC, 3 * CHARACTERISTIC])
    (not_reached,) = [line for line in figure.axes[1].lines if line.get_marker() == "^"]
    assert not_reached.get_markerfacecolor() == "none"
    (other,) = [line for line in figure.axes[1].lines if line.get_marker() == "."]  # the seed that did reach it
    reached = sweep.iterations_to_minimal_performance.sel(task="smnist", seed=0, phi=0.0)
    assert drawn(other) == ([0.0], [float(reached)])
    assert drawn(not_reached)[0] == [0.0]
    assert not_reached.get_color() == TASK_COLORS["smnist"]
    assert "469 iterations" in footnote(figure)
    assert "not measured" not in footnote(figure)
    assert "A, B: mean and range over seeds; open triangles: MP not reached" in footnote(figure)
    solid, dashed = figure.axes[0].get_legend().get_lines()
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    dash, gap = dashed._dash_pattern[1]
    marker = dashed.get_markersize()
    length = dashed.get_xdata()[-1] - dashed.get_xdata()[0]
    assert (length - marker) / 2 > dash + gap  # seen beside the marker
    plt.close(figure)


def test_a_task_that_was_not_measured_is_left_out():
    figure = SCRIPT.draw(data(["smnist"]))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["sMNIST"]
    assert "not measured: psMNIST" in footnote(figure)
    plt.close(figure)


@pytest.mark.parametrize(("name", "epochs", "seeds"), [("quick", 1, 1), ("cpu", 1, 2), ("paper", 50, 5)])
def test_the_sweep_is_a_full_grid(name, epochs, seeds):
    protocol = PROTOCOLS[name]
    configs = LEARNING.configs(protocol)
    grid = {
        (task, seed, multiple * CHARACTERISTIC)
        for task in ("smnist", "psmnist")
        for seed in range(seeds)
        for multiple in protocol.angles
    }
    assert {(each.task, each.seed, each.phi) for each in configs} == grid
    assert len(configs) == len(grid)
    assert {(each.residual, each.r, each.epochs) for each in configs} == {("rotation", 1.0, epochs)}
    assert LEARNING.dimensions == ("task", "seed", "phi")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_gradients_are_those_of_untrained_networks_on_smnist(name):
    protocol = PROTOCOLS[name]
    configs = LEARNING.analysed(protocol)
    assert [(each.task, each.seed) for each in configs] == [("smnist", 0)] * len(protocol.angles)
    assert set(configs) <= set(LEARNING.configs(protocol))
    assert LEARNING.checkpoints == "first"
    assert LEARNING.options(protocol)["include"] == ("gradient_propagation",)


def test_the_paper_alone_trains_longer():
    assert list(ROTATIONS.parts(PROTOCOLS["quick"])) == list(ROTATIONS.parts(PROTOCOLS["cpu"])) == [""]
    assert ROTATIONS.parts(PROTOCOLS["paper"]) == {"": LEARNING, "long": LEARNING_LONG}
    configs = LEARNING_LONG.configs(PROTOCOLS["paper"])
    assert {(each.task, each.epochs) for each in configs} == {("smnist", 200)}
    assert len(configs) == 5 * 21
