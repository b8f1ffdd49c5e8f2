"""Fig. 3: best performance and iterations to minimal performance against the residual strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures.efficiency import (
    OPEN,
    TASK_NAMES,
    TASK_STYLES,
    best_metric,
    counted,
    explain_limits,
    iterations_to_minimal_performance,
    legend_above,
)
from figures.marks import BEST_CONSTANT
from figures.protocols import PROTOCOLS
from figures.scales import Against, abscissa, logarithmic, over_strength, positive, show_a_decade, strength_axis, view
from figures.scripts import Script
from figures.style import TASK_COLORS, direct_label, notes, over_seeds, panels, set_caption
from wcrnn_models.training import presets

Curves = Mapping[str, tuple[xr.Dataset, dict[str, str]]]
"""Trainings and how their lines look, by the name in the legend."""

LENGTHS = PROTOCOLS["paper"].lengths
LENGTH_COLORS = {
    length: to_hex(mpl.colormaps["plasma"](0.85 * index / (len(LENGTHS) - 1))) for index, length in enumerate(LENGTHS)
}


HIGHEST = 2 * BEST_CONSTANT
"""Best RMS up to which A shows points; those of networks that are worse before and after training are beyond it."""


def draw(data: Mapping[str, xr.DataTree], against: Against = "r") -> Figure:
    """A: best RMS on the adding problem. B: iterations to MP there. C, D: accuracy and iterations on the data sets."""
    adding = data["adding_strength"]
    sweeps = {
        length: adding[f"training_{length}"].to_dataset()
        for length in LENGTHS
        if f"training_{length}" in adding.children
    }
    digits = {
        "smnist": data["residual_strength"]["training"].to_dataset(),
        "psmnist": data["psmnist_strength"]["training"].to_dataset(),
    }
    figure, (error, error_efficiency, accuracy, accuracy_efficiency) = panels(2, 2)
    lengths = {f"ADD{length}": (training, {"color": LENGTH_COLORS[length]}) for length, training in sweeps.items()}
    _pair(error, error_efficiency, lengths, against)
    error.set(ylabel="best test RMS")
    logarithmic(error)
    target = presets.PROTOCOLS["add100"].minimal_performance
    direct_label(error, target, "MP")
    beyond = _limit(error, sweeps, target, against)
    tasks = {
        TASK_NAMES[task]: (training, {"color": TASK_COLORS[task], **TASK_STYLES[task]})
        for task, training in digits.items()
    }
    _pair(accuracy, accuracy_efficiency, tasks, against)
    accuracy.set(ylabel="best test accuracy", ylim=(0, 1))
    direct_label(accuracy, presets.PROTOCOLS["smnist"].minimal_performance, "MP")
    note = _note(lengths | tasks, [length for length in LENGTHS if length not in sweeps])
    set_caption(figure, data.values(), notes(note, beyond))
    return figure


def _pair(best: Axes, efficiency: Axes, curves: Curves, against: Against) -> None:
    strengths = np.unique(np.concatenate([training.r.values for training, _ in curves.values()]))
    for label, (training, style) in curves.items():
        over = over_strength(training, against)
        best_metric(best, over, "r", label=label, **style)
        iterations_to_minimal_performance(efficiency, over, "r", label=label, **style)
    for ax in (best, efficiency):
        ax.margins(x=0.09)  # so that a label at the end of a line does not touch the last point
        strength_axis(ax, strengths, against)
    show_a_decade(efficiency, *(each.iterations_to_minimal_performance for each, _ in curves.values()))
    legend_above(best, handlelength=4)
    explain_limits(efficiency)


def _limit(ax: Axes, sweeps: Mapping[int, xr.Dataset], target: float, against: Against) -> str:
    """Show RMS up to `HIGHEST`, with the numbers of those beyond it; returns what the caption says of them."""
    every = np.concatenate([sweep.best_metric.values.ravel() for sweep in sweeps.values()])
    shown = positive(every)
    view(ax, 0.8 * min(target, *shown), HIGHEST)
    names = []
    for length, sweep in sweeps.items():
        mean = sweep.best_metric.mean("seed")
        for r in sweep.r.values[(mean > HIGHEST).values]:
            place = (abscissa(r, against), HIGHEST)
            text, color = f"{float(mean.sel(r=r)):.3g}", LENGTH_COLORS[length]
            ax.plot(*place, marker="^", color=color, markerfacecolor="white", clip_on=False)
            style: dict[str, Any] = {"ha": "center", "va": "top", "color": color, "fontsize": 6}
            ax.annotate(text, place, (0, -4), textcoords="offset points", **style)
            names.append(f"ADD{length} at r = {r:g}")
    return f"A, beyond the axis: {', '.join(names)}" if names else ""


def _note(curves: Curves, missing: list[int]) -> str:
    parts = [f"{label} {counted(int(training.iteration[-1]))}" for label, (training, _) in curves.items()]
    absent = f"not measured: {', '.join(f'ADD{length}' for length in missing)}" if missing else ""
    spread = over_seeds({label: training for label, (training, _) in curves.items()})
    return notes(", ".join(parts), absent, spread, OPEN)


SCRIPT = Script(
    "performance and learning efficiency against r",
    ("adding_strength", "residual_strength", "psmnist_strength"),
    draw,
    over_strength=True,
)
