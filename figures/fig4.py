"""Fig. 4: best accuracy and iterations to minimal performance against the angle of homogeneous rotations."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    OPEN,
    TASK_NAMES,
    TASK_STYLES,
    best_metric,
    characteristic_lines,
    counted,
    explain_limits,
    iterations_to_minimal_performance,
    legend_above,
)
from figures.scales import show_a_decade
from figures.scripts import Script
from figures.style import TASK_COLORS, notes, over_seeds, panels, set_caption


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: best test accuracy. B: iterations to MP. Both for sMNIST and psMNIST."""
    tree = data["rotations"]
    training = tree["training"].to_dataset()
    figure, (accuracy, efficiency) = panels(1, 2)
    measured = [task for task in TASK_NAMES if task in training.task.values]
    for task in measured:
        chosen = training.sel(task=task)
        style = {"color": TASK_COLORS[task], "label": TASK_NAMES[task], **TASK_STYLES[task]}
        best_metric(accuracy, chosen, "phi", **style)
        iterations_to_minimal_performance(efficiency, chosen, "phi", **style)
    for ax in (accuracy, efficiency):
        characteristic_lines(ax, float(training.phi.max()))
        ax.set_xlabel(r"angular frequency $\phi_0$ (radians per step)")
    accuracy.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
    show_a_decade(efficiency, training.iterations_to_minimal_performance)
    legend_above(accuracy, handlelength=4)
    explain_limits(efficiency)
    absent = [f"not measured: {name}" for task, name in TASK_NAMES.items() if task not in measured]
    harmonics = r"$\phi_c = 2\pi/28$, thin lines: its harmonics"
    spread = over_seeds({"A, B": training})
    note = notes(counted(int(training.iteration[-1])), *absent, harmonics, spread, OPEN)
    set_caption(figure, [tree], note)
    return figure


SCRIPT = Script("performance and learning efficiency of rotations against their angle", ("rotations",), draw)
