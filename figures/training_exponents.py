"""Lyapunov exponents over training on sMNIST, within their rigorous bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.marks import AT_CHANCE, ended_at_chance, legend_entries, margin_label
from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import notes, panels, set_caption, strength_color, strength_label, title

INSTANCES = ("seed", "trajectory")
WIDEST = 10.0
"""All bounds are in view if none is farther from log r than this times the farthest exponent."""
MARKERS = {"largest": "^", "mean": "o", "smallest": "v"}


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A panel for each class of Fig. 2: largest, mean and smallest exponent at every checkpoint.

    Weyl's inequality bounds every exponent by the coupling and the norm of W_xx, whatever the input
    (`wcrnn_models.models.predictions.bounds`); the bounds widen as W_xx is trained. log r is where eq. (13) expects all
    exponents. The view holds the bounds at all checkpoints; where they are so wide that exponents could not be told
    apart, those before training, and the panel says from which iteration on they are beyond the axis. Networks that
    ended at chance are dotted and pale.
    """
    tree = data["residual_strength"]
    training, spectrum, network = (tree[name].to_dataset() for name in ("training", "lyapunov_spectrum", "network"))
    figure, axes = panels(2, 2, sharex=True)
    for r, ax in zip(STRENGTH_CLASSES, axes, strict=True):
        lost = bool(ended_at_chance(training.sel(r=r, seed=spectrum.seed)).all())
        reach = _exponents(spectrum.sel(r=r), ax, strength_color(r), AT_CHANCE if lost else {})
        _bounds(network.sel(r=r), ax, float(np.log(r)), reach)
        title(ax, strength_label(r))
    for ax in axes[::2]:
        ax.set_ylabel("exponent (nats per step)")
    for ax in axes[2:]:
        linear = int(spectrum.checkpoint[spectrum.checkpoint > 0].min())
        ax.set_xlabel(f"training iteration (linear up to {linear}, logarithmic beyond)")
    handles, labels = legend_entries(*axes)
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=6)
    seeds = "first seed" if spectrum.sizes["seed"] == 1 else f"means over {spectrum.sizes['seed']} seeds"
    shading = "shaded along lines: one standard error, for the mean exponent an upper limit of it"
    ended = bool(spectrum.lyapunov_exponent.isel(exponent=0).isnull().any())
    set_caption(figure, [tree], notes(seeds, shading, "lines end where a run diverged" * ended))
    return figure


def _exponents(spectrum: xr.Dataset, ax: Axes, color: str, look: Mapping[str, Any]) -> float:
    """Draw averages over instances, whose errors are independent.

    Returns:
        How far they and their errors are from log r, at most.
    """
    reach = 0.0
    count = spectrum.sizes["seed"] * spectrum.sizes["trajectory"]
    exponent = spectrum.lyapunov_exponent.mean(INSTANCES)
    error = np.sqrt((spectrum.standard_error**2).sum(INSTANCES)) / count
    shown = {
        "largest": (exponent.isel(exponent=0), error.isel(exponent=0)),
        "mean": (exponent.mean("exponent"), error.mean("exponent")),
        "smallest": (exponent.isel(exponent=-1), error.isel(exponent=-1)),
    }
    for name, (value, uncertainty) in shown.items():
        style: dict[str, Any] = {
            "color": color,
            "marker": MARKERS[name],
            "markersize": 3,
            "linestyle": "--" if name == "mean" else "-",
            **look,
        }
        ax.plot(spectrum.checkpoint, value, label=f"{name} exponent", **style)
        low, high = value - uncertainty, value + uncertainty
        ax.fill_between(spectrum.checkpoint, low, high, color=color, alpha=0.25, linewidth=0)
        reach = max(reach, *(float(abs(edge - np.log(spectrum.r)).max()) for edge in (low, high)))
    linear = float(spectrum.checkpoint[spectrum.checkpoint > 0].min())
    ax.set_xscale("symlog", linthresh=linear)
    ax.set_xlim(-0.1 * linear, float(spectrum.checkpoint.max()) * 1.6)  # so that points at 0 are whole
    return reach


def _bounds(network: xr.Dataset, ax: Axes, center: float, exponents: float) -> None:
    low = network.exponent_lower_bound.isel(exponent=-1).min("seed")
    high = network.exponent_upper_bound.isel(exponent=0).max("seed")
    farthest = np.maximum(high - center, center - low)  # infinite where a Jacobian may be singular; NaN after its run
    all_of_them = float(farthest.max())
    reach = max(exponents, all_of_them if all_of_them < WIDEST * exponents else float(farthest[0]))
    bottom, top = center - 1.2 * reach, center + 1.2 * reach
    ax.set_ylim(bottom, top)
    low = low.clip(min=center - 10 * reach)
    ax.fill_between(network.checkpoint, low, high, color="0.9", linewidth=0, zorder=0, label="Weyl's bounds")
    for edge in (low, high):
        ax.plot(network.checkpoint, edge, color="0.5", linewidth=0.8, marker="_", markersize=6, zorder=1)
    beyond = network.checkpoint[((low < bottom) | (high > top)).values]
    if beyond.size:
        text = f"bounds beyond the axis from iteration {int(beyond[0])}"
        ax.annotate(text, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", color="0.15", fontsize=6)
    ax.axhline(center, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    margin_label(ax, center, r"$\log r$")
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)


SCRIPT = Script("exponents over training and their rigorous bounds", ("residual_strength",), draw)
