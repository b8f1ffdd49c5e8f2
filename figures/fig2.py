"""Fig. 2: learning on sMNIST, exponents, Hessian eigenvalues and gradient norms against the residual strength."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.evidence import Evidence
from figures.marks import crossed, learning_curve, legend_entries, partly_at_chance
from figures.missing import Missing, recorded
from figures.paper import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, strength_color, strength_label
from figures.untrained_panels import draw_untrained

EXPONENTS = 20
"""Number of exponents shown, as in the paper; there they are chosen at random, here evenly over the ranks."""

COMMON: dict[str, Any] = {"linestyle": (0, (4, 1.5)), "linewidth": 0.8}


def draw(results: Evidence) -> Figure:
    """A: test accuracy over training. B: exponents over time, a column for each network. C: Hessian ranks.

    D: gradient norms back in time. A: each network at the learning rate that suits it, and dashed all at a common one.
    B, C and D are before training; in B, the grey line is the edge of chaos, and log r is dashed. C is of the recurrent
    weights and their bias; open circles are negative eigenvalues.
    """
    figure, (learning, exponents, curvature, gradients) = panels(2, 2)
    missing = Missing()
    own, common = results.training("smnist_strength"), results.training("smnist_common_rate")
    lost = [_learning(learning, own, True), _learning(learning, common, False)]
    if all(len(each) == len(STRENGTH_CLASSES) for each in lost):
        missing.panel("A", learning)
    else:
        missing.values("A, at their own learning rates", "r", lost[0])
        missing.values("A, at the common learning rate", "r", lost[1])
        learning.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
        _legend(figure, learning, common)
    drawn = draw_untrained(
        (exponents, curvature, gradients),
        results,
        "smnist_strength",
        "r",
        STRENGTH_CLASSES,
        color=strength_color,
        heading=lambda r: f"$r={r:g}$",
        expected=lambda r: [np.log(r)],
        lines=EXPONENTS,
        missing=missing,
    )
    chosen = own.sel(r=list(STRENGTH_CLASSES))
    parts = [partly_at_chance(chosen, "A, own rate, r"), partly_at_chance(common, "A, common rate, r")]
    spread = over_seeds({"A": recorded(chosen)})
    first = "B\N{EN DASH}D: first instance"
    figure.set_label(notes(spread, crossed(learning), *parts, own_rates(chosen), first, drawn, missing.note()))
    return figure


def own_rates(training: xr.Dataset) -> str:
    """Return the caption's text on learning rates that were chosen for each residual strength."""
    rates = {float(r): float(training.learning_rate.sel(r=r).max()) for r in training.r.values}
    known = ", ".join(f"{rate:g} at r = {r:g}" for r, rate in rates.items() if np.isfinite(rate))
    return f"own learning rates: {known}" if known else ""


def _learning(ax: Axes, training: xr.Dataset, own: bool) -> list[float]:
    """Draw the learning curves; return the residual strengths without any results."""
    lost = []
    for r in STRENGTH_CLASSES:
        label, line = (strength_label(r), {}) if own else (None, COMMON)
        if not learning_curve(ax, training.sel(r=r), strength_color(r), label, **line):
            lost.append(r)
    return lost


def _legend(figure: Figure, learning: Axes, common: xr.Dataset) -> None:
    """Draw the colours above the figure, as they hold for all panels; where A has no data, its lines, too."""
    handles, labels = legend_entries(learning)
    named = [place for place, label in enumerate(labels) if "$r=" in label]
    strengths = [(handles[place], labels[place]) for place in named]
    if strengths:
        figure.legend(*zip(*strengths, strict=True), loc="outside upper center", ncols=len(strengths), fontsize=6)
    rest = [(handles[place], labels[place]) for place in range(len(labels)) if place not in named]
    lines = [Line2D([], [], color="0.15"), Line2D([], [], color="0.15", **COMMON)]
    rate = float(common.learning_rate.max())
    names = ["own learning rate", rf"common, $\eta={rate:g}$" if np.isfinite(rate) else "common rate"]
    learning.legend(
        [*lines, *(handle for handle, _ in rest)],
        [*names, *(label for _, label in rest)],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
        borderpad=0.1,  # no higher than the letter
        ncols=3,
        columnspacing=0.8,
        handlelength=1.6,
        fontsize=6,
    )


SCRIPT = Script("learning and dynamics on sMNIST against r", ("smnist_strength", "smnist_common_rate"), draw)
