"""Plots of spectral densities and of the two parts of the Hessian."""

import json
import math

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
from lyapkit.results import make_dataset

VALUE = np.array([-1.0, 0.0, 1.0, 2.0])


def density(**changes) -> xr.Dataset:
    values = {
        "density": np.array([1e-9, 1.0, 0.25, 0.125]),
        "density_standard_error": np.array([0.0, 0.25, 0.0625, 0.125]),
        "cumulative_distribution": np.array([0.0, 0.5, 0.75, 1.0]),
        "cumulative_distribution_low": np.array([0.0, 0.25, 0.5, 0.875]),
        "cumulative_distribution_high": np.array([0.125, 0.625, 1.0, 1.0]),
    }
    attributes = {"scale": "linear", "kernel_width": 0.5, "linear_threshold": 0.0, "parameter_count": 10}
    return make_dataset("spectral_density", values, {"value": VALUE}, attributes | changes)


def logarithmic() -> xr.Dataset:
    value = np.array([-50.0, -1.0, 0.0, 1.0, 2e4])
    values = {
        "density_per_decade": np.full(5, 0.25),
        "density_per_decade_standard_error": np.zeros(5),
        "deflated_eigenvalue": np.array([1e4, -3.0]),
    }
    attributes = {"scale": "log", "kernel_width": 0.1, "linear_threshold": 0.01, "parameter_count": 100}
    return make_dataset("spectral_density", values, {"value": value, "rank": [1, 2]}, attributes)


def spectrum(operator: str, values=(4.0, -2.0)) -> xr.Dataset:
    data = {"eigenvalue": np.array(values), "residual": np.full(len(values), 0.5)}
    config = {"config_json": json.dumps({"operator": operator})}
    return make_dataset("hessian_spectrum", data, {"rank": np.arange(1, len(values) + 1)}, config)


def band(container) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of a filled band over `VALUE`."""
    points = container.get_paths()[0].vertices
    edges = [points[np.isclose(points[:, 0], x), 1] for x in VALUE]
    return np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])


@pytest.mark.parametrize("make", [density, logarithmic])
def test_draws_on_the_axes_given_and_changes_nothing_else(make, ax) -> None:
    ds, settings, figures = make(), dict(mpl.rcParams), plt.get_fignums()
    before = ds.copy(deep=True)
    assert plots.spectral_density(ds, ax=ax) is ax
    ax.figure.canvas.draw()  # without warnings
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures
    xr.testing.assert_identical(ds, before)
    assert plots.spectral_density(ds).figure is not ax.figure


def test_a_density_and_two_standard_errors(ax) -> None:
    plots.spectral_density(density(), ax=ax, color="green", label="network")
    floor = 0.1 / (10 * 0.5 * math.sqrt(2 * math.pi))
    (line,) = ax.lines
    assert drawn(line) == ([0.0, 1.0, 2.0], [1.0, 0.25, 0.125])  # what is far below one eigenvalue is not drawn
    low, high = band(ax.collections[0])
    np.testing.assert_allclose(low, [floor, 0.5, 0.125, floor])
    np.testing.assert_allclose(high, [floor, 1.5, 0.375, 0.375])
    assert to_hex(line.get_color()) == to_hex("green")
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] == pytest.approx(floor)
    assert ax.get_ylim()[1] > 1.5
    assert ax.get_legend_handles_labels()[1] == ["network"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"eigenvalue $\lambda$", "spectral density")
    plots.spectral_density(density(parameter_count=1000), ax=ax)  # a smaller single eigenvalue comes into sight
    assert ax.get_ylim()[0] == pytest.approx(floor / 100)


def test_a_cumulative_distribution_and_its_band(ax) -> None:
    plots.spectral_density(density(), ax=ax, cumulative=True)
    assert drawn(ax.lines[0]) == (VALUE.tolist(), [0.0, 0.5, 0.75, 1.0])
    low, high = band(ax.collections[0])
    assert low.tolist() == [0.0, 0.25, 0.5, 0.875]
    assert high.tolist() == [0.125, 0.625, 1.0, 1.0]
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "part of the eigenvalues up to the value"


def test_the_signed_logarithmic_axis_and_deflated_eigenvalues(ax) -> None:
    plots.spectral_density(logarithmic(), ax=ax)
    line, ticks = ax.lines
    assert drawn(line) == ([-50.0, -1.0, 0.0, 1.0, 2e4], [0.25] * 5)
    assert drawn(ticks) == ([1e4, -3.0], [0.0, 0.0])
    assert ticks.get_transform() == ax.get_xaxis_transform()
    assert ax.get_xscale() == "asinh"
    # equal distances on the axis are equal distances in asinh(lambda / 2t)
    position = ax.transData.transform([(x, 1.0) for x in (0.0, 0.02 * math.sinh(1), 0.02 * math.sinh(2))])[:, 0]
    assert position[2] - position[1] == pytest.approx(position[1] - position[0])
    assert ax.xaxis.get_majorticklocs().tolist() == [-1.0, 0.0, 1.0, 100.0, 10000.0]
    assert ax.get_ylabel() == "spectral density per decade"


def test_the_parts_of_the_hessian_side_by_side() -> None:
    parts = [spectrum("hessian"), spectrum("ggn", (4.5, 1.0)), spectrum("residual", (-2.5, 0.5))]
    axes = plots.curvature_split(*parts, color="green")
    assert len({ax.figure for ax in axes}) == 1
    assert [drawn(ax.lines[0])[1] for ax in axes] == [[4.0, 2.0], [4.5, 1.0], [2.5, 0.5]]
    assert [drawn(ax.lines[1])[0] for ax in axes] == [[2], [], [1]]  # open: negative
    assert {to_hex(ax.lines[0].get_color()) for ax in axes} == {to_hex("green")}
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert [ax.get_title() or ax.get_title(loc="left") for ax in axes] == ["Hessian", "= Gauss-Newton", "+ residual"]
    assert [ax.get_ylabel() for ax in axes] == [r"eigenvalue $|\lambda|$, open: $\lambda < 0$", "", ""]
    figure = plt.figure()
    given = figure.subplots(1, 3)
    assert plots.curvature_split(*parts, axes=given) == tuple(given)
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("operator", "expected"), [("hessian", "Hessian"), ("ggn", "Gauss-Newton"), ("residual", "residual")]
)
def test_the_rank_plot_names_the_operator_and_the_signs(operator: str, expected: str, ax) -> None:
    plots.hessian_spectrum(spectrum(operator, (2.0, 1.0)), ax=ax)
    assert ax.get_ylabel() == rf"{expected} eigenvalue $|\lambda|$"
    plots.hessian_spectrum(spectrum(operator), ax=ax)
    plots.hessian_spectrum(spectrum(operator, (2.0, 1.0)), ax=ax)  # the open markers of before are still there
    assert ax.get_ylabel() == rf"{expected} eigenvalue $|\lambda|$, open: $\lambda < 0$"


REFUSALS = {
    "a density of another analysis": (
        lambda: plots.spectral_density(spectrum("hessian")),
        "draws the result of spectral_density, got hessian_spectrum",
    ),
    "parts of another analysis": (
        lambda: plots.curvature_split(spectrum("hessian"), density(), spectrum("residual")),
        "draws the result of hessian_spectrum, got spectral_density",
    ),
    "parts in another order": (
        lambda: plots.curvature_split(spectrum("hessian"), spectrum("residual"), spectrum("ggn")),
        "ggn must be the spectrum of the operator 'ggn', got that of 'residual'",
    ),
    "two axes": (
        lambda: plots.curvature_split(*map(spectrum, ("hessian", "ggn", "residual")), axes=[None, None]),
        "axes must be three, one for each operator, got 2",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong_and_leave_no_figure(name: str) -> None:
    action, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        action()
    assert plt.get_fignums() == []


def test_real_results_are_drawn_in_the_shipped_style() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    batch = torch.randn(9, 3).double(), torch.randn(9, 1).double()
    parts = [lyapkit.hessian_spectrum(model, batch, mse_loss, operator=o, k=6) for o in ("hessian", "ggn", "residual")]
    with plt.style.context("lyapkit.plots.paper"):
        axes = plots.curvature_split(*parts)
        axes[0].figure.canvas.draw()
        drawn = [np.concatenate([line.get_ydata() for line in ax.lines]) for ax in axes]
        assert all(np.isfinite(values).all() for values in drawn)
        largest = [abs(part.eigenvalue.values).max() for part in parts]
        np.testing.assert_allclose([abs(values).max() for values in drawn], largest)
        for scale in ("linear", "log"):
            ds = lyapkit.spectral_density(model, batch, mse_loss, scale=scale, deflate=2)
            for cumulative in (False, True):
                name = "density_per_decade" if scale == "log" else "density"
                name = "cumulative_distribution" if cumulative else name
                ax = plots.spectral_density(ds, cumulative=cumulative)
                ax.figure.canvas.draw()
                height = np.asarray(ax.lines[0].get_ydata())
                seen = np.isfinite(height)
                assert seen.sum() > 10
                np.testing.assert_array_equal(height[seen], ds[name].values[seen])
