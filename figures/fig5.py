"""Fig. 5: heterogeneous residuals on sMNIST: learning, exponents, Hessian eigenvalues and gradient norms."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.campaign.stage import CENTRE
from figures.evidence import Evidence
from figures.marks import crossed, learning_curve, legend_entries, partly_at_chance
from figures.missing import Missing, recorded
from figures.scripts import Script
from figures.style import notes, over_seeds, panels
from figures.untrained_panels import draw_untrained

EXPONENTS = 20
"""Number of exponents shown, evenly over the ranks; in the paper they are 15, chosen at random."""


def draw(results: Evidence) -> Figure:
    """A: test accuracy over training. B: exponents over time, a column for each width. C: Hessian ranks.

    D: gradient norms back in time. B, C and D are before training; in B, the grey line is the edge of chaos, and the
    logarithms of the ends of the interval of r are dashed. C is of the recurrent weights and their bias; open circles
    are negative eigenvalues.
    """
    figure, (learning, *others) = panels(2, 2)
    missing = Missing()
    training = results.training("heterogeneity")
    widths = training.delta_r.values.tolist()
    shades = dict(zip(widths, colors(len(widths)), strict=True))
    lost = [
        width
        for width in widths
        if not learning_curve(learning, training.sel(delta_r=width), shades[width], name(width, CENTRE))
    ]
    if len(lost) == len(widths):
        missing.panel("A", learning)
    else:
        missing.values("A", "delta_r", lost)
        learning.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
        handles, labels = legend_entries(learning)
        heading = rf"heterogeneity $\delta r$ around $r_0 = {CENTRE:g}$"
        figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize=6, title=heading, title_fontsize=6)
    drawn = draw_untrained(
        others,
        results,
        "heterogeneity",
        "delta_r",
        widths,
        color=shades.__getitem__,
        heading=lambda width: rf"$\delta r={width:g}$",
        expected=lambda width: [np.log(end) for end in dict.fromkeys((CENTRE - width / 2, CENTRE + width / 2))],
        lines=EXPONENTS,
        missing=missing,
    )
    dashed = "B\N{EN DASH}D: first instance; B, dashed: $\\log(r_0 \\pm \\delta r / 2)$"
    spread = over_seeds({"A": recorded(training)})
    parts = notes(spread, crossed(learning), partly_at_chance(training, "delta_r"), dashed, drawn, missing.note())
    figure.set_label(parts)
    return figure


def colors(count: int) -> list[str]:
    """Return colours of increasing heterogeneity, from dark to light."""
    shades = mpl.colormaps["plasma"](np.linspace(0, 0.85, count))  # the brightest end is hard to see on white
    return [to_hex(shade) for shade in shades]


def name(delta_r: float, r: float) -> str:
    """Return a width with the reach of its half from r_0 = r: not as far as the edge of chaos, to it, or beyond."""
    reach, distance = delta_r / 2, abs(1 - r)
    if delta_r == 0:
        kind = "homogeneous"
    elif np.isclose(reach, distance):
        kind = "up to the edge of chaos"
    else:
        kind = "moderate" if reach < distance else "strong"
    return f"{delta_r:g}, {kind}"


SCRIPT = Script("heterogeneous residuals on sMNIST", ("heterogeneity",), draw)
