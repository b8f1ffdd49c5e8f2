"""The main results of the reproduction in one figure, for README."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    ANGLE,
    TASK_NAMES,
    TASK_STYLES,
    best_metric,
    characteristic_lines,
)
from figures.evidence import Evidence
from figures.marks import crossed, learning_curve, legend_entries
from figures.missing import Missing, recorded
from figures.scales import strength_axis
from figures.scripts import Script
from figures.style import TASK_COLORS, notes, panels

NETWORKS = {"informed": ("informed", "-"), "rotation": ("homogeneous", (0, (4, 1.5)))}
"""Names and lines by the residual."""


def draw(results: Evidence) -> Figure:
    """A: best accuracy against r, each network at its own learning rate. B: against the angle of rotations.

    C: informed heterogeneous beside homogeneous networks over training. Lines are means, small points in A and B single
    network instances.
    """
    figure, (strength, angle, learning) = panels(1, 3)
    missing = Missing()
    tasks = {task: results.training(f"{task}_strength") for task in TASK_NAMES}
    _best(strength, tasks, "r", "A", missing)
    if strength.lines:
        strengths = [r for each in tasks.values() for r in recorded(each).r.values]
        strength_axis(strength, strengths, "r")
    rotations = results.training("rotations")
    _best(angle, {task: rotations.sel(task=task) for task in TASK_NAMES}, "phi", "B", missing)
    if angle.lines:
        characteristic_lines(angle, float(rotations.phi.max()))
        angle.set_xlabel(ANGLE.replace("angular frequency", "rotation"))
    handles, labels = legend_entries(strength, angle)
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), fontsize=6, handlelength=3)
    informed = results.training("informed_images")
    for task, name in TASK_NAMES.items():
        for residual, (network, dashes) in NETWORKS.items():
            style: dict[str, Any] = {"linestyle": dashes, "linewidth": 0.9}
            training = informed.sel(task=task, residual=residual)
            if not learning_curve(learning, training, TASK_COLORS[task], f"{name}, {network}", **style):
                missing(f"C, {name}, {network}")
    if learning.lines:
        learning.set(xlabel="training iteration", ylabel="test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
        learning.legend(loc="lower right", fontsize=6)
    else:
        missing.panel("C", learning)
    figure.set_label(notes("C: mean and range over instances", crossed(learning), missing.note()))
    return figure


def _best(ax: Axes, tasks: dict[str, xr.Dataset], over: str, letter: str, missing: Missing) -> None:
    for task, training in tasks.items():
        there, style = recorded(training), TASK_STYLES[task]
        if not there.status.size:
            missing(f"{letter}, {TASK_NAMES[task]}")
            continue
        best_metric(ax, there, over, color=TASK_COLORS[task], label=TASK_NAMES[task], **style)
        for seed in there.seed.values:
            points = there.best_metric.sel(seed=seed)
            ax.plot(there[over], points, color=TASK_COLORS[task], linestyle="", marker=".", markersize=2.5)
    if not ax.lines:
        missing.panel(letter, ax)
        return
    ax.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)


SCRIPT = Script(
    "main results of the reproduction",
    ("smnist_strength", "psmnist_strength", "rotations", "informed_images"),
    draw,
)
