"""Fig. 4: best accuracy and iterations to minimal performance against the angle of homogeneous rotations."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    ANGLE,
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
from figures.evidence import Evidence
from figures.missing import Missing, recorded
from figures.scales import show_a_decade
from figures.scripts import Script
from figures.style import TASK_COLORS, notes, over_seeds, panels


def draw(results: Evidence) -> Figure:
    """A: best test accuracy. B: iterations to MP. Both for sMNIST and psMNIST."""
    figure, (accuracy, efficiency) = panels(1, 2)
    missing = Missing()
    training = results.training("rotations")
    measured = [task for task in TASK_NAMES if recorded(training.sel(task=task)).status.size]
    for task in measured:
        style = {"color": TASK_COLORS[task], "label": TASK_NAMES[task], **TASK_STYLES[task]}
        best_metric(accuracy, training.sel(task=task), "phi", **style)
        iterations_to_minimal_performance(efficiency, training.sel(task=task), "phi", **style)
    if not measured:
        missing.panel("A", accuracy)
        missing.panel("B", efficiency)
        figure.set_label(missing.note())
        return figure
    missing.values("A, B", "task", [name for task, name in TASK_NAMES.items() if task not in measured])
    for ax in (accuracy, efficiency):
        characteristic_lines(ax, float(training.phi.max()))
        ax.set_xlabel(ANGLE)
    accuracy.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
    show_a_decade(efficiency, training.iterations_to_minimal_performance)
    legend_above(accuracy, handlelength=4)
    explain_limits(efficiency)
    harmonics = r"$\phi_c = 2\pi/28$, thin lines: its harmonics"
    spread = over_seeds({"A, B": recorded(training)})
    figure.set_label(notes(counted(int(training.iteration[-1])), harmonics, spread, OPEN, missing.note()))
    return figure


SCRIPT = Script("performance and learning efficiency of rotations against their angle", ("rotations",), draw)
