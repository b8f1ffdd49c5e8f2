import matplotlib.pyplot as plt
import numpy as np
import pytest
from analysis_results import hessian_spectrum

from artists import drawn
from figures.figB3 import iteration_colors
from figures.protocols import PROTOCOLS, STRENGTH_CLASSES
from figures.scripts import script
from figures.style import strength_color
from training_results import filled, footnote, named, result, training

CHECKPOINTS = [0, 100, 300, 938]


def data(strengths=STRENGTH_CLASSES, adding=STRENGTH_CLASSES, seeds=2, checkpoints=CHECKPOINTS):
    images = {
        "training": training({"seed": list(range(seeds)), "r": list(strengths)}),
        "hessian_spectrum": hessian_spectrum({"seed": [0], "r": list(STRENGTH_CLASSES), "checkpoint": checkpoints}),
    }
    return {
        "residual_strength": result("residual_strength", images, seeds),
        "adding_strength": result(
            "adding_strength",
            {"training_100": training({"seed": [0], "r": list(adding)}, (0, 250, 500), rng=1, metric="rms")},
            1,
        ),
    }


def shown_ticks(ax):
    """Labels of the vertical axis within the view."""
    low, high = ax.get_ylim()
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.get_yticklabels() if low <= text.get_position()[1] <= high]


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_learning_of_all_strengths_on_both_tasks(draw):
    trees = data()
    accuracy, rms, *_ = draw(trees).axes
    for ax, metric in (
        (accuracy, trees["residual_strength"]["training"].test_metric),
        (rms, trees["adding_strength"]["training_100"].test_metric.sel(iteration=[250, 500])),  # trained
    ):
        for index, r in enumerate(STRENGTH_CLASSES):
            line, values = named(ax, f"{r:g}"), metric.sel(r=r).values
            assert drawn(line) == (metric.iteration.values.tolist(), pytest.approx(values.mean(0).tolist()))
            assert line.get_color() == strength_color(r)
            if len(values) > 1:
                low_and_high = filled(ax.collections[index])
                assert low_and_high[10.0] == pytest.approx((values[:, 2].min(), values[:, 2].max()))
    assert (accuracy.get_ylabel(), rms.get_ylabel()) == ("test accuracy", "test RMS")
    assert (accuracy.get_title(loc="center"), rms.get_title(loc="center")) == ("sMNIST", "ADD100")


def test_eigenvalues_over_training_of_a_critical_and_a_subcritical_network(draw):
    trees = data()
    *_, critical, subcritical = draw(trees).axes
    eigenvalue = trees["residual_strength"]["hessian_spectrum"].eigenvalue
    for ax, r in ((critical, 1.0025), (subcritical, 0.95)):
        for iteration, color in zip(CHECKPOINTS, iteration_colors(4), strict=True):
            line = named(ax, f"{iteration}" if iteration else "0, untrained")
            expected = abs(eigenvalue.sel(seed=0, r=r, checkpoint=iteration)).values.tolist()
            assert drawn(line) == ([1, 2, 3, 4, 5], expected)
            assert line.get_color() == color
        assert ax.get_yscale() == "log"
    assert critical.get_title(loc="center") == "sMNIST, critical, $r = 1.0025$"
    assert subcritical.get_title(loc="center") == "sMNIST, strongly subcritical, $r = 0.95$"
    assert labels(subcritical) == ["0, untrained", "100", "300", "938"]


def test_the_legend_names_the_strengths_of_both_tasks_once_in_their_order(draw):
    figure = draw(data(strengths=(0.95, 0.97, 1.0025), adding=(0.91, 0.95, 1.02)))
    assert labels(figure.axes[1]) == ["0.91", "0.95", "0.97", "1.0025", "1.02"]


def test_many_strengths_and_seeds_as_in_the_paper(draw):
    strengths = PROTOCOLS["paper"].strengths
    figure = draw(data(strengths, strengths, seeds=5))
    assert labels(figure.axes[1]) == [f"{r:g}" for r in strengths]
    assert len(figure.axes[0].collections) == 15


def test_small_changes_of_eigenvalues_look_small(draw):
    trees = data()
    trees["residual_strength"]["hessian_spectrum"].eigenvalue.loc[{"r": 0.95}] = 2.0
    trees["residual_strength"]["hessian_spectrum"].residual.loc[{"r": 0.95}] = 0.0
    critical, subcritical = draw(trees).axes[2:]
    lower, upper = subcritical.get_ylim()
    assert upper / lower == pytest.approx(10)
    assert np.sqrt(lower * upper) == pytest.approx(2.0)
    assert shown_ticks(subcritical) == ["1", "2", "5"]
    lower, upper = critical.get_ylim()
    shown = abs(trees["residual_strength"]["hessian_spectrum"].eigenvalue.sel(r=1.0025))
    assert lower < shown.min()
    assert upper > shown.max()


def test_rms_is_logarithmic_over_a_decade_without_untrained_networks(draw):
    trees = data()
    trees["adding_strength"]["training_100"].test_metric[:] = [90.0, 0.3, 0.2]
    ax = draw(trees).axes[1]
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log"
    assert (high / low, low * high) == (pytest.approx(10), pytest.approx(0.3 * 0.2))


@pytest.mark.parametrize("lost", [False, True])
def test_networks_that_ended_at_chance_are_dotted_and_pale(draw, lost):
    trees = data(seeds=1)
    if lost:
        trees["residual_strength"]["training"].test_metric[0, 0, -1] = 0.11
    accuracy, rms, critical, subcritical = draw(trees).axes
    for line, marked in [
        (named(accuracy, "0.95"), lost),
        (named(accuracy, "1.0025"), False),
        (named(subcritical, "0, untrained"), False),
        (named(subcritical, "938"), lost),
        (named(critical, "938"), False),
    ]:
        assert (line.get_gid(), line.get_alpha()) == (("at chance", 0.5) if marked else (None, None))
    assert labels(subcritical) == ["0, untrained", "100", "300", "938"] + ["ended at chance"] * lost
    assert labels(rms)[-1] == ("ended at chance" if lost else "1.01")


@pytest.mark.parametrize(
    ("against", "title", "names"),
    [
        ("r", "$r$", ["0.95", "0.995", "1.0025", "1.01"]),
        ("log-r", r"$\log r$", ["-0.0513", "-0.00501", "0.0025", "0.00995"]),
        ("distance", "$r - 1$", ["-0.05", "-0.005", "0.0025", "0.01"]),
    ],
)
def test_the_legend_names_r_or_its_distance_to_the_edge_of_chaos(against, title, names):
    figure = script("figB3").draw(data(), against)
    assert labels(figure.axes[1]) == names
    assert figure.axes[1].get_legend().get_title().get_text() == title
    plt.close(figure)


def test_diverged_runs_are_crossed_and_named(draw):
    trees = data()
    assert "diverged" not in footnote(draw(trees))
    trees["adding_strength"]["training_100"].status[0, 3] = "diverged"
    figure = draw(trees)
    (cross,) = [line for line in figure.axes[1].lines if line.get_marker() == "x"]
    assert drawn(cross) == ([500.0], [float(trees["adding_strength"]["training_100"].test_metric[0, 3, 2])])
    assert "crosses: diverged" in footnote(figure)
