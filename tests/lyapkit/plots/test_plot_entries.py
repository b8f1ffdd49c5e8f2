"""One check at the entry of every plot: what is drawn, where, and with which keywords."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit
from artists import drawn
from lyapkit import plots
from lyapkit.plots.comparison import exponent_differences, subspace_angles

GRU = nn.GRU(2, 3).double()
READOUT = nn.Linear(3, 1).double()
HENON = lyapkit.systems.henon().map
INPUTS = torch.randn(12, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BATCH = INPUTS, torch.zeros(2, 1).double()
SPECTRUM = lyapkit.lyapunov_spectrum(GRU, INPUTS)
HESSIAN = lyapkit.hessian_spectrum(GRU, BATCH, mse_loss, readout=READOUT, k=3, rng=0)
COMPARISON = lyapkit.compare(GRU, nn.GRU(2, 4).double(), INPUTS, rng=0)
BY_STEP = lyapkit.curvature_by_step(GRU, BATCH, mse_loss, readout=READOUT, k=2, rng=0)


def along(name: str, ds: xr.Dataset, values=(3, 5)) -> xr.Dataset:
    """Several results put together along a new dimension."""
    return xr.concat([ds] * len(values), name, data_vars="all").assign_coords({name: list(values)})


PLOTS = {
    plots.lyapunov_spectrum: SPECTRUM,
    plots.kaplan_yorke: SPECTRUM,
    plots.running_exponents: SPECTRUM,
    plots.local_growth: SPECTRUM,
    plots.variational_term: lyapkit.variational_term(GRU, INPUTS),
    plots.gradient_propagation: lyapkit.gradient_propagation(GRU, *BATCH, mse_loss, readout=READOUT),
    plots.covariant_vectors: lyapkit.covariant_vectors(GRU, INPUTS),
    plots.hessian_spectrum: HESSIAN,
    plots.spectral_density: lyapkit.spectral_density(GRU, BATCH, mse_loss, readout=READOUT, rng=0),
    plots.curvature_by_step: BY_STEP,
    plots.curvature_between_steps: BY_STEP,
    plots.exponents_over_checkpoints: along("checkpoint", SPECTRUM),
    plots.state_space: lyapkit.states(GRU, INPUTS),
    plots.phase_plane: lyapkit.states(HENON, steps=3, initial_state=torch.rand(6, 2).double()),
    plots.jacobian_eigenvalues: lyapkit.jacobians(GRU, INPUTS),
    exponent_differences: COMPARISON,
    subspace_angles: COMPARISON,
}
COMPARED = [plot for plot in PLOTS if plot is not plots.curvature_between_steps]
PARTS = {name: lyapkit.hessian_spectrum(GRU, BATCH, mse_loss, readout=READOUT, k=3, operator=name, rng=0)
         for name in ("hessian", "ggn", "residual")}  # fmt: skip
TREE = xr.DataTree.from_dict({"before/lyapunov_spectrum": SPECTRUM, "after/lyapunov_spectrum": SPECTRUM})


def split(ds: object, **options) -> object:
    return plots.curvature_split(ds, PARTS["ggn"], PARTS["residual"], **options)


ALL = PLOTS | {split: HESSIAN}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


def test_no_plot_is_forgotten() -> None:
    single = {named(plot) for plot in PLOTS} - {"exponent_differences", "subspace_angles"}
    assert single | {"comparison", "curvature_split", "overview"} == set(plots.__all__)


@pytest.mark.parametrize("plot", PLOTS, ids=named)
def test_draws_on_the_axes_given_and_changes_nothing_else(plot, monkeypatch) -> None:
    for forbidden in ("show", "savefig"):
        monkeypatch.setattr(plt, forbidden, lambda *_, **__: pytest.fail("a plot neither shows nor saves"))
    ds, (_, ax) = PLOTS[plot], plt.subplots()
    settings, figures, before = dict(mpl.rcParams), plt.get_fignums(), ds.copy(deep=True)
    assert plot(ds, ax=ax) is ax
    assert ax.has_data()
    assert ax.figure.axes == [ax] or plot is plots.curvature_between_steps  # which has a colour bar
    ax.figure.canvas.draw()  # without warnings
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures
    xr.testing.assert_identical(ds, before)


@pytest.mark.parametrize("plot", PLOTS, ids=named)
def test_makes_one_figure_where_no_axes_are_given(plot) -> None:
    first, second = plot(PLOTS[plot]), plot(PLOTS[plot])
    assert first.figure is not second.figure
    assert plt.get_fignums() == [first.figure.number, second.figure.number]


@pytest.mark.parametrize("plot", ALL, ids=named)
@pytest.mark.parametrize("dim", ["seed", "net"])
def test_several_results_in_one_are_refused_by_their_dimension(plot, dim: str) -> None:
    with pytest.raises(ValueError, match=rf"2 results along the dimension '{dim}', .*\.isel\({dim}=0\), or draw each"):
        plot(along(dim, ALL[plot]))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("plot", PLOTS, ids=named)
def test_the_remedies_draw_what_the_result_itself_draws(plot) -> None:
    def lines(result: object) -> list:
        return [drawn(line) for line in plot(result).lines]

    ds = PLOTS[plot]
    expected = lines(ds)
    assert expected or plot is plots.curvature_between_steps
    assert lines(along("seed", ds).isel(seed=0)) == expected
    assert lines(along("seed", ds).isel(seed=1)) == expected
    assert lines(along("seed", ds, [7])) == expected  # there is no choice
    assert lines(xr.DataTree(ds)) == expected
    assert lines(xr.DataTree.from_dict({"before/result": ds})["before/result"]) == expected
    assert lines(ds.transpose(*reversed(list(ds.sizes)))) == expected


def test_a_node_of_analyze_is_drawn() -> None:
    tree = lyapkit.analyze(GRU, *BATCH, mse_loss, readout=READOUT, hessian_k=2, rng=0)
    for name, node in tree.children.items():
        assert getattr(plots, name)(node).get_ylabel()


def test_the_parts_of_the_hessian_are_drawn_from_nodes() -> None:
    first, _, _ = plots.curvature_split(*(xr.DataTree(part) for part in PARTS.values()))
    assert drawn(first.lines[0])[1] == abs(PARTS["hessian"].eigenvalue.values).tolist()


OTHERS = {
    "a tree": (TREE, ValueError, "got a tree with the nodes before, after; "),
    "a list": ([SPECTRUM], TypeError, "got list; (draw them one by one|give them names)"),
    "a variable": (SPECTRUM.lyapunov_exponent, TypeError, "got DataArray; pass the whole Dataset"),
    "a path": ("x.nc", TypeError, r"got str; read the file first, with lyapkit\.load"),
    "nothing": (None, TypeError, "got NoneType; pass the Dataset itself"),
    "another analysis": (xr.Dataset(attrs={"analysis": "power_spectrum"}), ValueError, "got power_spectrum"),
    "no provenance": (xr.Dataset(), ValueError, "without provenance, .*keep_attrs=True"),
}


@pytest.mark.parametrize("plot", ALL, ids=named)
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_result_is_refused(plot, name: str) -> None:
    given, error, message = OTHERS[name]
    with pytest.raises(error, match=message):
        plot(given)
    assert plt.get_fignums() == []


def test_the_remedy_for_a_tree_names_the_node() -> None:
    with pytest.raises(ValueError, match=r"pass one, such as tree\['before/lyapunov_spectrum'\]"):
        plots.lyapunov_spectrum(TREE)
    plots.lyapunov_spectrum(TREE["before/lyapunov_spectrum"])
    with pytest.raises(ValueError, match="none of them is a result of hessian_spectrum"):
        plots.hessian_spectrum(TREE)


@pytest.mark.parametrize("plot", PLOTS, ids=named)
def test_what_are_no_axes_is_refused(plot) -> None:
    figure, both = plt.subplots(1, 2)
    for given, message in (
        (both, r"got ndarray; pass one of its axes, such as axes\.flat\[0\]"),
        (figure, r"got Figure; pass figure\.add_subplot\(\)"),
        ("left", "must be the Axes to draw on, got str"),
    ):
        with pytest.raises(TypeError, match=message):
            plot(PLOTS[plot], ax=given)
    with pytest.raises(ValueError, match="axes must be three, one for each operator, got 2"):
        split(HESSIAN, axes=both)
    with pytest.raises(ValueError, match="axes must be three, one for each operator, got 1"):
        split(HESSIAN, axes=3)


@pytest.mark.parametrize("plot", PLOTS, ids=named)
def test_keywords_of_matplotlib_pass_and_others_do_not(plot) -> None:
    if plot is not plots.curvature_between_steps:
        assert plot(PLOTS[plot], color="red", lw=2, label="a", alpha=0.5, zorder=4).lines
    assert plot(PLOTS[plot], rasterized=True)
    with pytest.raises(TypeError, match=f"^{named(plot)} has no argument 'zordre'; did you mean zorder="):
        plot(PLOTS[plot], zordre=3)


def test_keywords_of_single_plots_pass() -> None:
    plots.lyapunov_spectrum(SPECTRUM, fmt="s--", ecolor="red", capsize=2, elinewidth=1)
    image = plots.curvature_between_steps(BY_STEP, cmap="viridis", vmax=2.0).collections or plt.gca().images
    assert image[0].get_cmap().name == "viridis"
    assert image[0].get_clim()[1] == 2.0
    plots.curvature_between_steps(BY_STEP, norm="linear")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plots.running_exponents(SPECTRUM, lines=2.5), TypeError, r"lines must be an integer .* got 2\.5"),
        (lambda: plots.local_growth(SPECTRUM, bins="many"), TypeError, "bins must be an integer .* got 'many'"),
        (lambda: plots.curvature_by_step(BY_STEP, ranks=True), TypeError, "ranks must be an integer .* got True"),
        (lambda: plots.lyapunov_spectrum(SPECTRUM, trajectory=None), ValueError, "one of 0, 1; got None"),
        (lambda: plots.lyapunov_spectrum(SPECTRUM, trajectory=[0, 1]), ValueError, r"one of 0, 1; got \[0, 1\]"),
        (lambda: plots.kaplan_yorke(SPECTRUM, trajectory=np.arange(2)), ValueError, "one of 0, 1; got array"),
        (
            lambda: plots.gradient_propagation(PLOTS[plots.gradient_propagation], norm=None),
            ValueError,
            "norm must be one of .* got None",
        ),
        (
            lambda: plots.lyapunov_spectrum(SPECTRUM.drop_vars("lyapunov_exponent")),
            ValueError,
            "no variable lyapunov_exponent; pass the whole result",
        ),
        (lambda: plots.hessian_spectrum(HESSIAN.isel(rank=0)), ValueError, r"no rank dimension; .*\(rank=\[0\]\)"),
    ],
    ids=range(9),
)  # fmt: skip
def test_other_mistakes_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_one_exponent_needs_no_tuple() -> None:
    first, second = (plots.local_growth(SPECTRUM, exponents=given) for given in (2, (2,)))
    assert drawn(first.lines[0]) == drawn(second.lines[0])


def test_exponents_are_drawn_over_epochs() -> None:
    ax = plots.exponents_over_checkpoints(along("epoch", SPECTRUM, [4, 2]))
    assert ax.get_xlabel() == "epoch"
    mean = SPECTRUM.lyapunov_exponent.mean("trajectory").values
    assert drawn(ax.lines[0]) == ([2.0, 4.0], [mean[0], mean[0]])
    both = along("epoch", along("checkpoint", SPECTRUM))
    with pytest.raises(ValueError, match="2 results along the dimension 'epoch'"):
        plots.exponents_over_checkpoints(both)
    with pytest.raises(ValueError, match="no epoch dimension with a coordinate; give each result its epoch"):
        plots.exponents_over_checkpoints(along("epoch", SPECTRUM).drop_vars("epoch"))


@pytest.mark.parametrize("plot", COMPARED, ids=named)
def test_several_results_are_drawn_under_their_names(plot) -> None:
    alone = plot(PLOTS[plot])
    ax = plot({"one": PLOTS[plot], "two": PLOTS[plot]})
    assert plt.get_fignums() == [alone.figure.number, ax.figure.number]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [name for name in names if name in ("one", "two")] == ["one", "two"]
    assert len(set(names)) == len(names)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (alone.get_xlabel(), alone.get_ylabel())
    assert {to_hex("C0"), to_hex("C1")} <= {line.get_color() for line in ax.lines}
    shared = plt.figure().add_subplot()
    assert plot({"one": PLOTS[plot]}, ax=shared) is shared


@pytest.mark.parametrize("plot", COMPARED, ids=named)
def test_colours_stay_when_the_style_is_left(plot) -> None:
    with plt.style.context("lyapkit.plots.paper"):
        ax = plot({"one": PLOTS[plot], "two": PLOTS[plot]})
    colors = {to_hex(line.get_color()) for line in ax.lines}
    assert {"#0072b2", "#d55e00"} <= colors
    assert not {"#1f77b4", "#ff7f0e"} & colors  # those of the default style


@pytest.mark.parametrize("plot", COMPARED, ids=named)
def test_results_to_compare_are_checked(plot) -> None:
    for given, options, error, message in (
        ({}, {}, ValueError, "nothing to draw: the dictionary of results is empty"),
        ({1: PLOTS[plot]}, {}, TypeError, "names of results to compare must be texts, got 1"),
        ({"one": PLOTS[plot]}, {"label": "x"}, TypeError, "label= names one result"),
        ({"one": PLOTS[plot], "two": xr.Dataset()}, {}, ValueError, "without provenance"),
    ):
        with pytest.raises(error, match=message):
            plot(given, **options)
        assert plt.get_fignums() == []


@pytest.mark.parametrize("plot", COMPARED, ids=named)
def test_plots_of_several_results_want_their_names(plot) -> None:
    for several in ([PLOTS[plot]] * 2, (PLOTS[plot],)):
        with pytest.raises(TypeError, match=r"got (list|tuple); give them names, {name: result}\."):
            plot(several)


def test_matrices_to_compare_have_axes_of_their_own_and_the_same_colours() -> None:
    other = BY_STEP.assign(step_to_step_curvature=3 * BY_STEP.step_to_step_curvature)
    axes = plots.curvature_between_steps({"one": BY_STEP, "two": xr.DataTree(other)}, rank=2)
    assert [ax.get_title(loc="center") or ax.get_title(loc="left") for ax in axes] == ["one", "two"]
    assert len({ax.figure for ax in axes}) == 1
    largest = abs(other.step_to_step_curvature.sel(rank=2).values[:-1, :-1]).max()
    for ax, ds in zip(axes, (BY_STEP, other), strict=True):
        (image,) = ax.collections
        np.testing.assert_array_equal(image.get_array(), ds.step_to_step_curvature.sel(rank=2).values[:-1, :-1])
        assert image.get_clim() == (-largest, largest)
        assert ax.get_xlabel() == "time step $t$"
    given = plt.subplots(1, 2)[1]
    assert list(plots.curvature_between_steps({"one": BY_STEP, "two": other}, ax=given, norm="linear")) == list(given)
    assert given[0].collections[0].get_clim() != given[1].collections[0].get_clim()  # the norm's own
    (only,) = plots.curvature_between_steps({"one": BY_STEP}, vmax=2.0)
    assert only.collections[0].get_clim() == (-2.0, 2.0)
    only.figure.canvas.draw()
    plt.close("all")
    for results, options, error, message in (
        ({}, {}, ValueError, "nothing to draw"),
        ({1: BY_STEP}, {}, TypeError, "must be texts, got 1"),
        ({"one": BY_STEP, "two": SPECTRUM}, {}, ValueError, "got lyapunov_spectrum"),
        ({"one": BY_STEP, "two": BY_STEP}, {"rank": 9}, ValueError, r"rank must be one of \[1, 2\], got 9"),
        ({"one": BY_STEP, "two": BY_STEP}, {"ax": [1]}, ValueError, "ax must be 2 axes, one for each result, got 1"),
        ({"one": BY_STEP, "two": BY_STEP}, {"ax": [1, 2]}, TypeError, "must be the Axes to draw on, got int"),
    ):
        with pytest.raises(error, match=message):
            plots.curvature_between_steps(results, **options)
        assert plt.get_fignums() == []


def test_splits_to_compare_share_the_three_axes() -> None:
    named_parts = [{"one": part, "two": part.assign(eigenvalue=2 * part.eigenvalue)} for part in PARTS.values()]
    axes = plots.curvature_split(*named_parts)
    for ax, part in zip(axes, PARTS.values(), strict=True):
        lines = [drawn(line)[1] for line in ax.lines if line.get_label() in ("one", "two")]
        assert lines == [abs(part.eigenvalue.values).tolist(), (2 * abs(part.eigenvalue.values)).tolist()]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["one", "two"]
    assert [ax.get_legend() for ax in axes[1:]] == [None, None]
    plt.close("all")
    first, *others = named_parts
    for given, options, error, message in (
        ((PARTS["hessian"], *others), {}, TypeError, "three results, or three dictionaries of the same names"),
        (({"one": first["one"]}, *others), {}, ValueError, "must have the same names, got one beside one, two"),
        (({}, {}, {}), {}, ValueError, "nothing to draw"),
        (named_parts, {"label": "x"}, TypeError, "label= names one result"),
        (
            (first, first, first),
            {},
            ValueError,
            "ggn must be the spectrum of the operator 'ggn', got that of 'hessian'",
        ),
    ):
        with pytest.raises(error, match=message):
            plots.curvature_split(*given, **options)
        assert plt.get_fignums() == []


@pytest.mark.parametrize("plot", [plots.lyapunov_spectrum, plots.hessian_spectrum, exponent_differences], ids=named)
def test_ranks_have_ticks_from_one(plot) -> None:
    ds = PLOTS[plot]
    dim = "rank" if plot is plots.hessian_spectrum else "exponent"
    many = xr.concat([ds] * 12, dim, data_vars="minimal", coords="minimal", compat="override")
    many = many.assign_coords({dim: np.arange(1, many.sizes[dim] + 1)}).assign_attrs(ds.attrs)
    ax = plot(many)
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert low < 0
    assert len(ticks) >= 3
    assert ticks[0] >= 1
    assert all(tick == int(tick) for tick in ticks)
