"""One check at the entry of every plot: what is drawn, where, and with which keywords."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit
from artists import drawn
from lyapkit import plots

GRU = nn.GRU(2, 3).double()
READOUT = nn.Linear(3, 1).double()
HENON = lyapkit.systems.henon().map
INPUTS = torch.randn(12, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BATCH = INPUTS, torch.zeros(2, 1).double()
SPECTRUM = lyapkit.lyapunov_spectrum(GRU, INPUTS)
HESSIAN = lyapkit.hessian_spectrum(GRU, BATCH, mse_loss, readout=READOUT, k=3, rng=0)
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
    assert {named(plot) for plot in PLOTS} | {"curvature_split", "overview"} == set(plots.__all__)


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
    "a list": ([SPECTRUM], TypeError, "got list; draw them one by one"),
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
    assert {"C0", "C1"} <= {line.get_color() for line in ax.lines}
    shared = plt.figure().add_subplot()
    assert plot({"one": PLOTS[plot]}, ax=shared) is shared


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


@pytest.mark.parametrize("plot", [plot for plot in ALL if plot not in COMPARED], ids=named)
def test_plots_of_one_result_refuse_several(plot) -> None:
    with pytest.raises(TypeError, match="got dict; draw them one by one on the same axes"):
        plot({"a": SPECTRUM})
