"""Lyapunov exponents over training on sMNIST, beside their rigorous bounds before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evidence import Evidence
from figures.experiments.instances import exponent_bounds
from figures.marks import AT_CHANCE, ended_at_chance, legend_entries, margin_label
from figures.missing import Missing, instance
from figures.paper import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import notes, panels, strength_color, strength_label, title

STAGE = "smnist_strength"
MARKERS = {"largest": "^", "mean": "o", "smallest": "v"}
LINEAR = 100
"""Iteration up to which the axis is linear: the first at which checkpoints are kept."""


def draw(results: Evidence) -> Figure:
    """Return a panel for each class of Fig. 2: largest, mean and smallest exponent at every checkpoint.

    Lines are the first instance, whose checkpoints over training were analysed; open markers are the other instances,
    before and after training. Weyl's inequality bounds every exponent by the coupling and the norm of W_xx, whatever
    the input (`wcrnn_models.models.predictions.bounds`): grey is the interval of the untrained network of the first
    instance; it widens as W_xx is trained. log r is where eq. (13) expects all exponents. Networks that ended at chance
    are dotted and pale.
    """
    figure, axes = panels(2, 2, sharex=True)
    missing = Missing()
    training, found = results.training(STAGE), results.analysis(STAGE, "lyapunov_spectrum")
    configs = {(config.seed, config.r): config for config in results.configs(STAGE)}
    for letter, r, ax in zip("ABCD", STRENGTH_CLASSES, axes, strict=True):
        first = instance(found, "lyapunov_exponent", r=r)
        if found is None or first is None:
            missing.panel(letter, ax)
            continue
        lost = ended_at_chance(training.sel(r=r))
        for seed in found.seed.values:
            one = found.sel(r=r, seed=seed).isel(trajectory=0).lyapunov_exponent.dropna("checkpoint", how="all")
            whole = seed == first.seed
            _exponents(one, ax, strength_color(r), AT_CHANCE if lost.sel(seed=seed) else {}, whole)
        low, high = exponent_bounds(configs[int(first.seed), r])
        ax.axhspan(low, high, color="0.9", linewidth=0, zorder=0, label="Weyl's bounds, untrained")
        ax.axhline(np.log(r), color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        margin_label(ax, float(np.log(r)), r"$\log r$")
        ax.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)
        ax.set_xscale("symlog", linthresh=LINEAR)
        ax.set_xlim(-0.1 * LINEAR, float(found.checkpoint.max()) * 1.6)  # so that points at 0 are whole
        title(ax, strength_label(r))
    for ax in axes[::2]:
        ax.set_ylabel("exponent (nats per step)" if ax.lines else "")
    for ax in axes[2:]:
        ax.set_xlabel(f"training iteration (linear up to {LINEAR}, logarithmic beyond)" if ax.lines else "")
    handles, labels = legend_entries(*axes)
    if handles:
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=6)
    figure.set_label(notes("one test sequence", missing.note()))
    return figure


def _exponents(exponent: xr.DataArray, ax: Axes, color: str, look: Mapping[str, Any], whole: bool) -> None:
    """Draw one instance: with lines and in the legend, or open markers alone."""
    shown = {
        "largest": exponent.isel(exponent=0),
        "mean": exponent.mean("exponent"),
        "smallest": exponent.isel(exponent=-1),
    }
    for name, value in shown.items():
        style: dict[str, Any] = {"color": color, "marker": MARKERS[name], "markersize": 3}
        if whole:
            style |= {"label": f"{name} exponent", "linestyle": "--" if name == "mean" else "-", **look}
        else:
            style |= {"linestyle": "", "markerfacecolor": "none", "markeredgewidth": 0.7}
        ax.plot(exponent.checkpoint, value, **style)


SCRIPT = Script("exponents over training and their rigorous bounds", (STAGE,), draw)
