"""Fig. 2: learning on sMNIST, exponents, Hessian eigenvalues and gradient norms against the residual strength."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.exponents import exponents_over_time, measured_over_time, named_over_time
from figures.marks import learning_curve, legend_entries, margin_label, partly_at_chance
from figures.protocols import STRENGTH_CLASSES
from figures.scales import logarithmic
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, set_caption, side_by_side, strength_color, strength_label
from lyapkit import plots

EXPONENTS = 20  # shown, as in the paper; there they are chosen at random, here evenly over the ranks
SLOW: dict[str, Any] = {"linestyle": (0, (4, 1.5)), "linewidth": 0.8}


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: test accuracy over training. B: exponents over time, a column for each network. C: Hessian ranks.

    D: gradient norms back in time. B, C and D are before training; in B, the grey line is the edge of chaos, and log r
    is dashed. In C, open circles are negative eigenvalues.
    """
    tree, slow = data["residual_strength"], data["smaller_learning_rate"]
    figure, (learning, exponents, curvature, gradients) = panels(2, 2)
    training, slower = tree["training"].to_dataset(), slow["training"].to_dataset().isel(learning_rate=0)
    crosses = _learning(training, slower, learning)
    running = measured_over_time(tree)
    shown = (running, "hessian_spectrum", "gradient_propagation")
    untrained = {name: tree[name].to_dataset().isel(seed=0, checkpoint=0) for name in shown}
    strengths = classes(untrained[running])
    columns = side_by_side(exponents, len(strengths))
    for r, ax in zip(strengths, columns, strict=True):
        one, color = {name: dataset.sel(r=r) for name, dataset in untrained.items()}, strength_color(r)
        exponents_over_time(ax, one[running], running, EXPONENTS, [np.log(r)], f"$r={r:g}$", color=color)
        plots.hessian_spectrum(one["hessian_spectrum"], ax=curvature, color=color)
        plots.gradient_propagation(one["gradient_propagation"], ax=gradients, color=color, lines=8)
    columns[0].set_ylabel("exponent (nats per step)")
    margin_label(columns[-1], 0.0, "edge of\nchaos")
    curvature.set_ylabel(r"Hessian eigenvalue $|\lambda|$")
    for ax in (curvature, gradients):
        logarithmic(ax)
    _legend(figure, learning, training, slower)
    alike = slower.sizes["seed"] == training.sizes["seed"]
    spread = over_seeds({"A": training} if alike else {"A, solid": training, "A, dashed": slower})
    parts = [partly_at_chance(each, f"eta = {_rate(each):g}, r") for each in (training, slower)]
    note = notes(spread, "A, crosses: diverged" * bool(crosses), *parts, "B\N{EN DASH}D: untrained, first seed")
    set_caption(figure, [tree, slow], notes(note, named_over_time(running, "B")))
    return figure


def classes(dataset: xr.Dataset) -> list[float]:
    """Return the residual strengths that are shown: those of the paper, and 1 where it was measured."""
    return sorted({*STRENGTH_CLASSES, *{1.0}.intersection(dataset.r.values.tolist())})


def _learning(training: xr.Dataset, slow: xr.Dataset, ax: Axes) -> int:
    """Returns the number of diverged runs."""
    crosses = 0
    for r in classes(training):
        crosses += learning_curve(ax, training.sel(r=r), strength_color(r), strength_label(r))
        if r in slow.r.values:
            crosses += learning_curve(ax, slow.sel(r=r), strength_color(r), **SLOW)
    ax.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
    return crosses


def _rate(training: xr.Dataset) -> float:
    return float(json.loads(training.attrs["config_json"])["learning_rate"])


def _legend(figure: Figure, learning: Axes, training: xr.Dataset, slow: xr.Dataset) -> None:
    """Colours above the figure, as they hold for all panels; lines of A in it, where no data are."""
    handles, labels = legend_entries(learning)
    count = len(classes(training))
    figure.legend(handles[:count], labels[:count], loc="outside upper center", ncols=count, fontsize=6)
    lines = [Line2D([], [], color="0.15"), Line2D([], [], color="0.15", **SLOW), *handles[count:]]
    rates = [rf"$\eta={_rate(each):g}$" for each in (training, slow)]
    names = [*rates, *(f"{label}, any $\\eta$" for label in labels[count:])]
    learning.legend(lines, names, loc="upper left", ncols=3, fontsize=6)


SCRIPT = Script("learning and dynamics on sMNIST against r", ("residual_strength", "smaller_learning_rate"), draw)
