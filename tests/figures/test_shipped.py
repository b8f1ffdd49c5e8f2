"""Every figure and table from the shipped results: drawn, twice the same, and with its numbers in it."""

import hashlib
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.fig2 import EXPONENTS
from figures.protocols import STRENGTH_CLASSES
from figures.scripts import DATA, NAMES, produce, read, script
from figures.style import STYLE, strength_color
from training_results import footnote


@pytest.mark.parametrize("name", NAMES)
def test_every_script_draws_what_is_shipped(name, tmp_path, monkeypatch):
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)  # nothing may depend on data sets that are not shipped
    written = [produce(name, tmp_path / folder) for folder in ("first", "second")]
    names = [f"{name}.md"] if script(name).kind == "table" else [f"{name}.pdf", f"{name}.png", f"{name}.txt"]
    assert [[path.name for path in paths] for paths in written] == [names, names]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in written]
    assert digests[0] == digests[1]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("path", sorted(DATA.glob("*.nc")), ids=lambda path: path.stem)
def test_shipped_results_say_where_they_come_from(path):
    (tree,) = read((path.stem,)).values()
    assert tree.attrs["protocol"] in ("quick", "cpu", "paper")
    assert int(tree.attrs["seeds"]) >= 1
    assert "dirty" not in tree.attrs["commit"]
    assert tree.attrs["commit"] != "unknown"
    assert path.stat().st_size < 3_000_000
    assert any(path.stem in script(name).needs for name in NAMES) or path.stem == "untrained"


def test_every_result_that_a_script_needs_is_shipped():
    needed = {need for name in NAMES for need in script(name).needs}
    assert needed <= {Path(path).stem for path in DATA.glob("*.nc")}


def test_fig2_draws_the_measured_numbers():
    data = read(script("fig2").needs)
    tree = data["residual_strength"]
    with plt.style.context(STYLE):
        figure = script("fig2").draw(data)
    learning, curvature, gradients, *columns = figure.axes
    first = tree["variational_term"].seed.values[0]
    assert len(columns) == len(STRENGTH_CLASSES)
    curves = [line for line in learning.lines if line.get_marker() != "x"]
    for index, r in enumerate(STRENGTH_CLASSES):
        color = strength_color(r)
        for line, training in (
            (curves[2 * index], tree["training"]),
            (curves[2 * index + 1], data["smaller_learning_rate"]["training"].isel(learning_rate=0)),
        ):
            np.testing.assert_array_equal(line.get_ydata(), training.test_metric.sel(r=r).mean("seed").values)
        drawn = columns[index].lines
        measured = tree["variational_term"].running_exponent.sel(seed=first, r=r).isel(checkpoint=0, trajectory=0)
        np.testing.assert_array_equal(drawn[0].get_ydata(), measured.isel(exponent=0).values)
        np.testing.assert_array_equal(drawn[EXPONENTS - 1].get_ydata(), measured.isel(exponent=-1).values)
        assert [list(line.get_ydata()) for line in drawn[EXPONENTS:]] == [[round(np.log(r), 12)] * 2, [0, 0]]
        assert columns[index].get_title(loc="right") == f"$r={r:g}$"
        (ranks,) = [line for line in curvature.lines if line.get_color() == color and line.get_linestyle() != "None"]
        eigenvalue = tree["hessian_spectrum"].eigenvalue.sel(seed=first, r=r).isel(checkpoint=0)
        np.testing.assert_array_equal(ranks.get_ydata(), abs(eigenvalue.values))
        norms = tree["gradient_propagation"].gradient_norm.sel(seed=first, r=r, norm="inf").isel(checkpoint=0)
        shown = [line.get_ydata() for line in gradients.lines if line.get_color() == color]
        np.testing.assert_array_equal(shown, norms.values)
    caption = footnote(figure)
    assert f"protocol {tree.attrs['protocol']}" in caption
    assert tree.attrs["commit"] in caption
    plt.close(figure)


@pytest.mark.parametrize("name", [name for name in NAMES if script(name).kind == "figure"])
def test_labels_fit_their_panels_and_do_not_overlap(name):
    """Within the figure; labels of vertical axes no longer than their axes; titles and legends beside each other."""
    with plt.style.context(STYLE):
        figure = script(name).draw(read(script(name).needs))
        figure.canvas.draw()
    whole = figure.bbox
    for ax in figure.axes:
        panel, outer = ax.get_window_extent(), ax.get_tightbbox()
        assert outer.x0 >= whole.x0 - 1
        assert outer.x1 <= whole.x1 + 1
        assert outer.y0 >= whole.y0 - 1
        assert outer.y1 <= whole.y1 + 1
        if ax.get_ylabel():
            label = ax.yaxis.label.get_window_extent()
            assert label.height <= panel.height + 1, ax.get_ylabel()
        titles = [ax.title, ax._left_title, ax._right_title]
        above = [text.get_window_extent() for text in titles if text.get_text()]
        above += [ax.get_legend().get_window_extent()] if ax.get_legend() else []
        for first, second in combinations(above, 2):
            assert not first.overlaps(second), f"{name}: {[text.get_text() for text in titles]}"
    plt.close(figure)


@pytest.mark.parametrize("name", [name for name in NAMES if script(name).kind == "figure"])
def test_letters_are_at_the_left_and_those_of_a_row_at_one_height(name):
    with plt.style.context(STYLE):
        figure = script(name).draw(read(script(name).needs))
        figure.canvas.draw()
    lettered = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert sorted(ax.get_title(loc="left") for ax in lettered) == list("ABCDEF"[: len(lettered)])
    rows = {}
    for ax in lettered:
        extent = ax._left_title.get_window_extent()
        assert extent.x0 == pytest.approx(ax.get_window_extent().x0, abs=1)
        rows.setdefault(ax.get_subplotspec().get_topmost_subplotspec().rowspan.start, []).append(extent.y0)
    for heights in rows.values():
        assert heights == pytest.approx([heights[0]] * len(heights), abs=1)
    plt.close(figure)
