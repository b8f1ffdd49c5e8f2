import matplotlib.pyplot as plt
import numpy as np
import pytest

from artists import drawn
from figures.efficiency import (
    best_metric,
    characteristic_lines,
    counted,
    explain_limits,
    iterations_to_minimal_performance,
    legend_above,
)
from training_results import filled, ranged, training

R = [0.9, 0.95, 1.0]
CHARACTERISTIC = 2 * np.pi / 28


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_the_best_metric_is_a_mean_line_over_a_range(ax):
    sweep = training({"seed": [0, 1], "r": R})
    sweep.best_metric.values[:] = [[0.1, 0.4, 0.9], [0.3, 0.4, 0.5]]  # at the first r one instance of two has learnt
    best_metric(ax, sweep, "r", color="#0072B2", label="sMNIST", linestyle="--")
    (line,) = ax.lines
    assert drawn(line) == (R, pytest.approx([0.2, 0.4, 0.7]))
    assert line.get_color() == "#0072B2"
    assert (line.get_label(), line.get_linestyle()) == ("sMNIST", "--")
    assert filled(ax.collections[0]) == {0.9: (0.1, 0.3), 0.95: (0.4, 0.4), 1.0: (0.5, 0.9)}


@pytest.mark.parametrize(
    ("metric", "values", "mean"),
    [
        ("accuracy", [[0.1, 0.2, 0.9], [0.12, 0.2, 0.5]], [0.11, 0.2, 0.7]),  # up to 0.2, learnt nothing
        ("rms", [[0.41, 0.5, 0.1], [0.39, 0.5, 0.3]], [0.4, 0.5, 0.2]),  # from 0.388 on
    ],
)
def test_points_of_networks_that_learnt_nothing_are_open_and_their_lines_dotted_and_pale(ax, metric, values, mean):
    sweep = training({"seed": [0, 1], "r": R}, metric=metric)
    sweep.best_metric.values[:] = values
    best_metric(ax, sweep, "r", color="#0072B2", label="x")
    learnt, every = ax.lines
    assert drawn(learnt) == ([1.0], pytest.approx(mean[2:]))
    assert drawn(every) == (R, pytest.approx(mean))
    assert (every.get_gid(), every.get_alpha(), every.get_markerfacecolor()) == ("at chance", 0.5, "white")
    assert every.get_zorder() < learnt.get_zorder()
    assert len(filled(ax.collections[0])) == 3
    legend_above(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x", "ended at chance"]


def test_one_network_has_no_range(ax):
    best_metric(ax, training({"seed": [0], "r": R}), "r", color="k", label="sMNIST")
    assert not ax.collections


def test_the_order_of_the_dimensions_does_not_matter(ax):
    sweep = training({"r": R, "seed": [0, 1]})
    best_metric(ax, sweep, "r", color="k", label="sMNIST")
    assert drawn(ax.lines[0])[1] == pytest.approx(sweep.best_metric.values.mean(1).tolist())


def test_points_are_open_where_a_run_did_not_reach_minimal_performance(ax):
    sweep = training({"seed": [0, 1], "r": R})
    sweep.iterations_to_minimal_performance.values[:] = [[938, 400, 100], [938, 938, 300]]
    sweep.reached_minimal_performance.values[:] = [[0, 1, 1], [0, 0, 1]]
    iterations_to_minimal_performance(ax, sweep, "r", color="#0072B2", label="sMNIST")
    line, not_reached, instances = ax.lines
    assert drawn(line) == ([1.0], [200])  # no line leads to the others
    assert drawn(instances) == ([0.95], [400])  # of the mean there, one number is a measurement
    assert instances.get_linestyle() == "None"
    assert drawn(not_reached) == ([0.9, 0.95], pytest.approx([938, 669]))
    assert (not_reached.get_markerfacecolor(), not_reached.get_marker()) == ("none", "^")
    assert not_reached.get_linestyle() == "None"
    assert ranged(ax.collections[0]) == {0.9: (938, 938), 0.95: (400, 938), 1.0: (100, 300)}
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize("reached", [0, 1])
def test_triangles_are_explained_where_there_are_some(ax, reached):
    sweep = training({"seed": [0], "r": R})
    sweep.reached_minimal_performance.values[0, 1] = reached
    iterations_to_minimal_performance(ax, sweep, "r", color="k", label="sMNIST")
    explain_limits(ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    assert names == ([] if reached else ["lower limit: MP not reached"])


def test_no_point_is_open_where_all_reached_it(ax):
    sweep = training({"seed": [0], "r": R})
    iterations_to_minimal_performance(ax, sweep, "r", color="k", label="sMNIST", marker="s", linestyle="--")
    (line,) = ax.lines
    assert drawn(line) == (R, sweep.iterations_to_minimal_performance.values[0].tolist())
    assert (line.get_marker(), line.get_linestyle()) == ("s", "--")
    assert not ax.collections  # one network has no range


@pytest.mark.parametrize(("highest", "multiples"), [(0.0, [1]), (1.0, [1]), (3.0, [1, 2, 3]), (2.9, [1, 2])])
def test_lines_are_at_the_characteristic_frequency_and_its_harmonics(ax, highest, multiples):
    characteristic_lines(ax, highest * CHARACTERISTIC)
    assert [line.get_xdata()[0] / CHARACTERISTIC for line in ax.lines] == pytest.approx(multiples)
    assert {line.get_color() for line in ax.lines} == {"#009E73"}
    assert [text.get_text() for text in ax.texts] == [r"$\phi_c$"]
    widths = [line.get_linewidth() for line in ax.lines]
    assert all(width < widths[0] for width in widths[1:])


def test_a_legend_above_covers_nothing(ax):
    for label in ("ADD100", "ADD200"):
        ax.plot([0, 1], [0, 1], label=label)
    legend_above(ax)
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["ADD100", "ADD200"]
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1
    first, second = (text.get_window_extent() for text in legend.get_texts())
    assert first.y0 == pytest.approx(second.y0)


@pytest.mark.parametrize(
    ("number", "text"), [(469, "469 iterations"), (93800, "93\N{NARROW NO-BREAK SPACE}800 iterations")]
)
def test_numbers_of_iterations_are_grouped(number, text):
    assert counted(number) == text


def test_points_and_instances_without_a_record_are_left_out(ax):
    sweep = training({"seed": [0, 1], "r": R})
    sweep.status[:, 2], sweep.status[1, 1] = "waiting", "waiting"
    for name in ("best_metric", "iterations_to_minimal_performance", "reached_minimal_performance"):
        sweep[name][:] = sweep[name].where(sweep.status != "waiting")
    best_metric(ax, sweep, "r", color="#0072B2", label="x")
    (line,) = ax.lines
    assert drawn(line) == (
        R[:2],
        [pytest.approx(float(sweep.best_metric[:, 0].mean())), float(sweep.best_metric[0, 1])],
    )
    iterations_to_minimal_performance(ax, sweep, "r", color="#0072B2", label="x")
    counts = sweep.iterations_to_minimal_performance
    assert drawn(ax.lines[1]) == (R[:2], [float(counts[:, 0].mean()), float(counts[0, 1])])
    explain_limits(ax)
    assert ax.get_legend() is None
