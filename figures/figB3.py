"""Fig. B.3: learning for all residual strengths, and Hessian eigenvalues during training."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.campaign.results import as_rms
from figures.evidence import Evidence
from figures.marks import (
    AT_CHANCE,
    CHANCE_NAME,
    crossed,
    ended_at_chance,
    learning_curve,
    legend_entries,
    partly_at_chance,
)
from figures.missing import Missing, instance, recorded
from figures.scales import Against, abscissa, logarithmic, show_a_decade, symbol
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, strength_color, title
from lyapkit import plots

CRITICAL, SUBCRITICAL = 1.0025, 0.95
ANALYSIS = "hessian_recurrent"


def draw(results: Evidence, against: Against = "r") -> Figure:
    """A: accuracy on sMNIST. B: RMS on ADD100. C, D: Hessian ranks, critical and strongly subcritical.

    A and B are over training, B from the first evaluation of trained networks. C and D are of the recurrent weights and
    their bias; open circles are negative eigenvalues, and checkpoints are dotted and pale where the network ended at
    chance.
    """
    figure, (accuracy, rms, critical, subcritical) = panels(2, 2)
    missing = Missing()
    digits, adding = results.training("smnist_strength"), as_rms(results.training("add100_strength"))
    adding = adding.sel(iteration=adding.iteration > 0)
    for ax, training, letter in ((accuracy, digits, "A"), (rms, adding, "B")):
        lost = _learning(training, ax, against)
        if len(lost) == training.sizes["r"]:
            missing.panel(letter, ax)
            continue
        missing.values(letter, "r", lost)
        ax.set_xlabel("training iteration")
        ax.locator_params(axis="x", nbins=6)
        title(ax, "sMNIST" if ax is accuracy else "ADD100")
    if accuracy.lines:
        accuracy.set(ylabel="test accuracy", ylim=(0, 1))
    if rms.lines:
        rms.set_ylabel("test RMS")
        logarithmic(rms)
        show_a_decade(rms, adding.test_metric)
    found = results.analysis("smnist_strength", ANALYSIS)
    for letter, ax, r, kind in (
        ("C", critical, CRITICAL, "critical"),
        ("D", subcritical, SUBCRITICAL, "strongly subcritical"),
    ):
        curvature = None if found is None or r not in found.r.values else found.sel(r=r)
        lost_learning = bool(ended_at_chance(digits.sel(r=r)).all())
        if not _curvature(curvature, ax, lost_learning):
            missing.panel(letter, ax)
            continue
        title(ax, f"sMNIST, {kind}, $r = {r:g}$")
    _legend(rms if rms.lines else accuracy, [accuracy, rms], symbol(against))
    _legend(subcritical if subcritical.lines else critical, [critical, subcritical], "iterations")
    spread = over_seeds({"A": recorded(digits), "B": recorded(adding)})
    parts = [partly_at_chance(digits, "A, r"), partly_at_chance(adding, "B, r")]
    crosses = crossed(accuracy, rms)
    note = notes(spread, crosses and f"A, B, {crosses}", *parts, "C, D: first instance", missing.note())
    figure.set_label(note)
    return figure


def iteration_colors(count: int) -> list[str]:
    """Return colours of increasing training iterations, from dark to light."""
    return [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.85, count))]


def _learning(training: xr.Dataset, ax: Axes, against: Against) -> list[float]:
    """Draw the learning curves; return the residual strengths without any results."""
    lost = []
    for r in training.r.values.tolist():
        name = f"{abscissa(r, against):.3g}" if against != "r" else f"{r:g}"
        if not learning_curve(ax, training.sel(r=r), strength_color(r), name, linewidth=0.9):
            lost.append(r)
    return lost


def _curvature(found: xr.Dataset | None, ax: Axes, lost: bool) -> bool:
    """Draw Hessian ranks; return whether there are any."""
    one = instance(found, "eigenvalue")
    if one is None:
        return False
    one = one.dropna("checkpoint", how="all", subset=["eigenvalue"])
    iterations = one.checkpoint.values
    for iteration, color in zip(iterations, iteration_colors(len(iterations)), strict=True):
        style: dict[str, Any] = {"label": f"{iteration}" if iteration else "0, untrained", "color": color}
        style |= AT_CHANCE if lost and iteration else {}
        plots.hessian_spectrum(one.sel(checkpoint=iteration), ax=ax, markersize=2.5, **style)
    logarithmic(ax)
    show_a_decade(ax, abs(one.eigenvalue))
    ax.set_ylabel(r"Hessian eigenvalue $|\lambda|$")
    return True


def _legend(beside: Axes, axes: list[Axes], heading: str) -> None:
    """Draw a legend of the lines of all these axes, equal names once, right of one of them."""
    handles = dict(zip(*legend_entries(*axes)[::-1], strict=True))
    if not handles:
        return
    numbers = [name for name in handles if name != CHANCE_NAME]
    order = sorted(numbers, key=lambda name: float(name.partition(",")[0])) + [n for n in handles if n not in numbers]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    beside.legend([handles[name] for name in order], order, title=heading, title_fontsize=6, fontsize=6, **place)


SCRIPT = Script(
    "learning and curvature during training", ("smnist_strength", "add100_strength"), draw, over_strength=True
)
