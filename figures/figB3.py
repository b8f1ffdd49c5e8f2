"""Fig. B.3: learning for all residual strengths, and Hessian eigenvalues during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.marks import mark_diverged
from figures.scripts import Script
from figures.style import band, caption_line, notes, over_seeds, panels, strength_color
from lyapkit import plots

CRITICAL, SUBCRITICAL = 1.0025, 0.95
SPAN = 10.0
"""An axis of RMS is logarithmic if its data span more than this factor; one of eigenvalues shows at least as much."""


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: accuracy on sMNIST. B: RMS on ADD100. C, D: Hessian ranks, critical and strongly subcritical."""
    images, adding = data["residual_strength"], data["adding_strength"]
    figure, (accuracy, rms, critical, subcritical) = panels(2, 2)
    digits = images["training"].to_dataset()
    crosses = _learning(digits, accuracy)
    accuracy.set(ylabel="test accuracy", ylim=(0, 1))
    accuracy.set_title("sMNIST", loc="center")
    training = adding["training_100"].to_dataset()
    crosses += _learning(training, rms)
    rms.set_ylabel("test RMS")
    rms.set_title("ADD100", loc="center")
    if float(training.test_metric.max()) > SPAN * float(training.test_metric.min()):
        rms.set_yscale("log")
    curvature = images["hessian_spectrum"].to_dataset().isel(seed=0)
    for ax, r, kind in ((critical, CRITICAL, "critical"), (subcritical, SUBCRITICAL, "strongly subcritical")):
        _curvature(curvature.sel(r=r), ax)
        ax.set_title(f"sMNIST, {kind}, $r = {r:g}$", loc="center")
    _legend(rms, [accuracy, rms], "$r$")
    _legend(subcritical, [critical], "iterations")
    spread = over_seeds({"A": digits, "B": training})
    note = notes(spread, "A, B, crosses: diverged" * bool(crosses), "C, D: first seed")
    caption_line(figure, [images, adding], note)
    return figure


def iteration_colors(count: int) -> list[str]:
    """Of increasing training iterations, from dark to light."""
    return [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.85, count))]


def _learning(training: xr.Dataset, ax: Axes) -> int:
    """Returns the number of diverged runs."""
    crosses = 0
    for r in training.r.values:
        chosen, color = training.sel(r=r), strength_color(r)
        band(ax, chosen.iteration, chosen.test_metric, color=color, linewidth=0.9, label=f"{r:g}")
        crosses += mark_diverged(ax, chosen, color)
    ax.set_xlabel("training iteration")
    return crosses


def _curvature(curvature: xr.Dataset, ax: Axes) -> None:
    iterations = curvature.checkpoint.values
    for iteration, color in zip(iterations, iteration_colors(len(iterations)), strict=True):
        label = f"{iteration}" if iteration else "0, untrained"
        plots.hessian_spectrum(curvature.sel(checkpoint=iteration), ax=ax, color=color, markersize=2.5, label=label)
    _show_a_decade(ax)


def _show_a_decade(ax: Axes) -> None:
    """Widen a logarithmic axis to a factor of `SPAN` at least, so that small changes look small."""
    lower, upper = ax.get_ylim()
    widen = max(1.0, np.sqrt(SPAN * lower / upper))
    ax.set_ylim(lower / widen, upper * widen)


def _legend(beside: Axes, axes: list[Axes], title: str) -> None:
    """Of the lines of all these axes, equal names once, right of one of them."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        drawn, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    order = sorted(handles, key=lambda label: float(label.partition(",")[0]))
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    beside.legend([handles[label] for label in order], order, title=title, title_fontsize=6, fontsize=6, **place)


SCRIPT = Script("learning and curvature during training", ("residual_strength", "adding_strength"), draw)
