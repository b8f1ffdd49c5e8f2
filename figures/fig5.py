"""Fig. 5: heterogeneous residuals on sMNIST: learning, exponents, Hessian eigenvalues and gradient norms."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.marks import margin_label, mark_diverged
from figures.scripts import Script
from figures.style import band, caption_line, notes, over_seeds, panels
from lyapkit import plots

EXPONENTS = 15  # shown, as in the paper; there they are chosen at random, here evenly over the ranks


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: accuracy. B: exponents of the variational term. C: Hessian ranks. D: gradient norms. B-D before training."""
    tree = data["heterogeneity"]
    figure, (learning, exponents, curvature, gradients) = panels(2, 2)
    training = tree["training"].to_dataset().squeeze("r")
    r, widths = float(training.r), training.delta_r.values
    crosses = _learning(training, r, learning)
    for delta_r, color in zip(widths, colors(len(widths)), strict=True):
        untrained = {
            name: node.to_dataset().isel(seed=0, r=0, checkpoint=0).sel(delta_r=delta_r)
            for name, node in tree.children.items()
            if name != "training"
        }
        plots.variational_term(untrained["variational_term"], ax=exponents, lines=EXPONENTS, color=color)
        for bound in dict.fromkeys((r - delta_r / 2, r + delta_r / 2)):
            exponents.axhline(np.log(bound), color=color, linewidth=0.8, linestyle=(0, (4, 2)))
        plots.hessian_spectrum(untrained["hessian_spectrum"], ax=curvature, color=color)
        plots.gradient_propagation(untrained["gradient_propagation"], ax=gradients, color=color, lines=8)
    exponents.axhline(0.0, color="0.15", linewidth=0.8, zorder=1)
    margin_label(exponents, 0.0, "edge of\nchaos")
    handles, labels = learning.get_legend_handles_labels()
    title = rf"heterogeneity $\delta r$ around $r_0 = {r:g}$"
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=6, title=title, title_fontsize=6)
    note = notes(over_seeds({"A": training}), "A, crosses: diverged" * bool(crosses))
    untrained_note = "B\N{EN DASH}D: untrained, first seed; B, dashed: $\\log(r_0 \\pm \\delta r / 2)$"
    caption_line(figure, [tree], notes(note, untrained_note))
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
        chosen = training.sel(delta_r=delta_r)
        band(ax, chosen.iteration, chosen.test_metric, color=color, label=name(delta_r, r))
        crosses += mark_diverged(ax, chosen, color)
    ax.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
    return crosses


SCRIPT = Script("heterogeneous residuals on sMNIST", ("heterogeneity",), draw)
