"""Plots draw the numbers of the result, on the axes given, and change nothing else."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex
from numpy.testing import assert_array_equal

import lyapkit
from artists import drawn
from lyapkit import plots
from lyapkit.results import make_dataset

STEPS = np.arange(1, 5)
RUNNING = np.array([[[0.5, -1.0, -2.0]] * 3 + [[0.25, -1.5, -math.inf]], [[0.1, 0.0, -0.5]] * 4])  # (2, 4, 3)
NORMS = np.array([[[4.0, 2.0, 1.0, 0.0], [1.0, math.inf, 3.0, 5.0]], [[8.0, 4.0, 2.0, 1.0], [7.0, 6.0, 5.0, 4.0]]])


def spectrum() -> xr.Dataset:
    exponent = np.array([[0.5, -0.25, -math.inf], [0.75, 0.5, -1.0]])
    error = np.array([[0.1, math.inf, 0.0], [0.01, 0.02, 0.03]])
    return make_dataset(
        "lyapunov_spectrum",
        {"lyapunov_exponent": exponent, "standard_error": error},
        {"trajectory": [0, 1], "exponent": [1, 2, 3]},
        {},
        "unit time",
    )


def finite_time() -> xr.Dataset:
    labels = {"trajectory": [0, 1], "step": STEPS, "exponent": [1, 2, 3]}
    return make_dataset("variational_term", {"running_exponent": RUNNING}, labels, {})


def gradients() -> xr.Dataset:
    labels = {"norm": ["inf", "2"], "trajectory": [0, 1], "step": STEPS}
    return make_dataset("gradient_propagation", {"gradient_norm": NORMS}, labels, {})


def curvature() -> xr.Dataset:
    values = {"eigenvalue": np.array([5.0, -2.0, 1.0, -0.5]), "residual": np.array([0.5, 0.25, 0.0, 0.125])}
    return make_dataset("hessian_spectrum", values, {"rank": [1, 2, 3, 4]}, {})


def covariant() -> xr.Dataset:
    angle = np.array([[[0.1, 1.5], [0.1, 1.5], [0.9, 1.5], [0.1, 0.1]], [[0.9, 1.5]] * 4])
    exponent = np.array([[0.5, 0.2, -1.0], [0.5, -0.4, -1.0]])
    labels = {"trajectory": [0, 1], "step": STEPS, "split": [1, 2], "exponent": [1, 2, 3]}
    return make_dataset("covariant_vectors", {"angle": angle, "covariant_exponent": exponent}, labels, {})


PLOTS = {
    "covariant_vectors": (plots.covariant_vectors, covariant),
    "lyapunov_spectrum": (plots.lyapunov_spectrum, spectrum),
    "variational_term": (plots.variational_term, finite_time),
    "gradient_propagation": (plots.gradient_propagation, gradients),
    "hessian_spectrum": (plots.hessian_spectrum, curvature),
}


def bars(container) -> list[list[list[float]]]:
    return [segment.tolist() for segment in container.get_segments()]


def test_lyapunov_spectrum_draws_exponents_and_errors(ax) -> None:
    plots.lyapunov_spectrum(spectrum(), ax=ax)
    line, zero, annihilated = ax.lines
    assert drawn(line) == ([1, 2], [0.5, -0.25])
    assert drawn(annihilated) == ([3], [0])  # -inf
    assert annihilated.get_transform() == ax.get_xaxis_transform()  # 0 is the lower edge
    (container,) = ax.collections
    assert bars(container) == [[[1, 0.4], [1, 0.6]], [[2, -0.25], [2, -0.25]]]  # nor is an unknown error
    assert zero.get_ydata() == [0, 0]
    assert ax.get_xlabel() == "rank of the exponent"
    assert ax.get_ylabel() == "Lyapunov exponent (nats per unit time)"


@pytest.mark.parametrize("factors", [(0.9, 0.5, 0.0), (0.0, 0.0, 0.0), (0.9,)])
def test_lyapunov_spectrum_shows_every_rank_on_an_axis_of_integers(ax, factors: tuple[float, ...]) -> None:
    scale = torch.tensor(factors, dtype=torch.float64)
    ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(lambda x: scale * x, state=torch.ones_like(scale)), steps=20)
    plots.lyapunov_spectrum(ds, ax=ax)
    size, kept = len(factors), sum(factor > 0 for factor in factors)
    low, high = ax.get_xlim()
    assert low <= 1 <= size <= high
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == list(range(1, size + 1))
    x, values = drawn(ax.lines[0])
    assert x == list(range(1, kept + 1))
    np.testing.assert_allclose(values, np.log(factors[:kept]), rtol=1e-12)
    if kept == size:
        assert (len(ax.lines), ax.get_legend()) == (2, None)
        return
    annihilated = ax.lines[2]
    assert drawn(annihilated)[0] == list(range(kept + 1, size + 1))
    assert annihilated.get_color() == ax.lines[0].get_color()
    plots.lyapunov_spectrum(ds, ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["-inf: annihilated"]  # once for both


def test_annihilated_directions_lie_on_the_axis_of_fractions_too(ax) -> None:
    scale = torch.tensor([0.5, 0.0], dtype=torch.float64)
    ds = lyapkit.lyapunov_spectrum(lyapkit.as_map(lambda x: scale * x, state=torch.ones_like(scale)), steps=20)
    plots.lyapunov_spectrum(ds, ax=ax, fraction_axis=True)
    assert (drawn(ax.lines[0])[0], drawn(ax.lines[2])[0]) == ([0.5], [1.0])


def test_lyapunov_spectrum_of_another_trajectory_in_a_chosen_style(ax) -> None:
    plots.lyapunov_spectrum(spectrum(), ax=ax, trajectory=1, color="r", lw=3, ms=7, ls=":", marker="s", label="name")
    line = ax.lines[0]
    assert drawn(line) == ([1, 2, 3], [0.75, 0.5, -1.0])
    assert (line.get_linewidth(), line.get_markersize(), line.get_linestyle(), line.get_marker()) == (3, 7, ":", "s")
    assert to_hex(line.get_color()) == "#ff0000"
    assert ax.get_legend_handles_labels()[1] == ["name"]


def test_lyapunov_spectrum_takes_a_format_string(ax) -> None:
    plots.lyapunov_spectrum(spectrum(), ax=ax, fmt="s--")
    assert (ax.lines[0].get_marker(), ax.lines[0].get_linestyle()) == ("s", "--")


def test_variational_term_draws_one_line_per_rank(ax) -> None:
    plots.variational_term(finite_time(), ax=ax)
    first, second, third = ax.lines
    assert drawn(first) == ([1, 2, 3, 4], [0.5, 0.5, 0.5, 0.25])
    assert drawn(second) == ([1, 2, 3, 4], [-1.0, -1.0, -1.0, -1.5])
    assert drawn(third) == ([1, 2, 3], [-2.0, -2.0, -2.0])  # -inf is not drawn
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time step $t$", "finite-time exponent (nats per step)")
    assert len({line.get_color() for line in ax.lines}) == 1


@pytest.mark.parametrize(("lines", "ranks"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (100, [0, 1, 2])])
def test_variational_term_spreads_a_limited_number_of_lines(ax, lines: int, ranks: list[int]) -> None:
    plots.variational_term(finite_time(), ax=ax, trajectory=1, lines=lines)
    assert [line.get_ydata()[0] for line in ax.lines] == [RUNNING[1, 0, rank] for rank in ranks]


def test_variational_term_marks_each_distinct_reference_once(ax) -> None:
    plots.variational_term(
        finite_time(), ax=ax, reference=[0.25, -1.0, 0.25, 0.25 + 1e-15], reference_label=r"$\log |\mu|$"
    )
    marks = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in marks] == [-1.0, 0.25]
    (text,) = ax.texts
    assert (text.get_text(), text.xy) == (r"$\log |\mu|$", (1.0, -1.0))


def test_without_references_there_are_no_marks(ax) -> None:
    plots.variational_term(finite_time(), ax=ax, reference_label="unused")
    assert len(ax.lines) == 3
    assert not ax.texts


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_gradient_propagation_draws_one_line_per_trajectory(ax, norm: str) -> None:
    plots.gradient_propagation(gradients(), ax=ax, norm=norm)
    first, second = ax.lines
    if norm == "inf":
        assert drawn(first) == ([1, 2, 3], [4.0, 2.0, 1.0])  # a logarithmic axis has no zero
        assert drawn(second) == ([1, 3, 4], [1.0, 3.0, 5.0])
    else:
        assert drawn(first) == ([1, 2, 3, 4], [8.0, 4.0, 2.0, 1.0])
        assert drawn(second) == ([1, 2, 3, 4], [7.0, 6.0, 5.0, 4.0])
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "time step $t$"
    symbol = r"\infty" if norm == "inf" else "2"
    assert ax.get_ylabel() == rf"gradient norm $\|\mathrm{{d}}L/\mathrm{{d}}x_t\|_{{{symbol}}}$"


def test_gradient_propagation_draws_the_first_trajectories(ax) -> None:
    plots.gradient_propagation(gradients(), ax=ax, norm="2", lines=1)
    assert [drawn(line)[1] for line in ax.lines] == [[8.0, 4.0, 2.0, 1.0]]


def test_hessian_spectrum_draws_magnitudes_signs_and_residuals(ax) -> None:
    plots.hessian_spectrum(curvature(), ax=ax)
    line, negative = ax.lines
    assert drawn(line) == ([1, 2, 3, 4], [5.0, 2.0, 1.0, 0.5])
    assert drawn(negative) == ([2, 4], [2.0, 0.5])
    assert (negative.get_markerfacecolor(), negative.get_markeredgecolor()) == ("white", line.get_color())
    assert negative.get_zorder() > line.get_zorder()
    (container,) = ax.collections
    assert bars(container)[:2] == [[[1, 4.5], [1, 5.5]], [[2, 1.75], [2, 2.25]]]
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "rank of the eigenvalue"
    assert ax.get_ylabel() == r"Hessian eigenvalue $|\lambda|$, open: $\lambda < 0$"


def test_open_markers_follow_the_style_of_the_line(ax) -> None:
    plots.hessian_spectrum(curvature(), ax=ax, c="green", ms=9, marker="^", label="network")
    line, negative = ax.lines
    assert (negative.get_marker(), negative.get_markersize()) == ("^", 9)
    assert to_hex(negative.get_markeredgecolor()) == to_hex("green") == to_hex(line.get_color())
    assert ax.get_legend_handles_labels()[1] == ["network"]


def test_covariant_vectors_draws_the_density_of_angles_at_the_sign_change_of_the_exponents(ax) -> None:
    plots.covariant_vectors(covariant(), ax=ax, bins=2)  # mean exponents +, -, -
    (line,) = ax.lines
    edges, density = line.get_data()
    np.testing.assert_allclose(edges, [0, math.pi / 4, math.pi / 2])
    np.testing.assert_allclose(density[:2] * math.pi / 4, [3 / 8, 5 / 8])  # of both trajectories, integrating to 1
    assert line.get_drawstyle() == "steps-post"
    bottom, top = ax.get_ylim()
    assert bottom == 0
    plots.covariant_vectors(covariant(), ax=ax, bins=30)  # narrower bins, higher densities: still in sight
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > ax.lines[1].get_ydata().max() > top
    assert ax.get_xlabel() == "angle between leading and remaining covariant vectors (rad)"
    assert ax.get_ylabel() == "probability density (1/rad)"


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"trajectory": 0}, 1 / 4),  # exponents +, +, -
        ({"trajectory": 1}, 0),
        ({"trajectory": 0, "split": 1}, 3 / 4),
        ({"split": 2}, 1 / 8),
    ],
)
def test_covariant_vectors_of_one_trajectory_or_another_split(ax, options: dict, share: float) -> None:
    plots.covariant_vectors(covariant(), ax=ax, bins=2, **options)
    assert ax.lines[0].get_ydata()[0] * math.pi / 4 == pytest.approx(share)


def test_covariant_vectors_splits_after_the_first_when_all_contract(ax) -> None:
    ds = covariant()
    ds["covariant_exponent"] -= 1
    plots.covariant_vectors(ds, ax=ax, bins=2, lw=2.5, color="r", label="name")
    line = ax.lines[0]
    assert line.get_ydata()[0] * math.pi / 4 == pytest.approx(3 / 8)
    assert (line.get_linewidth(), to_hex(line.get_color())) == (2.5, "#ff0000")
    assert ax.get_legend_handles_labels()[1] == ["name"]


@pytest.mark.parametrize("name", ["variational_term", "gradient_propagation"])
def test_lines_of_one_call_share_colour_and_label_and_calls_differ(name: str, ax) -> None:
    function, make = PLOTS[name]
    function(make(), ax=ax, label="a")
    count = len(ax.lines)
    function(make(), ax=ax, label="b", lw=2.5)
    function(make(), ax=ax, c="#123456")
    colours = [line.get_color() for line in ax.lines]
    assert [len(set(colours[start : start + count])) for start in (0, count, 2 * count)] == [1, 1, 1]
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    assert (colours[0], colours[count], colours[-1]) == (cycle[0], cycle[1], "#123456")
    assert ax.lines[count].get_linewidth() == 2.5
    assert ax.get_legend_handles_labels()[1] == ["a", "b"]


REFUSALS = {
    "no such trajectory": (lambda: plots.lyapunov_spectrum(spectrum(), trajectory=2), "one of 0, 1; got 2"),
    "trajectory from the end": (lambda: plots.variational_term(finite_time(), trajectory=-1), "one of 0, 1; got -1"),
    "trajectory that was selected away": (
        lambda: plots.lyapunov_spectrum(spectrum().isel(trajectory=[1])),
        "one of 1; got 0",
    ),
    "trajectory dimension selected away": (
        lambda: plots.lyapunov_spectrum(spectrum().isel(trajectory=1)),
        "no trajectory dimension",
    ),
    "no lines": (lambda: plots.variational_term(finite_time(), lines=0), "lines must be at least 1, got 0"),
    "negative lines": (lambda: plots.gradient_propagation(gradients(), lines=-1), "lines must be at least 1, got -1"),
    "no such split": (
        lambda: plots.covariant_vectors(covariant(), split=3),
        "split must be between 1 and 2, got 3",
    ),
    "a single vector": (
        lambda: plots.covariant_vectors(covariant().isel(split=slice(0))),
        "compute k=2 vectors or more",
    ),
    "no bins": (lambda: plots.covariant_vectors(covariant(), bins=0), "bins must be at least 1, got 0"),
    "no trajectory to pool": (
        lambda: plots.covariant_vectors(covariant(), trajectory=2),
        "one of 0, 1; got 2",
    ),
    "no such norm": (
        lambda: plots.gradient_propagation(gradients(), norm="1"),
        r"norm must be one of \['inf', '2'\], got '1'",
    ),
    "no provenance": (lambda: plots.hessian_spectrum(xr.Dataset()), "got a Dataset without provenance"),
}
for _name, (_function, _) in PLOTS.items():
    _other = "hessian_spectrum" if _name != "hessian_spectrum" else "variational_term"
    REFUSALS[f"{_name} of another analysis"] = (
        lambda function=_function, other=_other: function(PLOTS[other][1]()),
        f"draws the result of {_name}, got {_other}",
    )


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong_and_leave_no_figure(name: str) -> None:
    action, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        action()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("given", [None, 3, curvature().eigenvalue])
def test_what_is_no_dataset_is_the_wrong_kind_of_argument(name: str, given) -> None:
    with pytest.raises(TypeError, match=f"the Dataset that {name} returns, got {type(given).__name__}"):
        PLOTS[name][0](given)
    assert plt.get_fignums() == []


def test_many_trajectories_are_named_in_short() -> None:
    many = xr.concat([spectrum().isel(trajectory=[0]).assign_coords(trajectory=[i]) for i in range(20)], "trajectory")
    with pytest.raises(ValueError, match=r"one of 0, 1, 2, 3, 4, \.\.\., 19; got 20"):
        plots.lyapunov_spectrum(many, trajectory=20)


def test_the_style_sheet_embeds_fonts_and_is_left_behind() -> None:
    before = dict(mpl.rcParams)
    with plt.style.context("lyapkit.plots.paper"):
        assert (mpl.rcParams["pdf.fonttype"], mpl.rcParams["ps.fonttype"]) == (42, 42)
        assert mpl.rcParams["svg.fonttype"] == "none"
        assert mpl.rcParams["font.size"] == 7
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0].lstrip("#") == "0072B2"
        for function, make in PLOTS.values():
            function(make()).figure.canvas.draw()
    assert dict(mpl.rcParams) == before


def test_a_real_result_is_drawn_as_it_is(ax) -> None:
    ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=50)
    plots.lyapunov_spectrum(ds, ax=ax)
    assert_array_equal(ax.lines[0].get_ydata(), ds.lyapunov_exponent.values[0])
