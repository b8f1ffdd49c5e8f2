"""Exponents over time of networks of a stage: those of Algorithm 1, or what exists instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from figures.evidence import Evidence
from figures.missing import instance
from lyapkit import plots

QR, SINGULAR, FINAL = (
    "running exponents of Algorithm 1",
    "log of the singular values of the variational term over t, not the exponents of Algorithm 1",
    "exponents at the end of the sequence only, as those over time were not kept",
)
"""Captions of the exponents that are drawn."""

END = (0.9, 1.0)
"""Interval in which `FINAL` exponents are drawn, as fractions of the axis of time."""


def draw_exponents(ax: Axes, results: Evidence, stage: str, lines: int, point: dict[str, float], **style: Any) -> str:
    """Draw exponents of the first measured instance of a network over time.

    Args:
        ax: Axes to draw on.
        results: Results that exist.
        stage: Stage of the network.
        lines: Largest number of exponents, evenly over the ranks.
        point: Labels of the stage's dimensions other than ``seed``, and ``checkpoint``.
        style: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        `QR`, `SINGULAR` or `FINAL`; empty where nothing has been measured.
    """
    spectrum = results.analysis(stage, "lyapunov_spectrum")
    running = instance(spectrum, "running_exponent", **point)
    if running is not None:
        plots.running_exponents(running[["running_exponent"]].rename(shown="exponent"), ax=ax, lines=lines, **style)
        return QR
    term = instance(results.analysis(stage, "variational_term"), "running_exponent", **point)
    if term is not None:
        plots.variational_term(term, ax=ax, lines=lines, **style)
        return SINGULAR
    final = instance(spectrum, "lyapunov_exponent", **point)
    if final is None:
        return ""
    values = final.lyapunov_exponent.isel(trajectory=0).values
    name = style.pop("label", None)
    for place in np.unique(np.linspace(0, len(values) - 1, lines).round().astype(int)):
        ax.plot(END, [values[place]] * 2, transform=ax.get_yaxis_transform(), label=name, **style)
        name = None
    return FINAL


def exponents_over_time(ax: Axes, heading: str, reference: Sequence[float]) -> None:
    """Finish narrow axes of exponents over time, with lines at the edge of chaos and at expected values.

    Args:
        ax: One of the axes of `figures.style.side_by_side`, after `draw_exponents`.
        heading: Text above the axes.
        reference: Expected values, dashed.
    """
    for value in reference:
        ax.axhline(value, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=3)
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=1)
    ax.autoscale(axis="y")
    end = ax.dataLim.x1
    if end > 1:
        ax.set(xticks=[0, int(end)], xlim=(-0.04 * end, 1.04 * end))
    else:
        ax.set_xticks([])
    ax.set(xlabel="step $t$", ylabel="")
    ax.set_title(heading, loc="right", fontsize=6)  # beside the letter of the first one


def named(kinds: Sequence[str], panel: str) -> str:
    """Return the caption's text on the results of `draw_exponents`, equal kinds once."""
    return "; ".join(f"{panel}: {kind}" for kind in dict.fromkeys(kinds) if kind)
