"""Every figure and table from the shipped results: drawn, twice the same, and with its numbers in it."""

import hashlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.protocols import STRENGTH_CLASSES
from figures.scripts import DATA, NAMES, produce, read, script
from figures.style import STYLE, strength_color


@pytest.mark.parametrize("name", NAMES)
def test_every_script_draws_what_is_shipped(name, tmp_path, monkeypatch):
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)  # nothing may depend on data sets that are not shipped
    written = [produce(name, tmp_path / folder) for folder in ("first", "second")]
    names = [f"{name}.md"] if script(name).kind == "table" else [f"{name}.pdf", f"{name}.png"]
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
    learning, exponents, curvature, gradients = figure.axes
    first = tree["variational_term"].seed.values[0]
    for index, r in enumerate(STRENGTH_CLASSES):
        color = strength_color(r)
        for line, training in (
            (learning.lines[2 * index], tree["training"]),
            (learning.lines[2 * index + 1], data["smaller_learning_rate"]["training"].isel(learning_rate=0)),
        ):
            np.testing.assert_array_equal(line.get_ydata(), training.test_metric.sel(r=r).mean("seed").values)
        drawn = [line for line in exponents.lines if line.get_color() == color]
        measured = tree["variational_term"].running_exponent.sel(seed=first, r=r).isel(checkpoint=0, trajectory=0)
        np.testing.assert_array_equal(drawn[0].get_ydata(), measured.isel(exponent=0).values)
        np.testing.assert_array_equal(drawn[-2].get_ydata(), measured.isel(exponent=-1).values)
        assert drawn[-1].get_ydata()[0] == np.log(r)
        (ranks,) = [line for line in curvature.lines if line.get_color() == color and line.get_linestyle() != "None"]
        eigenvalue = tree["hessian_spectrum"].eigenvalue.sel(seed=first, r=r).isel(checkpoint=0)
        np.testing.assert_array_equal(ranks.get_ydata(), abs(eigenvalue.values))
        norms = tree["gradient_propagation"].gradient_norm.sel(seed=first, r=r, norm="inf").isel(checkpoint=0)
        shown = [line.get_ydata() for line in gradients.lines if line.get_color() == color]
        np.testing.assert_array_equal(shown, norms.values)
    caption = figure.get_supxlabel()
    assert f"protocol {tree.attrs['protocol']}" in caption
    assert tree.attrs["commit"] in caption
    plt.close(figure)
