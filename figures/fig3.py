"""Fig. 3: best performance and iterations to minimal performance against the residual strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.campaign.results import as_rms
from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    OPEN,
    TASK_STYLES,
    best_metric,
    counted,
    explain_limits,
    iterations_to_minimal_performance,
    legend_above,
)
from figures.evidence import Evidence
from figures.marks import BEST_CONSTANT
from figures.missing import Missing, recorded
from figures.scales import Against, abscissa, logarithmic, over_strength, positive, show_a_decade, strength_axis, view
from figures.scripts import Script
from figures.style import TASK_COLORS, direct_label, notes, over_seeds, panels
from wcrnn_models.tasks import AddingProblem, SequentialMNIST


@dataclass(frozen=True)
class Curve:
    """Trainings against r.

    Attributes:
        name: Name in the legend.
        stage: Stage of the trainings.
        style: Style of their lines.
    """

    name: str
    stage: str
    style: Mapping[str, Any]


ADDING = (
    Curve("ADD100", "add100_strength", {"color": "#0d0887"}),
    Curve("ADD200", "add200_strength", {"color": "#cc4778", "linestyle": "--", "marker": "s", "markersize": 4.2}),
)
IMAGES = (
    Curve("sMNIST", "smnist_strength", {"color": TASK_COLORS["smnist"], **TASK_STYLES["smnist"]}),
    Curve(
        "sMNIST, common rate",
        "smnist_common_rate",
        {"color": "#56B4E9", "linestyle": ":", "marker": "D", "markersize": 3.2},
    ),
    Curve("psMNIST", "psmnist_strength", {"color": TASK_COLORS["psmnist"], **TASK_STYLES["psmnist"]}),
)

HIGHEST = 2 * BEST_CONSTANT
"""Largest best RMS that A shows; networks that are worse before and after training are beyond it."""


def draw(results: Evidence, against: Against = "r") -> Figure:
    """A: best RMS on the adding problem. B: iterations to MP there. C, D: accuracy and iterations on the data sets."""
    figure, (error, error_efficiency, accuracy, accuracy_efficiency) = panels(2, 2)
    missing = Missing()
    sweeps = _pair(error, error_efficiency, "A, B", ADDING, results, against, missing)
    beyond = ""
    if sweeps:
        error.set(ylabel="best test RMS")
        logarithmic(error)
        target = AddingProblem.minimal_performance**0.5  # in terms of the mean square that is trained
        direct_label(error, target, "MP")
        beyond = _limit(error, sweeps, target, against)
    digits = _pair(accuracy, accuracy_efficiency, "C, D", IMAGES, results, against, missing)
    if digits:
        accuracy.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
        direct_label(accuracy, SequentialMNIST.minimal_performance, "MP")
    drawn = {curve.name: training for curve, training in [*sweeps, *digits]}
    lengths = ", ".join(f"{name} {counted(int(training.iteration[-1]))}" for name, training in drawn.items())
    square = "MP of the adding problem: a mean square of 0.05, which is what is trained" if sweeps else ""
    figure.set_label(notes(lengths, over_seeds(drawn), square, beyond, OPEN, missing.note()))
    return figure


def _pair(
    best: Axes,
    efficiency: Axes,
    letters: str,
    curves: Sequence[Curve],
    results: Evidence,
    against: Against,
    missing: Missing,
) -> list[tuple[Curve, xr.Dataset]]:
    """Draw both panels; return the drawn trainings."""
    found = [(curve, recorded(as_rms(results.training(curve.stage)))) for curve in curves]
    there = [(curve, training) for curve, training in found if training.status.size]
    if not there:
        missing.panel(letters, best)
        missing.panel("", efficiency)
        return []
    for curve, training in found:
        if not training.status.size:
            missing(f"{letters}, {curve.name}")
    for curve, training in there:
        over = over_strength(training, against)
        best_metric(best, over, "r", label=curve.name, **curve.style)
        iterations_to_minimal_performance(efficiency, over, "r", label=curve.name, **curve.style)
    strengths = np.unique(np.concatenate([training.r.values for _, training in there]))
    for ax in (best, efficiency):
        ax.margins(x=0.09)  # so that a label at the end of a line does not touch the last point
        strength_axis(ax, strengths, against)
    show_a_decade(efficiency, *(training.iterations_to_minimal_performance for _, training in there))
    legend_above(best, handlelength=3, columns=2)
    explain_limits(efficiency)
    return there


def _limit(ax: Axes, sweeps: Sequence[tuple[Curve, xr.Dataset]], target: float, against: Against) -> str:
    """Show RMS up to `HIGHEST`, with the numbers of those beyond it; return the caption's text on them."""
    shown = positive(*(training.best_metric for _, training in sweeps))
    view(ax, 0.8 * min(target, *shown), HIGHEST)
    names = []
    for curve, training in sweeps:
        mean = training.best_metric.mean("seed")
        for r in training.r.values[(mean > HIGHEST).values]:
            place, color = (abscissa(r, against), HIGHEST), curve.style["color"]
            ax.plot(*place, marker="^", color=color, markerfacecolor="white", clip_on=False)
            style: dict[str, Any] = {"ha": "center", "va": "top", "color": color, "fontsize": 6}
            ax.annotate(f"{float(mean.sel(r=r)):.3g}", place, (0, -4), textcoords="offset points", **style)
            names.append(f"{curve.name} at r = {r:g}")
    return f"A, beyond the axis: {', '.join(names)}" if names else ""


SCRIPT = Script(
    "performance and learning efficiency against r",
    tuple(curve.stage for curve in (*ADDING, *IMAGES)),
    draw,
    over_strength=True,
)
