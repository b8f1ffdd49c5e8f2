"""Fig. 5: heterogeneous residuals on sMNIST: learning, exponents, Hessian eigenvalues and gradient norms."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.exponents import exponents_over_time, measured_over_time, named_over_time
from figures.marks import learning_curve, legend_entries, margin_label, partly_at_chance
from figures.scales import logarithmic
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, set_caption, side_by_side
from lyapkit import plots

EXPONENTS = 15  # shown, as in the paper; there they are chosen at random, here evenly over the ranks


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: test accuracy over training. B: exponents over time, a column for each width. C: Hessian ranks.

    D: gradient norms back in time. B, C and D are before training; in B, the grey line is the edge of chaos, and the
    logarithms of the ends of the interval of r are dashed. In C, open circles are negative eigenvalues.
    """
    tree = data["heterogeneity"]
    figure, (learning, exponents, curvature, gradients) = panels(2, 2)
    training = tree["training"].to_dataset().squeeze("r")
    r, widths = float(training.r), training.delta_r.values
    crosses = _learning(training, r, learning)
    running = measured_over_time(tree)
    columns = side_by_side(exponents, len(widths))
    for delta_r, color, ax in zip(widths, colors(len(widths)), columns, strict=True):
        untrained = {
            name: tree[name].to_dataset().isel(seed=0, r=0, checkpoint=0).sel(delta_r=delta_r)
            for name in (running, "hessian_spectrum", "gradient_propagation")
        }
        bounds = [np.log(bound) for bound in dict.fromkeys((r - delta_r / 2, r + delta_r / 2))]
        heading = rf"$\delta r={delta_r:g}$"
        exponents_over_time(ax, untrained[running], running, EXPONENTS, bounds, heading, color=color)
        plots.hessian_spectrum(untrained["hessian_spectrum"], ax=curvature, color=color)
        plots.gradient_propagation(untrained["gradient_propagation"], ax=gradients, color=color, lines=8)
    columns[0].set_ylabel("exponent (nats per step)")
    margin_label(columns[-1], 0.0, "edge of\nchaos")
    curvature.set_ylabel(r"Hessian eigenvalue $|\lambda|$")
    for ax in (curvature, gradients):
        logarithmic(ax)
    handles, labels = legend_entries(learning)
    heading = rf"heterogeneity $\delta r$ around $r_0 = {r:g}$"
    figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize=6, title=heading, title_fontsize=6)
    note = notes(over_seeds({"A": training}), "A, crosses: diverged" * bool(crosses))
    untrained_note = "B\N{EN DASH}D: untrained, first seed; B, dashed: $\\log(r_0 \\pm \\delta r / 2)$"
    parts = notes(note, partly_at_chance(training, "delta_r"), untrained_note, named_over_time(running, "B"))
    set_caption(figure, [tree], parts)
    return figure


def colors(count: int) -> list[str]:
    """Of increasing heterogeneity, from dark to light."""
    shades = mpl.colormaps["plasma"](np.linspace(0, 0.85, count))  # the brightest end is hard to see on white
    return [to_hex(shade) for shade in shades]


def name(delta_r: float, r: float) -> str:
    """A width with how far from the centre r_0 = r its half reaches: not as far as the edge of chaos, to it, beyond."""
    reach, distance = delta_r / 2, abs(1 - r)
    if delta_r == 0:
        kind = "homogeneous"
    elif np.isclose(reach, distance):
        kind = "up to the edge of chaos"
    else:
        kind = "moderate" if reach < distance else "strong"
    return f"{delta_r:g}, {kind}"


def _learning(training: xr.Dataset, r: float, ax: Axes) -> int:
    """Returns the number of diverged runs."""
    crosses, widths = 0, training.delta_r.values
    for delta_r, color in zip(widths, colors(len(widths)), strict=True):
        crosses += learning_curve(ax, training.sel(delta_r=delta_r), color, name(delta_r, r))
    ax.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
    return crosses


SCRIPT = Script("heterogeneous residuals on sMNIST", ("heterogeneity",), draw)
