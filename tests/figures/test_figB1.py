import numpy as np
import pytest
import xarray as xr
from analysis_results import variational_term

from artists import drawn
from figures.figB1 import EXPONENTS
from figures.protocols import STRENGTH_CLASSES
from figures.style import strength_color, strength_label
from training_results import footnote, result

R = [0.9, *STRENGTH_CLASSES]  # also one that is not drawn


def data(lengths=(100, 400), last=500):
    checkpoints = [0, 250, last] if last else [0]
    grid = {"seed": [0], "r": R, "checkpoint": checkpoints}
    adding = {f"variational_term_{length}": variational_term(grid, rng=length) for length in lengths}
    return {
        "adding_strength": result("adding_strength", adding, seeds=1),
        "psmnist_strength": result(
            "psmnist_strength", {"variational_term": variational_term({**grid, "checkpoint": [0, 938]})}, seeds=1
        ),
    }


def check(ax, term):
    """Twenty evenly chosen exponents of each class, and log r."""
    ranks = np.linspace(0, 29, EXPONENTS).round().astype(int)
    assert [line.get_zorder() for line in ax.lines[:EXPONENTS]] == [2 + rank / EXPONENTS for rank in range(EXPONENTS)]
    assert len(ax.lines) == len(STRENGTH_CLASSES) * (EXPONENTS + 1)
    for r in STRENGTH_CLASSES:
        mine = [line for line in ax.lines if line.get_color() == strength_color(r)]
        expected = term.sel(r=r).isel(seed=0, trajectory=0).running_exponent.values[:, ranks].T
        assert [drawn(line)[1] for line in mine[:EXPONENTS]] == expected.tolist()
        assert drawn(mine[0])[0] == [10, 20, 30]
        assert list(mine[EXPONENTS].get_ydata()) == [np.log(r)] * 2
        assert mine[EXPONENTS].get_linestyle() == "--"


def test_exponents_before_and_after_training_of_every_task(draw):
    trees = data()
    figure = draw(trees)
    terms = [
        trees["adding_strength"]["variational_term_100"],
        trees["adding_strength"]["variational_term_400"],
        trees["psmnist_strength"]["variational_term"],
    ]
    assert len(figure.axes) == 6
    for (before, after), term in zip(zip(figure.axes[::2], figure.axes[1::2], strict=True), terms, strict=True):
        check(before, term.to_dataset().isel(checkpoint=0))
        check(after, term.to_dataset().isel(checkpoint=-1))
        assert before.get_ylim() == after.get_ylim()
    assert [ax.get_title(loc="left") for ax in figure.axes] == list("ABCDEF")
    assert [ax.get_title(loc="center") for ax in figure.axes] == [
        "ADD100, before training",
        "ADD100, after 500 iterations",
        "ADD400, before training",
        "ADD400, after 500 iterations",
        "psMNIST, before training",
        "psMNIST, after 938 iterations",
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*map(strength_label, STRENGTH_CLASSES), r"$\log r$"]
    assert footnote(figure).endswith("first seed")


def test_lengths_that_were_not_measured_are_left_out_and_others_not_drawn(draw):
    figure = draw(data((100, 200)))
    assert [ax.get_title(loc="center").partition(",")[0] for ax in figure.axes] == ["ADD100"] * 2 + ["psMNIST"] * 2
    assert "ADD400: not measured" in footnote(figure)


def test_tasks_without_a_common_trained_checkpoint_are_drawn_before_training(draw):
    trees = data((100,), last=None)
    figure = draw(trees)
    titles = [ax.get_title(loc="center") for ax in figure.axes]
    assert titles == ["ADD100, before training", "psMNIST, before training", "psMNIST, after 938 iterations"]
    check(figure.axes[0], trees["adding_strength"]["variational_term_100"].to_dataset().isel(checkpoint=0))
    assert "ADD100: a run diverged" in footnote(figure)


def test_panels_have_scales_of_their_own_where_exponents_spread_after_training(draw):
    trees = data()
    term = trees["adding_strength"]["variational_term_400"]
    term["running_exponent"] = term.running_exponent * xr.where(term.checkpoint == 500, 10, 1)
    figure = draw(trees)
    limits = [ax.get_ylim() for ax in figure.axes]
    (low, high), (lowest, highest) = limits[2:4]
    assert highest - lowest > 2 * (high - low)
    for ax in figure.axes[2:4]:
        shown = max(np.max(line.get_ydata()) for line in ax.lines)
        assert shown == pytest.approx(ax.dataLim.ymax)
        assert ax.get_ylim()[1] < 1.2 * shown
    assert limits[0] == limits[1]
    assert "C and D have different vertical scales" in footnote(figure)
    assert "A and B" not in footnote(figure)
