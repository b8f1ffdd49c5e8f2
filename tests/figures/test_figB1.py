import numpy as np
import pytest
import xarray as xr
from analysis_results import variational_term

from artists import drawn
from figures.figB1 import EXPONENTS
from figures.protocols import STRENGTH_CLASSES
from figures.style import strength_color, strength_label
from training_results import footnote, result, training

R = [0.9, *STRENGTH_CLASSES]  # also one that is not drawn


def data(lengths=(100, 400), last=500):
    checkpoints = [0, 250, last] if last else [0]
    grid = {"seed": [0], "r": R, "checkpoint": checkpoints}
    learnt = {"seed": [0], "r": R}
    adding = {f"variational_term_{length}": variational_term(grid, rng=length) for length in lengths}
    adding |= {f"training_{length}": training(learnt, rng=length, metric="rms") for length in lengths}
    digits = {
        "variational_term": variational_term({**grid, "checkpoint": [0, 938]}),
        "training": training({**learnt, "seed": [0, 1]}),
    }
    return {
        "adding_strength": result("adding_strength", adding, seeds=1),
        "psmnist_strength": result("psmnist_strength", digits, seeds=1),
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


def test_scales_hold_all_networks_but_those_that_ended_at_chance(draw):
    trees = data()
    adding = trees["adding_strength"]
    term = adding["variational_term_400"]
    far = (term.checkpoint == 500) & (term.r == 1.01)
    term["running_exponent"] = term.running_exponent * xr.where(far, 10, 1)
    _, high = draw(trees).axes[3].get_ylim()
    assert high > float(term.running_exponent.sel(r=1.01, checkpoint=500).isel(trajectory=0).max())
    adding["training_400"].train_loss.loc[{"r": 1.01, "iteration": 10}] = 1001.0
    figure = draw(trees)
    limits = [ax.get_ylim() for ax in figure.axes]
    assert limits[2] == limits[3]
    kept = term.running_exponent.isel(seed=0, trajectory=0).sel(checkpoint=[0, 500])
    kept = kept.where((kept.r != 1.01) | (kept.checkpoint == 0)).sel(r=list(STRENGTH_CLASSES))
    ranks = np.linspace(0, 29, EXPONENTS).round().astype(int)
    height = float(kept[..., ranks].max() - kept[..., ranks].min())
    assert limits[3] == (
        pytest.approx(float(kept[..., ranks].min()) - 0.05 * height),
        pytest.approx(float(kept[..., ranks].max()) + 0.05 * height),
    )
    for ax, marked in zip(figure.axes[2:4], (False, True), strict=True):
        mine = [line for line in ax.lines if line.get_color() == strength_color(1.01)][:EXPONENTS]
        assert {(line.get_gid(), line.get_alpha()) for line in mine} == {("at chance", 0.5) if marked else (None, 1.0)}
    assert "D: networks that ended at chance leave the axis" in footnote(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*map(strength_label, STRENGTH_CLASSES), "ended at chance", r"$\log r$"]
