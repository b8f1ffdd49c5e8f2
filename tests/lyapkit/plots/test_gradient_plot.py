"""Fitted, measured and predicted slopes in the plot of gradient norms."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from lyapkit import gradient_propagation, plots
from lyapkit.results import make_dataset
from steps import Steps


def result(rate: float = -0.5, error: float = 0.012, **changes: float) -> xr.Dataset:
    norms = np.exp(np.array([[[-1.5, -1.0, -0.5, 0.0], [-1.0, -0.5, 0.0, 0.5]]]))
    values = {
        "gradient_norm": norms,
        "growth_rate": np.array([[rate, -0.25]]),
        "growth_rate_error": np.array([[error, 0.25]]),
        "growth_offset": np.array([[changes.pop("offset", 0.0), 0.5]]),
        "leading_exponent": np.array([-0.4, -0.3]),
        "leading_exponent_error": np.array([3e-4, 0.0]),
        "predicted_rate": np.asarray(-1.0),
    }
    labels = {"norm": ["2"], "trajectory": [0, 1], "step": [1, 2, 3, 4]}
    return make_dataset("gradient_propagation", values, labels, {})


def test_slopes_start_at_the_end_of_the_fitted_line_and_say_their_errors(ax) -> None:
    assert plots.gradient_propagation(result(), norm=2, slopes=0, ax=ax) is ax
    norm, fit, exponent, predicted = ax.lines
    back = np.array([3, 2, 1, 0])
    np.testing.assert_allclose(norm.get_ydata(), np.exp(-0.5 * back))
    for line, rate, style in ((fit, -0.5, "-"), (exponent, -0.4, "--"), (predicted, -1.0, ":")):
        assert line.get_xdata().tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(line.get_ydata(), np.exp(rate * back))
        assert line.get_linestyle() == style
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "fit: \N{MINUS SIGN}0.50(1)", "leading exponent: \N{MINUS SIGN}0.4000(3)", "predicted: \N{MINUS SIGN}1.00000",
    ]  # fmt: skip
    assert ax.get_legend().get_title().get_text() == "nats per step back"


def test_the_trajectory_asked_for_is_drawn_alone(ax) -> None:
    plots.gradient_propagation(result(), norm=2, slopes=1, ax=ax)
    norm, fit, exponent, _ = ax.lines
    back = np.array([3, 2, 1, 0])
    np.testing.assert_allclose(norm.get_ydata(), np.exp(0.5 - 0.5 * back))
    np.testing.assert_allclose(fit.get_ydata(), np.exp(0.5 - 0.25 * back))
    np.testing.assert_allclose(exponent.get_ydata(), np.exp(0.5 - 0.3 * back))
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == [
        "fit: \N{MINUS SIGN}0.2(2)", "leading exponent: \N{MINUS SIGN}0.300000(0)",
    ]  # fmt: skip


def test_what_is_not_there_or_has_no_line_is_left_out(ax) -> None:
    few = result().drop_vars(["predicted_rate", "leading_exponent", "leading_exponent_error"])
    plots.gradient_propagation(few, norm=2, slopes=0, ax=ax)
    assert len(ax.lines) == 2
    gone = plt.figure().add_subplot()
    plots.gradient_propagation(result(rate=-math.inf, error=0.0, offset=-math.inf), norm=2, slopes=0, ax=gone)
    assert len(gone.lines) == 1
    assert gone.get_legend() is None
    unknown = plt.figure().add_subplot()
    plots.gradient_propagation(result(error=math.inf), norm=2, slopes=0, ax=unknown)
    assert unknown.get_legend().get_texts()[0].get_text() == "fit: \N{MINUS SIGN}0.50000"


def test_without_slopes_nothing_is_added(ax) -> None:
    plots.gradient_propagation(result(), norm=2, ax=ax)
    assert len(ax.lines) == 2
    assert ax.get_legend() is None


def test_a_trajectory_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="trajectory must be one of 0, 1; got 2"):
        plots.gradient_propagation(result(), norm=2, slopes=2)
    assert not plt.get_fignums()


def test_lines_that_leave_the_range_of_floats_are_cut(ax) -> None:
    map = Steps(lambda x: 0.25 * x)
    ds = gradient_propagation(
        map, None, torch.ones(1, 2), lambda o, y: (o * y).sum(), readout=nn.Identity(), steps=1000, norms=2, rng=0,
        initial_state=torch.ones(2).double(),
    )  # fmt: skip
    plots.gradient_propagation(ds, norm=2, slopes=0, ax=ax)
    ax.figure.canvas.draw()  # without warnings
    fit = ax.lines[1].get_ydata()
    assert np.isnan(fit[0])
    assert np.isfinite(fit[-500:]).all()
