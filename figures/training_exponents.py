"""Lyapunov exponents over training on sMNIST, within their rigorous bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import caption_line, direct_label, panels, strength_color, strength_label

INSTANCES = ("seed", "trajectory")
MARKERS = {"largest": "^", "mean": "o", "smallest": "v"}


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A panel for each class of Fig. 2: largest, mean and smallest exponent at every checkpoint.

    Weyl's inequality bounds every exponent by the coupling and the norm of W_xx, whatever the input
    (`wcrnn_models.predictions.bounds`); the bounds widen as W_xx is trained. log r is where eq. (13) expects all
    exponents. The view is that of the bounds before training, or more where exponents need it.
    """
    tree = data["residual_strength"]
    spectrum, network = (tree[name].to_dataset() for name in ("lyapunov_spectrum", "network"))
    figure, axes = panels(2, 2, sharex=True)
    for r, ax in zip(STRENGTH_CLASSES, axes, strict=True):
        _exponents(spectrum.sel(r=r), ax, strength_color(r))
        _bounds(network.sel(r=r), ax, float(np.log(r)))
        ax.set_title(strength_label(r), loc="right")
    for ax in axes[::2]:
        ax.set_ylabel("Lyapunov exponent (nats per step)")
    for ax in axes[2:]:
        ax.set_xlabel("training iteration")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=6)
    note = "errors: one standard error, of the mean at most (the mean of the errors)"
    caption_line(figure, [tree], note)
    return figure


def _exponents(spectrum: xr.Dataset, ax: Axes, color: str) -> None:
    """Averages over instances, whose errors are independent."""
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
            "linestyle": ":" if name == "mean" else "-",
        }
        ax.plot(spectrum.checkpoint, value, label=f"{name} exponent", **style)
        low, high = value - uncertainty, value + uncertainty
        ax.fill_between(spectrum.checkpoint, low, high, color=color, alpha=0.25, linewidth=0)
    ax.set_xscale("symlog", linthresh=float(spectrum.checkpoint[spectrum.checkpoint > 0].min()))
    ax.set_xlim(0, float(spectrum.checkpoint.max()) * 1.6)


def _bounds(network: xr.Dataset, ax: Axes, center: float) -> None:
    low = network.exponent_lower_bound.isel(exponent=-1).min("seed")
    high = network.exponent_upper_bound.isel(exponent=0).max("seed")
    reach = max(float(high[0]) - center, *(abs(edge - center) for edge in ax.get_ylim()))
    ax.set_ylim(center - 1.2 * reach, center + 1.2 * reach)
    outside = center - 10 * reach  # for a lower bound of -inf, where a Jacobian may be singular
    ax.fill_between(
        network.checkpoint, low.clip(min=outside), high, color="0.9", linewidth=0, zorder=0, label="Weyl's bounds"
    )
    direct_label(ax, center, r"$\log r$")
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)


SCRIPT = Script("exponents over training and their rigorous bounds", ("residual_strength",), draw)
