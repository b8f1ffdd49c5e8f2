import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.marks import (
    crossed,
    ended_at_chance,
    learning_curve,
    legend_entries,
    margin_label,
    mark_diverged,
    partly_at_chance,
)
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
    mark_diverged(ax, sweep, "red")
    assert crossed(ax) == "crosses: diverged"
    assert [(line.get_xdata(), line.get_ydata()) for line in ax.lines] == [([50.0], [2.0]), ([0.0], [6.0])]
    assert {(line.get_marker(), line.get_color()) for line in ax.lines} == {("x", "red")}
    assert min(line.get_zorder() for line in ax.lines) > ax.plot([0], [0])[0].get_zorder()  # lines do not cover them


def test_finished_runs_have_no_cross(ax):
    mark_diverged(ax, training({"seed": [0, 1]}), "red")
    assert not ax.lines
    assert crossed(ax) == ""


def test_labels_are_in_the_margin_at_the_height_of_their_value(ax):
    ax.set_ylim(0, 4)
    margin_label(ax, 3.0, "three", color="green")
    (text,) = ax.texts
    assert (text.get_text(), text.get_color()) == ("three", "green")
    drawn = text.get_window_extent(ax.figure.canvas.get_renderer())
    axes = ax.get_window_extent()
    assert drawn.x0 > axes.x1
    assert (drawn.y0 + drawn.y1) / 2 == pytest.approx(axes.y0 + 0.75 * axes.height, abs=2.0)


def test_chance_is_that_of_the_report_at_the_end_of_training_or_a_loss_above_a_thousand():
    sweep = training({"seed": [0, 1, 2, 3, 4]}, (0, 50, 100))
    sweep.test_metric[:] = [[0.1, 0.9, 0.2], [0.1, 0.1, 0.21], [0.9, 0.15, np.nan], [0.1, 0.9, 0.8], [0.1, 0.9, 0.8]]
    sweep.train_loss[:] = [[np.nan, 1, 1], [np.nan, 9e9, 1], [np.nan, 1, np.nan], [np.nan, 1, 1000], [1, 1, 1000.5]]
    assert ended_at_chance(sweep).values.tolist() == [True, False, True, False, True]
    assert (
        partly_at_chance(sweep.expand_dims(r=[0.9, 1.0]), "r") == "ended at chance: 3 of 5 at r = 0.9, 3 of 5 at r = 1"
    )
    assert partly_at_chance(sweep.isel(seed=[1, 3]).expand_dims(r=[0.9]), "r") == ""
    assert partly_at_chance(sweep.isel(seed=[0, 2]).expand_dims(r=[0.9]), "r") == ""
    errors = training({"seed": [0, 1]}, metric="rms")
    errors.test_metric[:, -1] = [0.95 / 6**0.5 - 1e-6, 0.95 / 6**0.5 + 1e-6]
    assert ended_at_chance(errors).values.tolist() == [False, True]


def test_learning_curves_of_networks_that_all_ended_at_chance_are_marked(ax):
    sweep = training({"seed": [0, 1]})
    sweep.test_metric[0, -1] = 0.1
    assert learning_curve(ax, sweep, "blue", "one", linewidth=2.0)
    sweep.test_metric[1, -1] = 0.1
    sweep.status[1] = "diverged"
    assert learning_curve(ax, sweep, "red", "other", linewidth=2.0)
    kept, lost, cross = ax.lines
    for line in (kept, lost):
        np.testing.assert_array_equal(line.get_xdata(), sweep.iteration)
        assert line.get_linewidth() == 2.0
    np.testing.assert_allclose(lost.get_ydata(), sweep.test_metric.mean("seed"))
    assert [(line.get_gid(), line.get_alpha()) for line in (kept, lost)] == [(None, None), ("at chance", 0.5)]
    assert cross.get_marker() == "x"
    handles, names = legend_entries(ax)
    assert names == ["one", "other", "ended at chance"]
    assert [handle.get_color() for handle in handles] == ["blue", "red", "0.15"]
    assert [handle.get_linestyle() for handle in handles] == ["-", "-", "--"]  # dots are dashes of length one


def test_trainings_that_wait_are_neither_drawn_nor_at_chance(ax):
    sweep = training({"seed": [0, 1, 2]})
    sweep.status[1:] = "waiting"
    for name in ("test_metric", "train_loss", "best_metric"):
        sweep[name][1:] = np.nan
    assert ended_at_chance(sweep).values.tolist() == [False] * 3
    assert learning_curve(ax, sweep, "blue")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), sweep.test_metric[0])
    assert len(ax.collections) == 0  # one network has no range
    sweep.test_metric[0, -1] = 0.1
    assert learning_curve(ax, sweep, "blue")
    assert ax.lines[1].get_gid() == "at chance"
    assert partly_at_chance(sweep.expand_dims(r=[1.0]), "r") == ""
    sweep.status[:] = "waiting"
    assert not learning_curve(ax, sweep, "blue")
    assert len(ax.lines) == 2
    empty = sweep.isel(iteration=[])
    assert ended_at_chance(empty).values.tolist() == [False] * 3
    assert not learning_curve(ax, empty, "blue")
