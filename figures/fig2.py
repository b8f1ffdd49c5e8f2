"""Fig. 2: learning on sMNIST, exponents, Hessian eigenvalues and gradient norms against the residual strength."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.marks import mark_diverged
from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import band, caption_line, notes, over_seeds, panels, strength_color, strength_label
from lyapkit import plots

EXPONENTS = 20  # shown, as in the paper; there they are chosen at random, here evenly over the ranks


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: accuracy. B: exponents of the variational term. C: Hessian ranks. D: gradient norms. B-D before training."""
    tree = data["residual_strength"]
    figure, (learning, exponents, curvature, gradients) = panels(2, 2)
    slow = data["smaller_learning_rate"]
    training, slower = (each["training"].to_dataset() for each in (tree, slow))
    crosses = _learning(training, slower, learning)
    seed = tree["variational_term"].seed.values[0]
    for r in STRENGTH_CLASSES:
        untrained = {
            name: node.to_dataset().sel(seed=seed, r=r).isel(checkpoint=0)
            for name, node in tree.children.items()
            if name != "training"
        }
        color = strength_color(r)
        plots.variational_term(untrained["variational_term"], ax=exponents, lines=EXPONENTS, color=color)
        exponents.axhline(np.log(r), color=color, linewidth=0.8, linestyle=(0, (4, 2)))
        plots.hessian_spectrum(untrained["hessian_spectrum"], ax=curvature, color=color)
        plots.gradient_propagation(untrained["gradient_propagation"], ax=gradients, color=color, lines=8)
    exponents.annotate("dashed: $\\log r$", (0.98, 0.4), xycoords="axes fraction", ha="right")
    alike = slower.sizes["seed"] == training.sizes["seed"]
    spread = over_seeds({"A": training} if alike else {"A, solid": training, "A, dotted": slower})
    note = notes(spread, "A, crosses: diverged" * bool(crosses), "B\N{EN DASH}D: untrained, first seed")
    caption_line(figure, [tree, slow], note)
    return figure


def _learning(training: xr.Dataset, slow: xr.Dataset, ax: Axes) -> int:
    """Returns the number of diverged runs."""
    for r in STRENGTH_CLASSES:
        color = strength_color(r)
        band(ax, training.iteration, training.test_metric.sel(r=r), color=color, label=strength_label(r))
        slower = slow.test_metric.sel(r=r).isel(learning_rate=0)
        band(ax, slow.iteration, slower, color=color, linestyle=(0, (2, 1)), linewidth=0.8)
    crosses = sum(
        mark_diverged(ax, each.sel(r=r), strength_color(r))
        for each in (training, slow.isel(learning_rate=0))
        for r in STRENGTH_CLASSES
    )
    rates = [json.loads(each.attrs["config_json"])["learning_rate"] for each in (training, slow)]
    ax.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1.25), yticks=np.arange(0, 1.1, 0.2))
    ax.legend(loc="upper left", ncols=2, fontsize=6, title=f"$\\eta={rates[0]:g}$; dotted: $\\eta={rates[1]:g}$")
    return crosses


SCRIPT = Script("learning and dynamics on sMNIST against r", ("residual_strength", "smaller_learning_rate"), draw)
