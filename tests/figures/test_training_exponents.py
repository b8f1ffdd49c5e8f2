"""Exponents over training: what is drawn is what the result file holds."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from figures.protocols import STRENGTH_CLASSES
from figures.training_exponents import draw
from training_results import footnote, training

CHECKPOINTS = [0, 100, 300, 938]
DIMS = ("seed", "r", "checkpoint", "trajectory", "exponent")


def tree(seeds: int, trajectories: int) -> xr.DataTree:
    center = np.log(STRENGTH_CLASSES)[:, None, None, None]
    shape = (seeds, 4, 4, trajectories, 5)
    spread = np.array([0.004, 0.002, 0.0, -0.001, -0.003])
    wider = (1 + 0.1 * np.arange(4))[:, None, None]
    instance = 1e-4 * np.arange(seeds)[:, None, None, None, None]
    exponent = np.broadcast_to(center + wider * spread + instance, shape)
    spectrum = xr.Dataset(
        {"lyapunov_exponent": (DIMS, exponent), "standard_error": (DIMS, np.full(shape, 2e-4))},
        {"seed": range(seeds), "r": list(STRENGTH_CLASSES), "checkpoint": CHECKPOINTS},
    )
    bound = np.broadcast_to(0.012 * (1 + np.arange(4))[:, None], (seeds, 4, 4, 5))
    low = center[:, 0] - bound
    low[..., -1, :] = -np.inf
    network = xr.Dataset(
        {
            "exponent_lower_bound": (("seed", "r", "checkpoint", "exponent"), low),
            "exponent_upper_bound": (("seed", "r", "checkpoint", "exponent"), center[:, 0] + bound),
        },
        {"seed": range(seeds), "r": list(STRENGTH_CLASSES), "checkpoint": CHECKPOINTS},
    )
    learnt = training({"seed": range(seeds), "r": list(STRENGTH_CLASSES)}, CHECKPOINTS)
    result = xr.DataTree.from_dict({"lyapunov_spectrum": spectrum, "network": network, "training": learnt})
    result.attrs = {"experiment": "residual_strength", "protocol": "cpu", "seeds": seeds, "commit": "0123456789"}
    return result


@pytest.fixture(params=[(1, 1), (2, 3)])
def drawn(request: pytest.FixtureRequest) -> tuple[Figure, int, int]:
    return draw({"residual_strength": tree(*request.param)}), *request.param


def test_values_errors_and_bounds(drawn: tuple[Figure, int, int]) -> None:
    figure, seeds, trajectories = drawn
    shift = 1e-4 * (seeds - 1) / 2
    wider = 1 + 0.1 * np.arange(4)
    for r, ax in zip(STRENGTH_CLASSES, figure.axes, strict=True):
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        for name, value in (("largest", 0.004), ("mean", 0.0004), ("smallest", -0.003)):
            np.testing.assert_allclose(lines[f"{name} exponent"], math.log(r) + wider * value + shift, atol=1e-12)
        fills = [fill.get_paths()[0].vertices for fill in ax.collections]
        error = 2e-4 / math.sqrt(seeds * trajectories)
        largest = fills[0][np.isclose(fills[0][:, 0], 300), 1]
        np.testing.assert_allclose(largest.min(), math.log(r) + 1.2 * 0.004 + shift - error, atol=1e-12)
        np.testing.assert_allclose(largest.max(), math.log(r) + 1.2 * 0.004 + shift + error, atol=1e-12)
        edges = [line for line in ax.lines if line.get_marker() == "_"]
        np.testing.assert_allclose(edges[1].get_ydata(), math.log(r) + 0.012 * np.arange(1, 5), atol=1e-12)
        np.testing.assert_allclose(edges[0].get_ydata()[:3], math.log(r) - 0.012 * np.arange(1, 4), atol=1e-12)
        bounds = fills[-1][np.isclose(fills[-1][:, 0], 100), 1]
        np.testing.assert_allclose([bounds.min(), bounds.max()], math.log(r) + np.array([-0.024, 0.024]), atol=1e-12)
    plt.close(figure)


def test_log_r_is_drawn_and_an_infinite_bound_leaves_the_view(drawn: tuple[Figure, int, int]) -> None:
    figure, _, _ = drawn
    for r, ax in zip(STRENGTH_CLASSES, figure.axes, strict=True):
        assert any(np.allclose(line.get_ydata(), math.log(r)) for line in ax.lines if len(line.get_ydata()) == 2)
        low, high = ax.get_ylim()
        np.testing.assert_allclose([low, high], math.log(r) + 1.2 * np.array([-0.012, 0.012]), rtol=1e-6)
        vertices = ax.collections[-1].get_paths()[0].vertices
        last = vertices[np.isclose(vertices[:, 0], 938), 1]
        assert np.isfinite(last).all()
        assert last.min() < low
        assert ax.get_xscale() == "symlog"
        assert [text.get_text() for text in ax.texts] == ["bounds beyond the axis from iteration 100", r"$\log r$"]
        assert ax.get_xlim()[0] < 0  # points before training are whole
    assert figure.axes[3].get_xlabel() == "training iteration (linear up to 100, logarithmic beyond)"
    assert "lines end" not in footnote(figure)
    assert "protocol cpu" in footnote(figure)
    plt.close(figure)


def test_all_bounds_are_in_view_where_exponents_can_be_told_apart() -> None:
    results = tree(1, 1)
    lower, upper = (results["network"][f"exponent_{side}_bound"] for side in ("lower", "upper"))
    results["network"]["exponent_lower_bound"] = 2 * np.log(lower.r) - upper
    figure = draw({"residual_strength": results})
    for r, ax in zip(STRENGTH_CLASSES, figure.axes, strict=True):
        np.testing.assert_allclose(ax.get_ylim(), math.log(r) + 1.2 * np.array([-0.048, 0.048]), rtol=1e-6)
        assert [text.get_text() for text in ax.texts] == [r"$\log r$"]
    plt.close(figure)


def test_the_caption_says_why_lines_end() -> None:
    results = tree(1, 1)
    exponent = results["lyapunov_spectrum"].lyapunov_exponent.copy()
    exponent[0, 3, 2:] = np.nan
    results["lyapunov_spectrum"]["lyapunov_exponent"] = exponent
    figure = draw({"residual_strength": results})
    assert "lines end where a run diverged" in footnote(figure)
    assert "first seed" in footnote(figure)
    plt.close(figure)


def test_exponents_of_a_network_that_ended_at_chance_are_marked_and_do_not_decide_the_view() -> None:
    results = tree(1, 1)
    results["training"].test_metric.loc[{"r": 1.01, "iteration": 938}] = 0.1
    exponent = results["lyapunov_spectrum"].lyapunov_exponent.copy()
    exponent.loc[{"r": 1.01}] = np.nextafter(math.log(1.01), 1)  # all equal, up to the last bit
    results["lyapunov_spectrum"]["lyapunov_exponent"] = exponent
    figure = draw({"residual_strength": results})
    styles = [{(line.get_gid(), line.get_alpha()) for line in ax.lines[:3]} for ax in figure.axes]
    assert styles == [{(None, None)}] * 3 + [{("at chance", 0.5)}]
    np.testing.assert_allclose(figure.axes[3].get_ylim(), math.log(1.01) + 1.2 * np.array([-0.012, 0.012]), rtol=1e-6)
    assert figure.legends[0].get_texts()[-1].get_text() == "ended at chance"
    plt.close(figure)
