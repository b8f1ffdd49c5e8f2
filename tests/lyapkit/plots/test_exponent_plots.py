"""Plots of spectra in depth draw the numbers of the result, on the axes given, and change nothing else."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

import lyapkit
from artists import drawn
from lyapkit import plots
from lyapkit.results import make_dataset

EXPONENT = np.array([[0.5, -0.25, -1.0], [0.25, 0.0, -math.inf]])
ERROR = np.array([[0.1, 0.05, math.inf], [0.01, 0.02, 0.0]])
GROWTH = np.array(  # (2, 4, 3)
    [
        [[1.0, -0.5, -1.0], [0.0, -0.5, -1.0], [0.5, 0.0, -1.0], [0.5, 0.0, -1.0]],
        [[0.5, 0.0, -math.inf], [0.0, 0.0, -1.0], [0.25, 0.0, -math.inf], [0.25, 0.0, -1.0]],
    ]
)


def spectrum(**changes) -> xr.Dataset:
    running = GROWTH.cumsum(axis=1) / np.arange(1, 5)[:, None]
    values = {
        "lyapunov_exponent": EXPONENT,
        "standard_error": ERROR,
        "local_growth": GROWTH,
        "running_exponent": running,
        "kaplan_yorke_dimension": np.array([2.25, 3.0]),
        "kaplan_yorke_is_lower_bound": np.array([0, 1]),
        "final_state": np.zeros((2, 6)),
    }
    labels = {"trajectory": [0, 1], "step": [3, 4, 5, 6], "exponent": [1, 2, 3], "unit": list("abcdef")}
    return make_dataset("lyapunov_spectrum", values | changes, labels, {}, "unit time")


def contracting() -> xr.Dataset:
    one = {"lyapunov_exponent": EXPONENT - 1, "kaplan_yorke_dimension": np.zeros(2)}
    return spectrum(**one, kaplan_yorke_is_lower_bound=np.zeros(2, dtype=int))


def training(iterations=(0, 100, 50)) -> xr.Dataset:
    parts = [
        spectrum(lyapunov_exponent=EXPONENT - iteration / 100).assign_coords(checkpoint=iteration)
        for iteration in iterations
    ]
    return xr.concat([part[["lyapunov_exponent"]] for part in parts], "checkpoint")


def banded(ds, **options):
    return plots.lyapunov_spectrum(ds, band=True, fraction_axis=True, **options)


PLOTS = {
    "running_exponents": (plots.running_exponents, spectrum),
    "local_growth": (plots.local_growth, spectrum),
    "kaplan_yorke": (plots.kaplan_yorke, spectrum),
    "exponents_over_checkpoints": (plots.exponents_over_checkpoints, training),
    "band": (banded, spectrum),
}


def test_running_exponents_draws_one_line_per_rank(ax) -> None:
    plots.running_exponents(spectrum(), ax=ax, label="name", lw=2)
    first, second, third = ax.lines
    assert drawn(first) == ([3, 4, 5, 6], [1.0, 0.5, 0.5, 0.5])
    assert drawn(second)[1] == pytest.approx([-0.5, -0.5, -1 / 3, -0.25])
    assert drawn(third) == ([3, 4, 5, 6], [-1.0] * 4)
    assert len({line.get_color() for line in ax.lines}) == 1
    assert {line.get_linewidth() for line in ax.lines} == {2}
    assert ax.get_legend_handles_labels()[1] == ["name"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time step $t$", "running exponent (nats per unit time)")


def test_running_exponents_of_a_few_ranks_of_another_trajectory_with_references(ax) -> None:
    plots.running_exponents(
        spectrum(), ax=ax, trajectory=1, lines=2, reference=[0.25, 0.25, 0.0], reference_label="exact"
    )
    first, third, *marks = ax.lines
    assert drawn(first)[1] == [0.5, 0.25, 0.25, 0.25]
    assert drawn(third)[1] == []  # -inf is not drawn
    assert [mark.get_ydata()[0] for mark in marks] == [0.0, 0.25]
    assert [text.get_text() for text in ax.texts] == ["exact"]


def test_local_growth_draws_densities_that_integrate_to_one(ax) -> None:
    plots.local_growth(spectrum(), ax=ax, trajectory=0, exponents=(1, 2), bins=3)  # edges -0.5, 0, 0.5, 1
    first, first_mean, second, second_mean = ax.lines
    assert first.get_drawstyle() == "steps-post"
    assert drawn(first) == ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.5, 0.0])  # 1 of 4 below 0.5, 3 of 4 up to 1
    assert drawn(second) == ([-0.5, -0.5, 0.0, 0.5], [0.0, 1.0, 1.0, 0.0])
    assert [line.get_xdata()[0] for line in (first_mean, second_mean)] == [0.5, -0.25]
    assert (first.get_color(), second.get_color()) == (first_mean.get_color(), second_mean.get_color())
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"$\lambda_{1}$", r"$\lambda_{2}$"]
    assert len(ax.collections) == 2
    assert ax.get_ylim()[0] == 0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("local growth rate (nats per unit time)", "probability density")


def test_local_growth_pools_trajectories(ax) -> None:
    plots.local_growth(spectrum(), ax=ax, bins=2, color="r", label="name", ls=":")  # edges 0, 0.5, 1
    density, mean = ax.lines
    assert drawn(density) == ([0.0, 0.0, 0.5, 1.0], [0.0, 1.0, 1.0, 0.0])
    assert mean.get_xdata()[0] == 0.375
    assert (to_hex(density.get_color()), density.get_linestyle()) == ("#ff0000", ":")
    assert ax.get_legend_handles_labels()[1] == ["name"]
    assert ax.get_legend() is None


def test_local_growth_leaves_out_annihilated_directions(ax) -> None:
    plots.local_growth(spectrum(), ax=ax, trajectory=1, exponents=(3, 2), bins=1)
    density, other, mean = ax.lines  # the exponent -inf has no mark
    x, y = (np.asarray(values) for values in density.get_data())
    assert (np.diff(x) * y[:-1]).sum() == pytest.approx(1)
    assert mean.get_xdata()[0] == 0
    assert other.get_label() == r"$\lambda_{2}$"
    gone = spectrum(local_growth=np.full((2, 4, 3), -math.inf))
    fresh = plots.local_growth(gone)
    assert not fresh.lines
    fresh.figure.canvas.draw()


def test_kaplan_yorke_draws_sums_and_marks_the_dimension(ax) -> None:
    plots.kaplan_yorke(spectrum(), ax=ax, color="g", label="name")
    curve, zero, mark = ax.lines
    assert drawn(curve) == ([0, 1, 2, 3], [0.0, 0.5, 0.25, -0.75])
    assert zero.get_ydata() == [0, 0]
    assert drawn(mark) == ([2.25], [0.0])
    assert np.interp(2.25, *curve.get_data()) == 0  # it is on the curve
    assert (mark.get_markerfacecolor(), mark.get_markeredgecolor()) == ("white", "g")
    assert mark.get_zorder() > curve.get_zorder()
    (text,) = ax.texts
    assert text.get_text() == r"$D_{\mathrm{KY}} = 2.25$"
    assert text.get_ha() == "right"  # below the curve, which is positive to the left
    assert ax.get_ylim() == pytest.approx((-0.525, 0.575))  # the peak is 0.5, the last sum -0.75
    assert ax.get_xlim()[1] == 3  # one beyond the last sum seen
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "number of exponents $j$",
        r"$\lambda_1 + \ldots + \lambda_j$ (nats per unit time)",
    )
    assert ax.get_legend_handles_labels()[1] == ["name"]


def test_kaplan_yorke_says_when_exponents_are_too_few(ax) -> None:
    plots.kaplan_yorke(spectrum(), ax=ax, trajectory=1)
    curve, _ = ax.lines  # no mark
    assert drawn(curve) == ([0, 1, 2], [0.0, 0.25, 0.25])  # -inf is not drawn
    assert ax.texts[0].get_text() == r"$D_{\mathrm{KY}} \geq 3$"


def test_kaplan_yorke_of_a_contracting_map_is_zero(ax) -> None:
    plots.kaplan_yorke(contracting(), ax=ax)
    curve, _, mark = ax.lines
    assert drawn(curve)[1] == [0.0, -0.5, -1.75, -3.75]
    assert drawn(mark) == ([0.0], [0.0])
    assert (ax.texts[0].get_text(), ax.texts[0].get_ha()) == (r"$D_{\mathrm{KY}} = 0$", "left")
    assert ax.get_ylim()[0] < -3.75  # all is seen


def test_kaplan_yorke_of_several_results_shows_each_of_them(ax) -> None:
    plots.kaplan_yorke(spectrum(), ax=ax)
    plots.kaplan_yorke(spectrum(lyapunov_exponent=4 * EXPONENT), ax=ax)
    assert ax.get_ylim() == pytest.approx((-2.1, 2.3))
    assert ax.get_xlim()[1] == 4


def test_exponents_over_checkpoints_draws_means_in_order_of_iterations(ax) -> None:
    plots.exponents_over_checkpoints(training(), ax=ax)
    first, second, third, zero = ax.lines
    assert drawn(first) == ([0, 50, 100], [0.375, -0.125, -0.625])
    assert drawn(second) == ([0, 50, 100], [-0.125, -0.625, -1.125])
    assert drawn(third)[1] == []  # -inf in one trajectory
    assert zero.get_ydata() == [0, 0]
    colors = [to_hex(line.get_color()) for line in (first, second, third)]
    assert colors == [to_hex(mpl.colormaps["viridis"](at)) for at in (0, 0.45, 0.9)]
    (text,) = ax.texts
    assert (text.get_text(), text.xy) == (r"$\lambda_{1}$", (100, -0.625))
    assert text.get_color() is first.get_color()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training iteration", "Lyapunov exponent (nats per unit time)")


def test_exponents_over_checkpoints_of_one_trajectory_in_a_chosen_style(ax) -> None:
    ds = training().transpose("exponent", "trajectory", "checkpoint")
    plots.exponents_over_checkpoints(ds, ax=ax, trajectory=0, lines=2, c="k", lw=2, label="name")
    first, last, _ = ax.lines
    assert drawn(last) == ([0, 50, 100], [-1.0, -1.5, -2.0])
    assert (first.get_color(), last.get_color(), last.get_linewidth()) == ("k", "k", 2)
    assert [text.get_text() for text in ax.texts] == [r"$\lambda_{1}$", r"$\lambda_{3}$"]
    assert ax.get_legend_handles_labels()[1] == ["name"]
    other = plots.exponents_over_checkpoints(ds, cmap="magma")
    assert to_hex(other.lines[0].get_color()) == to_hex(mpl.colormaps["magma"](0.0))


def test_trainings_to_compare_have_a_colour_each(ax) -> None:
    later = training()
    later["lyapunov_exponent"] = later.lyapunov_exponent + 1
    plots.exponents_over_checkpoints({"old": training(), "new": later}, ax=ax, lines=2)
    curves = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert [line.get_color() for line in curves] == [*2 * [to_hex("C0")], *2 * [to_hex("C1")]]
    assert drawn(curves[0])[1] == [0.375, -0.125, -0.625]
    assert drawn(curves[2])[1] == [1.375, 0.875, 0.375]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["old", "new"]
    names = training().assign_coords(trajectory=["left", "right"])
    other = plots.exponents_over_checkpoints(names, lines=1)
    assert [text.get_text() for text in other.get_legend().get_texts()] == ["left", "right"]
    single = training().lyapunov_exponent.sortby("checkpoint").isel(trajectory=1, exponent=0).values.tolist()
    assert drawn(other.lines[2])[1] == single


def test_lyapunov_spectrum_over_the_fraction_of_the_state(ax) -> None:
    plots.lyapunov_spectrum(spectrum(), ax=ax, fraction_axis=True)
    assert drawn(ax.lines[0]) == ([1 / 6, 2 / 6, 3 / 6], [0.5, -0.25, -1.0])  # 3 exponents of 6
    (bars,) = ax.collections
    np.testing.assert_allclose(bars.get_segments()[0], [[1 / 6, 0.4], [1 / 6, 0.6]])
    assert ax.get_xlabel() == "rank of the exponent / state size $i/N$"


@pytest.mark.parametrize("fmt", [None, "s--", "none"])
def test_lyapunov_spectrum_with_a_band(ax, fmt: str | None) -> None:
    plots.lyapunov_spectrum(spectrum(), ax=ax, band=True, **({} if fmt is None else {"fmt": fmt}))
    (band,) = ax.collections  # no bars
    corners = {(float(x), round(float(y), 12)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 0.4), (1, 0.6), (2, -0.3), (2, -0.2), (3, -1.0)}  # an unknown error has no width
    color = "#1f77b4" if fmt == "none" else to_hex(ax.lines[0].get_color())
    assert to_hex(band.get_facecolor()[0]) == color
    assert band.get_alpha() == 0.25
    assert ax.get_xlabel() == "rank of the exponent"


REFUSALS = {
    "no such trajectory": (lambda: plots.running_exponents(spectrum(), trajectory=2), "one of 0, 1; got 2"),
    "no trajectory to pool": (lambda: plots.local_growth(spectrum(), trajectory=2), "one of 0, 1; got 2"),
    "no such trajectory for the dimension": (
        lambda: plots.kaplan_yorke(spectrum(), trajectory=-1),
        "one of 0, 1; got -1",
    ),
    "no such trajectory over training": (
        lambda: plots.exponents_over_checkpoints(training(), trajectory=2),
        "one of 0, 1; got 2",
    ),
    "trajectories averaged away": (
        lambda: plots.exponents_over_checkpoints(training().mean("trajectory", keep_attrs=True)),
        "no trajectory dimension",
    ),
    "trajectory dimension selected away": (
        lambda: plots.local_growth(spectrum().isel(trajectory=0)),
        "no trajectory dimension",
    ),
    "no lines": (lambda: plots.running_exponents(spectrum(), lines=0), "lines must be at least 1, got 0"),
    "no lines over training": (
        lambda: plots.exponents_over_checkpoints(training(), lines=0),
        "lines must be at least 1, got 0",
    ),
    "no such exponent": (
        lambda: plots.local_growth(spectrum(), exponents=(1, 4)),
        r"exponents must be ranks between 1 and 3, got \(1, 4\)",
    ),
    "no exponents": (lambda: plots.local_growth(spectrum(), exponents=()), r"ranks between 1 and 3, got \(\)"),
    "no bins": (lambda: plots.local_growth(spectrum(), bins=0), "bins must be at least 1, got 0"),
    "no state size": (
        lambda: plots.lyapunov_spectrum(spectrum().drop_dims("unit"), fraction_axis=True),
        "no unit dimension, whose size is the state size N",
    ),
    "no checkpoints": (lambda: plots.exponents_over_checkpoints(spectrum()), "no checkpoint dimension"),
    "checkpoints without iterations": (
        lambda: plots.exponents_over_checkpoints(training().drop_vars("checkpoint")),
        "no checkpoint dimension with a coordinate",
    ),
    "checkpoints that are names": (
        lambda: plots.exponents_over_checkpoints(training().assign_coords(checkpoint=["a", "b", "c"])),
        "must hold training iterations, got <U1",
    ),
}
for _name, (_function, _) in PLOTS.items():
    REFUSALS[f"{_name} of another analysis"] = (
        lambda function=_function: function(make_dataset("hessian_spectrum", {}, {}, {})),
        "draws the result of lyapunov_spectrum, got hessian_spectrum",
    )


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong_and_leave_no_figure(name: str) -> None:
    action, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        action()
    assert plt.get_fignums() == []


def test_real_results_are_drawn_in_the_shipped_style() -> None:
    ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=300, qr_interval=1)
    over = xr.concat([ds[["lyapunov_exponent"]].assign_coords(checkpoint=at) for at in (0, 1)], "checkpoint")
    before = dict(mpl.rcParams)
    with plt.style.context("lyapkit.plots.paper"):
        for name, (function, _) in PLOTS.items():
            ax = function(over if name == "exponents_over_checkpoints" else ds)
            ax.figure.canvas.draw()
        curve, _, mark = plots.kaplan_yorke(ds).lines
        assert np.interp(mark.get_xdata()[0], *curve.get_data()) == pytest.approx(0, abs=1e-12)
    assert dict(mpl.rcParams) == before
