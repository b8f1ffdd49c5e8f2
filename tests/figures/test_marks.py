import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.marks import margin_label, mark_diverged
from training_results import training


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_a_cross_is_at_the_last_evaluation_of_every_diverged_run(ax):
    sweep = training({"seed": [0, 1, 2]}, (0, 50, 100))
    sweep.test_metric[:] = [[1.0, 2.0, np.nan], [3.0, 4.0, 5.0], [6.0, np.nan, np.nan]]
    sweep.status[:] = ["diverged", "finished", "diverged"]
    assert mark_diverged(ax, sweep, "red") == 2
    assert [(line.get_xdata(), line.get_ydata()) for line in ax.lines] == [([50.0], [2.0]), ([0.0], [6.0])]
    assert {(line.get_marker(), line.get_color()) for line in ax.lines} == {("x", "red")}
    assert min(line.get_zorder() for line in ax.lines) > ax.plot([0], [0])[0].get_zorder()  # lines do not cover them


def test_finished_runs_have_no_cross(ax):
    assert mark_diverged(ax, training({"seed": [0, 1]}), "red") == 0
    assert not ax.lines


def test_labels_are_in_the_margin_at_the_height_of_their_value(ax):
    ax.set_ylim(0, 4)
    margin_label(ax, 3.0, "three", color="green")
    (text,) = ax.texts
    assert (text.get_text(), text.get_color()) == ("three", "green")
    drawn = text.get_window_extent(ax.figure.canvas.get_renderer())
    axes = ax.get_window_extent()
    assert drawn.x0 > axes.x1
    assert (drawn.y0 + drawn.y1) / 2 == pytest.approx(axes.y0 + 0.75 * axes.height, abs=2.0)
