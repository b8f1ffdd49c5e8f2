"""Fig. B.2: learning of the adding problem of length 100 with different learning rates and couplings."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures.campaign.results import as_rms
from figures.evidence import Evidence
from figures.marks import BEST_CONSTANT, crossed, learning_curve, legend_entries, margin_label
from figures.missing import Missing, recorded
from figures.scales import logarithmic, show_a_decade
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, strength_color, title

STRENGTH = 0.995


def draw(results: Evidence) -> Figure:
    """A, B: larger learning rate with larger and smaller coupling. C, D: smaller learning rate.

    Test RMS after the first evaluation of trained networks, r = 0.995; untrained ones are not shown.
    """
    training = as_rms(results.training("adding_rates"))
    training = training.sel(iteration=training.iteration > 0)
    missing = Missing()
    rates, couplings = training.learning_rate.values[::-1], training.coupling.values[::-1]
    figure, axes = panels(len(rates), len(couplings), height=2.1)
    drawn = []
    for letter, ax, (rate, coupling) in zip(
        "ABCD", axes, ((rate, coupling) for rate in rates for coupling in couplings), strict=True
    ):
        run = training.sel(learning_rate=rate, coupling=coupling)
        if not learning_curve(ax, run, strength_color(STRENGTH), linewidth=0.9):
            missing.panel(letter, ax)
            continue
        drawn.append(ax)
        ax.axhline(BEST_CONSTANT, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        margin_label(ax, BEST_CONSTANT, "best\nconstant\nanswer")
        title(ax, rf"$\eta = {rate:g},\ \gamma = {coupling:g}$")
        ax.set(xlabel="training iteration", ylabel="test RMS")
        ax.locator_params(axis="x", nbins=5)
        logarithmic(ax)
        show_a_decade(ax, training.test_metric, BEST_CONSTANT)
    handles, labels = legend_entries(*axes)
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=6)
    first = f"from iteration {int(training.iteration[0])} on" if training.sizes["iteration"] else ""
    spread = over_seeds({"A\N{EN DASH}D": recorded(training)})
    figure.set_label(notes(f"ADD100, r = {STRENGTH:g}", first, spread, crossed(*axes), missing.note()))
    return figure


SCRIPT = Script("learning rate and coupling on the adding problem", ("adding_rates",), draw)
