"""Fig. 3: best performance and iterations to minimal performance against the residual strength."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
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
    iterations_to_minimal_performance,
    legend_above,
)
from figures.protocols import PROTOCOLS
from figures.scripts import Script
from figures.style import TASK_COLORS, caption_line, direct_label, notes, over_seeds, panels
from wcrnn_models.training import presets

Curves = Mapping[str, tuple[xr.Dataset, dict[str, str]]]
"""Trainings and how their lines look, by the name in the legend."""

LENGTHS = PROTOCOLS["paper"].lengths
LENGTH_COLORS = {
    length: to_hex(mpl.colormaps["plasma"](0.85 * index / (len(LENGTHS) - 1))) for index, length in enumerate(LENGTHS)
}


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
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
    _pair(error, error_efficiency, lengths)
    error.set(yscale="log", ylabel="best test RMS")
    direct_label(error, presets.PROTOCOLS["add100"].minimal_performance, "MP")
    tasks = {
        TASK_NAMES[task]: (training, {"color": TASK_COLORS[task], **TASK_STYLES[task]})
        for task, training in digits.items()
    }
    _pair(accuracy, accuracy_efficiency, tasks)
    accuracy.set(ylabel="best test accuracy", ylim=(0, 1))
    direct_label(accuracy, presets.PROTOCOLS["smnist"].minimal_performance, "MP")
    caption_line(figure, data.values(), _note(lengths | tasks, [length for length in LENGTHS if length not in sweeps]))
    return figure


def _pair(best: Axes, efficiency: Axes, curves: Curves) -> None:
    for label, (training, style) in curves.items():
        best_metric(best, training, "r", label=label, **style)
        iterations_to_minimal_performance(efficiency, training, "r", label=label, **style)
    for ax in (best, efficiency):
        ax.axvline(1, color="0.6", linewidth=0.6, zorder=0)
        ax.set_xlabel("residual connection strength $r$")
        ax.margins(x=0.09)  # so that a label at the end of a line does not touch the last point
    legend_above(best, handlelength=4)


def _note(curves: Curves, missing: list[int]) -> str:
    parts = [f"{label} {counted(int(training.iteration[-1]))}" for label, (training, _) in curves.items()]
    absent = f"not measured: {', '.join(f'ADD{length}' for length in missing)}" if missing else ""
    spread = over_seeds({label: training for label, (training, _) in curves.items()})
    return notes(", ".join(parts), absent, spread, OPEN)


SCRIPT = Script(
    "performance and learning efficiency against r", ("adding_strength", "residual_strength", "psmnist_strength"), draw
)
