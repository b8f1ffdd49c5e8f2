"""Captions: what they say of seeds, and that they are legible and within the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from figures import style
from figures.scripts import STYLE


def training(seeds):
    return xr.Dataset({"best_metric": ("seed", np.zeros(seeds))})


def test_only_of_several_seeds_mean_and_range_are_named():
    assert style.over_seeds({"A": training(2), "B": training(1), "C": training(3)}) == "A, C: mean and range over seeds"
    assert style.over_seeds({"A": training(1)}) == ""


def test_notes_leave_out_what_is_empty():
    assert style.notes("first", "", "second") == "first; second"
    assert style.notes("", "") == ""


@pytest.mark.parametrize("width", [style.ONE_COLUMN, style.TWO_COLUMNS])
def test_captions_are_broken_between_parts_and_stay_within_the_figure(width):
    parts = [f"a part that says something of panel {letter}, $x ; y$" for letter in "ABCDEFGH"]
    with plt.style.context(STYLE):
        figure, _ = style.panels(1, 1, width=width)
        style.draw_caption(figure, style.notes(*parts))
        figure.canvas.draw()
    (text,) = [each for each in figure.texts if each.get_text() == figure.get_supxlabel()]
    assert text.get_fontsize() >= 6
    lines = text.get_text().split("\n")
    assert len(lines) > 1
    assert " ".join(lines) == style.notes(*parts)
    extent = text.get_window_extent()
    assert extent.x0 > 0
    assert extent.x1 < figure.bbox.x1
    assert extent.y1 < figure.axes[0].get_tightbbox().y0
    plt.close(figure)
