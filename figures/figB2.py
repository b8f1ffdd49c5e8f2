"""Fig. B.2: learning of the adding problem of length 100 with different learning rates and couplings."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from figures.marks import BEST_CONSTANT, learning_curve, legend_entries, margin_label
from figures.scales import logarithmic, show_a_decade
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, set_caption, strength_color, strength_label, title


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A, B: larger learning rate with larger and smaller coupling. C, D: smaller learning rate.

    Test RMS after the first evaluation of trained networks; untrained ones are not shown.
    """
    tree = data["learning_rates"]
    training = tree["training"].to_dataset()
    training = training.sel(iteration=training.iteration > 0)
    rates, couplings = training.learning_rate.values[::-1], training.coupling.values[::-1]
    figure, axes = panels(len(rates), len(couplings), height=2.1, sharex=True, sharey=True)
    crosses = 0
    for ax, (rate, coupling) in zip(axes, ((rate, coupling) for rate in rates for coupling in couplings), strict=True):
        for r in training.r.values:
            run = training.sel(learning_rate=rate, coupling=coupling, r=r)
            crosses += learning_curve(ax, run, strength_color(r), strength_label(r), linewidth=0.9)
        ax.axhline(BEST_CONSTANT, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        title(ax, rf"$\eta = {rate:g},\ \gamma = {coupling:g}$")
        ax.set(xlabel="training iteration", ylabel="test RMS")
        ax.label_outer()
    for ax in axes[len(couplings) - 1 :: len(couplings)]:  # the last of each row
        margin_label(ax, BEST_CONSTANT, "best\nconstant\nanswer")
    logarithmic(axes[0])  # of all axes, which share it
    show_a_decade(axes[0], training.test_metric)
    figure.legend(*legend_entries(*axes), loc="outside upper center", ncols=5, fontsize=6)
    first = f"from iteration {int(training.iteration[0])} on"
    spread = over_seeds({"A\N{EN DASH}D": training})
    set_caption(figure, [tree], notes("ADD100", first, spread, "crosses: diverged" * bool(crosses)))
    return figure


SCRIPT = Script("learning rate and coupling on the adding problem", ("learning_rates",), draw)
