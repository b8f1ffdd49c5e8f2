"""Fig. 6: residuals of types A and B beside linear ones on sMNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    ANGLE,
    best_metric,
    characteristic_lines,
    counted,
    legend_above,
)
from figures.evidence import Evidence
from figures.missing import Missing, recorded
from figures.scales import Against, over_strength, strength_axis
from figures.scripts import Script
from figures.style import notes, over_seeds, panels

COLORS = {"linear": "#4d4d4d", "A": "#0072B2", "B": "#D55E00"}
STYLES: Mapping[str, Mapping[str, Any]] = {
    "linear": {"marker": "o"},
    "A": {"marker": "s", "markersize": 4.2},
    "B": {"marker": "D", "markersize": 2.5, "linestyle": "--"},
}
"""Styles of lines, so that one is seen below the other, and without colours."""
LABELS = {"linear": "linear", "A": "type A", "B": "type B"}


def draw(results: Evidence, against: Against = "r") -> Figure:
    """Best test accuracy; A: against r, the largest eigenvalue of the residual, B: against the angle of rotations."""
    figure, (strength, angle) = panels(1, 2, sharey=True)
    missing = Missing()
    linear, forms = results.training("smnist_strength"), results.training("form_strength")
    said: list[str] = []
    spread: dict[str, xr.Dataset] = {}
    drawn = _compare(strength, _trainings(linear, forms), "r", "A", missing, against)
    if drawn:
        strength_axis(strength, np.unique(np.concatenate([each.r.values for each in drawn.values()])), against)
        legend_above(strength, handlelength=2.6)
        strength.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
        said.append(f"A: {_length(drawn)}")
    spread |= {f"{LABELS[form]} in A": each for form, each in drawn.items()}
    linear, forms = results.training("rotations").sel(task="smnist"), results.training("form_angle")
    drawn = _compare(angle, _trainings(linear, forms), "phi", "B", missing)
    if drawn:
        angle.set(xlabel=ANGLE, ylim=ACCURACIES, yticks=ACCURACY_TICKS)
        characteristic_lines(angle, max(float(each.phi.max()) for each in drawn.values()))
        said.append(rf"B: {_length(drawn)}; $\phi_c = 2\pi/28$, thin lines: its harmonics")
    spread |= {f"{LABELS[form]} in B": each for form, each in drawn.items()}
    figure.set_label(notes(*said, over_seeds(spread), missing.note()))
    return figure


def _trainings(linear: xr.Dataset, forms: xr.Dataset) -> dict[str, xr.Dataset]:
    found = {"linear": linear} | {str(form): forms.sel(form=form) for form in forms.form.values}
    return {form: recorded(training) for form, training in found.items()}


def _compare(
    ax: Axes, trainings: Mapping[str, xr.Dataset], over: str, letter: str, missing: Missing, against: Against = "r"
) -> dict[str, xr.Dataset]:
    """Draw the best accuracy up to the end of the shortest trainings; return the drawn trainings."""
    there = {form: training for form, training in trainings.items() if training.status.size}
    if not there:
        missing.panel(letter, ax)
        return {}
    for form in trainings:
        if form not in there:
            missing(f"{letter}, {LABELS[form]}")
    last = _last(there)
    for form, training in there.items():
        best = training.test_metric.sel(iteration=slice(None, last)).max("iteration")
        shown = training.assign(best_metric=best)
        shown = over_strength(shown, against) if over == "r" else shown
        best_metric(ax, shown, over, color=COLORS[form], label=LABELS[form], **STYLES[form])
    return there


def _last(trainings: Mapping[str, xr.Dataset]) -> int:
    return min(int(each.iteration[-1]) for each in trainings.values())


def _length(trainings: Mapping[str, xr.Dataset]) -> str:
    last, longest = _last(trainings), max(int(each.iteration[-1]) for each in trainings.values())
    return counted(last) if last == longest else f"first {counted(last)}, as the longer trainings have up to {longest}"


SCRIPT = Script(
    "residuals of types A and B beside linear ones",
    ("form_strength", "form_angle", "smnist_strength", "rotations"),
    draw,
    over_strength=True,
)
