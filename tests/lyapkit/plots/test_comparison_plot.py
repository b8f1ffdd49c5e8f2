"""The plot of a comparison draws its numbers, and marks them as the table judges them."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from torch import nn

import lyapkit
from artists import drawn
from lyapkit import plots
from lyapkit.plots.comparison import MARKS, QUIET, exponent_differences

torch.manual_seed(0)
NETWORK, OTHER = nn.GRU(2, 5).double(), nn.GRU(2, 5).double()
INPUTS = torch.randn(200, 6, 2, dtype=torch.float64)
FOUND = lyapkit.compare(NETWORK, OTHER, INPUTS, rng=0)
SAME = lyapkit.compare(NETWORK, NETWORK, INPUTS, rng=0)


def judged(differs: bool = True, settled: bool = True) -> xr.Dataset:
    """A comparison of four exponents and three subspaces whose every verdict is known."""
    ds = FOUND.isel(exponent=slice(4)).copy(deep=True)
    shift = 1.0 if differs else 0.0
    ds["exponent_difference"][:] = [0.5 * shift, -0.25 * shift, 0.1, 1e-12]
    ds["exponent_difference_low"][:] = [0.5 * shift - 0.1, -0.25 * shift - 0.1, -0.2, 1e-13]
    ds["exponent_difference_high"][:] = [0.5 * shift + 0.1, -0.25 * shift + 0.1, 0.4, 1e-11]
    ds["forward_difference"][:] = 0.0 if settled else 0.1
    ds["alignment_open"][:] = 0.0
    return ds


def bars(ax) -> set[tuple[float, float, float, str]]:
    """What bars show: place, both ends and colour."""
    return {
        (*segment.ravel()[[0, 1, 3]].tolist(), to_hex(color))
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for segment, color in zip(
            collection.get_segments(),
            np.resize(collection.get_color(), (len(collection.get_segments()), 4)),
            strict=True,
        )
    }


def levels(ax) -> list[tuple[float, str]]:
    """The heights and styles of horizontal lines."""
    across = ax.get_yaxis_transform()
    return [(line.get_ydata()[0], line.get_linestyle()) for line in ax.lines if line.get_transform() == across]


def marks(ax) -> dict[str, list[float]]:
    """The places of filled, open and crossed markers, without the legend's."""
    found: dict[str, list[float]] = {"filled": [], "open": [], "crossed": []}
    for line in ax.lines:
        if line.get_marker() in ("o", "x"):
            is_open = line.get_markerfacecolor() == "white"
            kind = "crossed" if line.get_marker() == "x" else "open" if is_open else "filled"
            found[kind] += drawn(line)[0]
    return found


def test_exponents_are_drawn_with_intervals_and_a_line_at_zero() -> None:
    ds = judged()
    left, right = plots.comparison(ds)
    assert left.figure is right.figure
    points = {point for line in left.lines if line.get_marker() == "o" for point in zip(*drawn(line), strict=True)}
    assert points == set(zip([1, 2, 3, 4], ds.exponent_difference.values.tolist(), strict=True))
    blue, grey = to_hex("C0"), to_hex(QUIET)
    low, high = ds.exponent_difference_low.values.tolist(), ds.exponent_difference_high.values.tolist()
    assert bars(left) == {
        (rank, low[rank - 1], high[rank - 1], color)
        for rank, color in ((1, blue), (2, blue), (3, grey), (4, grey))
    }  # fmt: skip
    assert [level for level, _ in levels(left)] == [0]
    assert left.get_ylabel() == r"$\lambda_i^a - \lambda_i^b$ (nats per step)"
    left.figure.canvas.draw()


def test_angles_are_the_largest_of_each_subspace() -> None:
    ds = judged()
    _, right = plots.comparison(ds)
    points = {point for line in right.lines if line.get_marker() == "o" for point in zip(*drawn(line), strict=True)}
    assert points == {(j, float(ds.principal_angle[j - 1, j - 1])) for j in (1, 2, 3)}
    ends = [[float(ds[f"principal_angle_{end}"][j, j]) for end in ("low", "high")] for j in range(3)]
    assert {bar[:3] for bar in bars(right)} == {(j, *ends[j - 1]) for j in (1, 2, 3)}
    assert levels(right) == [(0, "-"), (math.pi / 2, "--")]


CASES = {
    "all kinds": judged(),
    "nothing told": judged(differs=False),
    "unsettled": judged(settled=False),
    "alignment open": judged().assign(alignment_open=FOUND.alignment_open * 0 + 0.5),
    "as measured": FOUND,
    "itself": SAME,
    "one trajectory": lyapkit.compare(NETWORK, OTHER, INPUTS[:, 0], rng=0),
    "a few steps": lyapkit.compare(NETWORK, OTHER, INPUTS[:12, 0], rng=0),
    "single precision": lyapkit.compare(NETWORK.float(), NETWORK.float(), INPUTS.float(), rng=0),
}
NETWORK.double()


@pytest.mark.parametrize("name", CASES)
def test_markers_follow_the_verdicts_of_the_table(name: str) -> None:
    ds = CASES[name]
    table = lyapkit.summary(ds)
    left, right = plots.comparison(ds)
    for ax, row in ((left, "exponent"), (right, "angle of subspace")):
        verdicts = table.verdict[table.index.str.startswith(row)].tolist()
        expected: dict[str, list[float]] = {"filled": [], "open": [], "crossed": []}
        for rank, verdict in enumerate(verdicts, start=1):
            kind = "filled" if verdict == "differs" else "open"
            expected["crossed" if verdict in ("alignment open", "not settled") else kind].append(rank)
        assert marks(ax) == expected
        legend = ax.get_legend()
        texts = [] if legend is None else [text.get_text() for text in legend.get_texts()]
        assert texts == [text for text, kind in zip(MARKS, ("open", "crossed"), strict=True) if expected[kind]]


def test_the_cases_have_every_verdict() -> None:
    said = {verdict for ds in CASES.values() for verdict in lyapkit.summary(ds).verdict}
    assert {"differs", "not told from 0", "equal to rounding", "run too short", "not settled", "alignment open"} <= said


def test_annihilated_directions_are_marked_at_the_edges() -> None:
    rates = torch.tensor([0.9, 0.5]).double(), torch.tensor([0.9, 0.0]).double()
    maps = [lyapkit.as_map(lambda x, s, rate=rate: rate * x + s, state=rate * 0, input=rate * 0) for rate in rates]
    for pair, text, height in ((maps, "inf: annihilated in b", 1.0), (maps[::-1], "-inf: annihilated in a", 0.0)):
        ds = lyapkit.compare(*pair, INPUTS[:60], rng=0)
        ax = exponent_differences(ds)
        (edge,) = [line for line in ax.lines if line.get_label() == text]
        assert drawn(edge) == ([2], [height])
        assert edge.get_transform() == ax.get_xaxis_transform()
        assert marks(ax) == {"filled": [], "open": [1], "crossed": []}
        assert all(np.isfinite(bar[1:3]).all() for bar in bars(ax))
        ax.figure.canvas.draw()


def test_what_does_not_exist_and_unknown_intervals_are_not_drawn() -> None:
    ds = judged()
    ds["principal_angle"][1, 1] = math.nan
    ds["exponent_difference_error"][0] = math.inf
    ds["exponent_difference_low"][0], ds["exponent_difference_high"][0] = -math.inf, math.inf
    left, right = plots.comparison(ds)
    assert marks(right)["filled"] == [1, 3]
    assert marks(left) == {"filled": [2], "open": [1, 3, 4], "crossed": []}
    assert {bar[0] for bar in bars(left)} == {2, 3, 4}


def test_several_comparisons_have_a_colour_each_and_the_marks_are_explained_last() -> None:
    figure, axes = plt.subplots(1, 2)
    left, right = plots.comparison({"itself": SAME, "other": judged()}, axes=axes)
    assert (left, right) == tuple(axes)
    assert {bar[3] for bar in bars(left)} == {to_hex("C0"), to_hex("C1")}
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["itself", "other", "not told from 0"]
    assert [level for level, _ in levels(right)] == [0, math.pi / 2]
    assert plt.get_fignums() == [figure.number]
    with plt.style.context("lyapkit.plots.paper"):
        left, _ = plots.comparison({"itself": SAME, "other": FOUND, "third": FOUND})
    assert left.figure.get_size_inches().tolist() == [7.08, 2.6]
    left.figure.canvas.draw()


def test_mistakes_are_named_and_leave_no_figure() -> None:
    for given, options, error, message in (
        (lyapkit.states(NETWORK, INPUTS), {}, ValueError, "draws the result of compare, got states"),
        ({"one": FOUND, "two": xr.Dataset()}, {}, ValueError, "without provenance"),
        ({}, {}, ValueError, "nothing to draw"),
        ({"one": FOUND}, {"label": "x"}, TypeError, "label= names one result"),
        (FOUND, {"axes": [1]}, ValueError, "axes must be two, for exponents and angles, got 1"),
        (FOUND, {"axes": [1, 2]}, TypeError, "must be the Axes to draw on, got int"),
        (FOUND, {"zordre": 3}, TypeError, "comparison has no argument 'zordre'; did you mean zorder="),
        (FOUND.drop_vars("principal_angle"), {}, ValueError, "no variable principal_angle"),
    ):
        with pytest.raises(error, match=message):
            plots.comparison(given, **options)
        assert plt.get_fignums() == []


def test_an_overview_draws_both_panels_of_a_comparison() -> None:
    tree = xr.DataTree.from_dict({"compare": FOUND, "states": lyapkit.states(NETWORK, INPUTS)})
    axes = plots.overview(tree)
    assert [ax.get_title() for ax in axes] == ["compare", "compare", "states"]
    assert [ax.get_xlabel() for ax in axes[:2]] == ["rank of the exponent", "number of leading vectors $j$"]
    both = plots.overview({"one": tree, "two": tree})
    assert {"one", "two"} <= {text.get_text() for text in both[1].get_legend().get_texts()}
