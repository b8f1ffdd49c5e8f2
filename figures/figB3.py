"""Fig. B.3: learning for all residual strengths, and Hessian eigenvalues during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.marks import (
    AT_CHANCE,
    CHANCE_NAME,
    ended_at_chance,
    learning_curve,
    legend_entries,
    partly_at_chance,
)
from figures.scales import Against, abscissa, logarithmic, show_a_decade, symbol
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, set_caption, strength_color, title
from lyapkit import plots

CRITICAL, SUBCRITICAL = 1.0025, 0.95


def draw(data: Mapping[str, xr.DataTree], against: Against = "r") -> Figure:
    """A: accuracy on sMNIST. B: RMS on ADD100. C, D: Hessian ranks, critical and strongly subcritical.

    A and B are over training, B from the first evaluation of trained networks. In C and D, open circles are negative
    eigenvalues, and checkpoints are dotted and pale where the network ended at chance.
    """
    images, adding = data["residual_strength"], data["adding_strength"]
    figure, (accuracy, rms, critical, subcritical) = panels(2, 2)
    digits = images["training"].to_dataset()
    crosses = _learning(digits, accuracy, against)
    accuracy.set(ylabel="test accuracy", ylim=(0, 1))
    title(accuracy, "sMNIST")
    training = adding["training_100"].to_dataset()
    training = training.sel(iteration=training.iteration > 0)
    crosses += _learning(training, rms, against)
    rms.set_ylabel("test RMS")
    title(rms, "ADD100")
    logarithmic(rms)
    show_a_decade(rms, training.test_metric)
    curvature = images["hessian_spectrum"].to_dataset().isel(seed=0)
    for ax, r, kind in ((critical, CRITICAL, "critical"), (subcritical, SUBCRITICAL, "strongly subcritical")):
        lost = bool(ended_at_chance(digits.sel(r=r, seed=curvature.seed.item())))
        _curvature(curvature.sel(r=r), ax, lost)
        title(ax, f"sMNIST, {kind}, $r = {r:g}$")
    _legend(rms, [accuracy, rms], symbol(against))
    _legend(subcritical, [critical, subcritical], "iterations")
    spread = over_seeds({"A": digits, "B": training})
    parts = [partly_at_chance(digits, "A, r"), partly_at_chance(training, "B, r")]
    note = notes(spread, "A, B, crosses: diverged" * bool(crosses), *parts, "C, D: first seed")
    set_caption(figure, [images, adding], note)
    return figure


def iteration_colors(count: int) -> list[str]:
    """Of increasing training iterations, from dark to light."""
    return [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.85, count))]


def _learning(training: xr.Dataset, ax: Axes, against: Against) -> int:
    """Returns the number of diverged runs."""
    crosses = 0
    for r in training.r.values:
        name = f"{abscissa(r, against):.3g}" if against != "r" else f"{r:g}"
        crosses += learning_curve(ax, training.sel(r=r), strength_color(r), name, linewidth=0.9)
    ax.set_xlabel("training iteration")
    return crosses


def _curvature(curvature: xr.Dataset, ax: Axes, lost: bool) -> None:
    iterations = curvature.checkpoint.values
    for iteration, color in zip(iterations, iteration_colors(len(iterations)), strict=True):
        style: dict[str, Any] = {"label": f"{iteration}" if iteration else "0, untrained", "color": color}
        style |= AT_CHANCE if lost and iteration else {}
        plots.hessian_spectrum(curvature.sel(checkpoint=iteration), ax=ax, markersize=2.5, **style)
    logarithmic(ax)
    show_a_decade(ax, abs(curvature.eigenvalue))
    ax.set_ylabel(r"Hessian eigenvalue $|\lambda|$")


def _legend(beside: Axes, axes: list[Axes], heading: str) -> None:
    """Of the lines of all these axes, equal names once, right of one of them."""
    handles = dict(zip(*legend_entries(*axes)[::-1], strict=True))
    numbers = [name for name in handles if name != CHANCE_NAME]
    order = sorted(numbers, key=lambda name: float(name.partition(",")[0])) + [n for n in handles if n not in numbers]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    beside.legend([handles[name] for name in order], order, title=heading, title_fontsize=6, fontsize=6, **place)


SCRIPT = Script(
    "learning and curvature during training", ("residual_strength", "adding_strength"), draw, over_strength=True
)
