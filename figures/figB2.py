"""Fig. B.2: learning of the adding problem of length 100 with different learning rates and couplings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.marks import margin_label, mark_diverged
from figures.scripts import Script
from figures.style import band, caption_line, notes, over_seeds, panels, strength_color, strength_label

BEST_CONSTANT = np.sqrt(2 / 12)
"""RMS of the best constant answer: the standard deviation of a sum of two numbers that are uniform in [0, 1]."""

SPAN = 10.0  # from the smallest RMS to the largest; beyond it the axis is logarithmic


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A, B: larger learning rate with larger and smaller coupling. C, D: smaller learning rate."""
    tree = data["learning_rates"]
    training = tree["training"].to_dataset()
    rates, couplings = training.learning_rate.values[::-1], training.coupling.values[::-1]
    figure, axes = panels(len(rates), len(couplings), height=2.1, sharex=True, sharey=True)
    crosses = 0
    for ax, (rate, coupling) in zip(axes, ((rate, coupling) for rate in rates for coupling in couplings), strict=True):
        for r in training.r.values:
            run, color = training.sel(learning_rate=rate, coupling=coupling, r=r), strength_color(r)
            band(ax, run.iteration, run.test_metric, color=color, linewidth=0.9, label=strength_label(r))
            crosses += mark_diverged(ax, run, color)
        ax.axhline(BEST_CONSTANT, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.set_title(rf"$\eta = {rate:g},\ \gamma = {coupling:g}$", loc="center")
        ax.set(xlabel="training iteration", ylabel="test RMS")
        ax.label_outer()
    for ax in axes[len(couplings) - 1 :: len(couplings)]:  # the last of each row
        margin_label(ax, BEST_CONSTANT, "best\nconstant\nanswer")
    if float(training.test_metric.max()) > SPAN * float(training.test_metric.min()):
        axes[0].set_yscale("log")  # of all axes, which share it
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=6)
    caption_line(
        figure, [tree], notes("ADD100", over_seeds({"A\N{EN DASH}D": training}), "crosses: diverged" * bool(crosses))
    )
    return figure


SCRIPT = Script("learning rate and coupling on the adding problem", ("learning_rates",), draw)
