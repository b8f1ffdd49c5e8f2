"""Exponents over time in narrow panels beside each other, as lines of several networks would cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from lyapkit import plots

QR, SINGULAR = "lyapunov_spectrum", "variational_term"


def measured_over_time(tree: xr.DataTree) -> str:
    """Return the name of the child with exponents over time: those of Algorithm 1 if it has them.

    The other ones are the logarithms of the singular values of the product of all Jacobians so far, over its length.
    """
    return QR if QR in tree.children and "running_exponent" in tree[QR] else SINGULAR


def named_over_time(name: str, panel: str) -> str:
    """Return what a caption says of the exponents that `measured_over_time` has found."""
    if name == QR:
        return f"{panel}: running exponents of Algorithm 1"
    return f"{panel}: log of the singular values of the variational term over t, not the exponents of Algorithm 1"


def exponents_over_time(
    ax: Axes, measured: xr.Dataset, name: str, lines: int, reference: Sequence[float], heading: str, **style: Any
) -> None:
    """Draw exponents of one network over time, with lines at the edge of chaos and at what is expected.

    Args:
        ax: One of the axes that `figures.style.side_by_side` makes.
        measured: Child of a result file, selected down to one network.
        name: Of that child, see `measured_over_time`.
        lines: How many exponents, evenly over the ranks.
        reference: Expected values, dashed.
        heading: Above the axes.
        style: Passed on to `matplotlib.axes.Axes.plot`.
    """
    draw = plots.running_exponents if name == QR else plots.variational_term
    draw(measured, ax=ax, lines=lines, reference=reference, **style)
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=1)
    end = int(measured.step[-1])
    ax.set(xlabel="step $t$", ylabel="", xticks=[0, end], xlim=(-0.04 * end, 1.04 * end))
    ax.set_title(heading, loc="right", fontsize=6)  # beside the letter of the first one
