"""Every figure and table from the shipped results, and with nothing measured: drawn, and twice the same."""

import hashlib
from itertools import combinations

import matplotlib.pyplot as plt
import pytest

from figures.command import DATA, RECORDS
from figures.evidence import FILES, Evidence, read_file
from figures.scripts import NAMES, drawn, origins, produce, script


@pytest.fixture(scope="module")
def shipped():
    return Evidence(RECORDS, DATA)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    return Evidence(folder / "campaign", folder)


@pytest.fixture(params=["shipped", "empty"])
def results(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_every_script_draws_what_there_is(name, results, tmp_path, monkeypatch):
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)  # nothing may depend on data sets that are not shipped
    written = [produce(name, tmp_path / folder, results) for folder in ("first", "second")]
    names = [f"{name}.md"] if script(name).kind == "table" else [f"{name}.pdf", f"{name}.png", f"{name}.txt"]
    assert [[path.name for path in paths] for paths in written] == [names, names]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in written]
    assert digests[0] == digests[1]
    assert plt.get_fignums() == []
    text = written[0][-1].read_text()
    origin = origins(name, results)
    assert origin in text.replace("\n", " ")
    if all(part.endswith("not measured") for part in origin.removesuffix(".").split("; ")):
        assert "not measured yet" in text


@pytest.mark.parametrize("name", FILES)
def test_shipped_results_say_where_they_come_from(name):
    tree = read_file(name, DATA)
    assert "dirty" not in tree.attrs["commit"]
    assert tree.attrs["commit"] != "unknown"
    assert (DATA / f"{name}.nc").stat().st_size < 500_000


def test_every_result_file_is_read(shipped):
    assert set(shipped.files) == set(FILES) == {path.stem for path in DATA.glob("*.nc")}


@pytest.mark.parametrize("name", [name for name in NAMES if script(name).kind == "figure"])
def test_labels_fit_their_panels_and_do_not_overlap(name, shipped):
    """Within the figure; labels of vertical axes no longer than their axes; titles and legends beside each other."""
    figure = drawn(name, shipped)
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
def test_letters_are_at_the_left_and_those_of_a_row_at_one_height(name, shipped):
    figure = drawn(name, shipped)
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
