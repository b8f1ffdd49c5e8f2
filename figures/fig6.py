"""Fig. 6: residuals of types A and B beside linear ones on sMNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.efficiency import (
    ACCURACIES,
    ACCURACY_TICKS,
    best_metric,
    characteristic_lines,
    counted,
    legend_above,
)
from figures.scales import Against, over_strength, strength_axis
from figures.scripts import Script
from figures.style import notes, over_seeds, panels, set_caption

COLORS = {"linear": "#4d4d4d", "A": "#0072B2", "B": "#D55E00"}
STYLES: Mapping[str, Mapping[str, Any]] = {
    "linear": {"marker": "o"},
    "A": {"marker": "s", "markersize": 4.2},
    "B": {"marker": "D", "markersize": 2.5, "linestyle": "--"},
}
"""So that one is seen below the other, and without colours."""
LABELS = {"linear": "linear", "A": "type A", "B": "type B"}


def draw(data: Mapping[str, xr.DataTree], against: Against = "r") -> Figure:
    """Best test accuracy; A: against r, the largest eigenvalue of the residual, B: against the angle of rotations."""
    nonlinear = data["nonlinear_residuals"]
    figure, (strength, angle) = panels(1, 2, sharey=True)
    linear = data["residual_strength"]["training"].to_dataset()
    forms = nonlinear["training_strength"].to_dataset()
    strength_note = _compare(strength, over_strength(linear, against), over_strength(forms, against), "r")
    spread = {"linear in A": linear, "types A and B in A": forms}
    strength.set(ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
    strength_axis(strength, [*linear.r.values, *forms.r.values], against)
    legend_above(strength, handlelength=2.6)
    linear = data["rotations"]["training"].to_dataset().sel(task="smnist")
    forms = nonlinear["training_angle"].to_dataset()
    angle_note = _compare(angle, linear, forms, "phi")
    spread |= {"linear in B": linear, "types A and B in B": forms}
    angle.set_xlabel(r"angular frequency $\phi_0$ (radians per step)")
    characteristic_lines(angle, float(linear.phi.max()))
    note = rf"A: {strength_note}. B: {angle_note}; $\phi_c = 2\pi/28$, thin lines: its harmonics"
    set_caption(figure, data.values(), notes(note, over_seeds(spread)))
    return figure


def _compare(ax: Axes, linear: xr.Dataset, nonlinear: xr.Dataset, over: str) -> str:
    """Draw the best accuracy up to the last iteration at which all were evaluated; returns what the caption says."""
    trainings = {"linear": linear} | {str(form): nonlinear.sel(form=form) for form in nonlinear.form.values}
    last = max(set(linear.iteration.values) & set(nonlinear.iteration.values))
    for form, training in trainings.items():
        best = training.test_metric.sel(iteration=slice(None, last)).max("iteration")
        best_metric(ax, training.assign(best_metric=best), over, color=COLORS[form], label=LABELS[form], **STYLES[form])
    ends = {int(linear.iteration[-1]), int(nonlinear.iteration[-1])}
    return f"first {counted(last)}, as the longer trainings have up to {max(ends)}" if len(ends) > 1 else counted(last)


SCRIPT = Script(
    "residuals of types A and B beside linear ones",
    ("nonlinear_residuals", "residual_strength", "rotations"),
    draw,
    over_strength=True,
)
