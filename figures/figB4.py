"""Fig. B.4: rotations on sMNIST: learning, gradients over time, best accuracy, and random orthonormal residuals."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex
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
from figures.marks import crossed, learning_curve, legend_entries
from figures.missing import Missing, instance, recorded
from figures.paper import CHARACTERISTIC_FREQUENCY
from figures.scripts import Script
from figures.style import TASK_COLORS, notes, over_seeds, panels, title
from lyapkit import plots

ORTHONORMAL = {
    "orthogonal": ("random orthogonal", "#D55E00"),
    "rotation": ("rotations, random angles", "#0072B2"),
}
"""Names and colours by the residual."""

GRADIENT_ANGLES = 4  # in panel B, evenly chosen, so that they can be told apart
BAR_LABELS = 14  # at most, of the colour bar
INSET_STEPS = 4 * 28  # periods of the characteristic frequency
LONG_EPOCHS = 200
"""Number of epochs of panel C in the paper."""


def draw(results: Evidence) -> Figure:
    """A: accuracy over training for each angle. B: gradient norms before training; inset: their last steps.

    C: best accuracy against the angle. D: accuracy over training for random orthonormal residuals.
    """
    figure, (learning, gradients, accuracy, random) = panels(2, 2)
    missing = Missing()
    training = results.training("rotations").sel(task="smnist")
    shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.95, training.sizes["phi"]))]
    colors = dict(zip(training.phi.values.tolist(), shades, strict=True))
    lost = [
        phi
        for phi, color in colors.items()
        if not learning_curve(learning, training.sel(phi=phi), color, linewidth=0.8)
    ]
    shown: list[float] = []
    said = []
    if len(lost) == len(colors):
        missing.panel("A", learning)
        missing.panel("C", accuracy)
    else:
        missing.values("A, C", "phi", lost)
        learning.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
        handles, labels = legend_entries(learning)
        if handles:
            learning.legend(handles, labels, loc="upper left", fontsize=6)
        length = counted(int(training.iteration[-1]))
        said = [f"A: {length}", f"C: {length} as in A, where the paper has {LONG_EPOCHS} epochs"]
        _best(accuracy, training)
    found = results.analysis("rotations", "gradient_propagation")
    untrained = {
        phi: one
        for phi in colors
        if (one := instance(found, "gradient_norm", task="smnist", phi=phi, checkpoint=0)) is not None
    }
    if untrained:
        shown = _gradients(gradients, untrained, colors)
        angles = ", ".join(f"{phi / CHARACTERISTIC_FREQUENCY:.3g}" for phi in shown)
        said.insert(1, rf"B: untrained, first instance, one digit, $\phi_0 / \phi_c$ = {angles}")
    else:
        missing.panel("B", gradients)
    if learning.lines or gradients.lines:
        _colour_bar(figure, [learning, gradients], colors)
    networks = results.training("orthonormal")
    absent = [
        name
        for residual, (name, color) in ORTHONORMAL.items()
        if not learning_curve(random, networks.sel(residual=residual), color, name)
    ]
    if len(absent) == len(ORTHONORMAL):
        missing.panel("D", random)
    else:
        missing.values("D", "residual", absent)
        random.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
        legend_above(random)
    spread = over_seeds({"A, C": recorded(training), "D": recorded(networks)})
    figure.set_label(notes(*said, spread, crossed(learning, random), missing.note()))
    return figure


def _colour_bar(figure: Figure, axes: list[Axes], colors: Mapping[float, str]) -> None:
    """Draw a step for each angle that was measured, as there is nothing between them."""
    steps = ScalarMappable(Normalize(-0.5, len(colors) - 0.5), ListedColormap(list(colors.values())))
    bar = figure.colorbar(steps, ax=axes, label=r"A, B: $\phi_0 / \phi_c$", aspect=25)
    every = 1 + len(colors) // BAR_LABELS
    names = [f"{phi / CHARACTERISTIC_FREQUENCY:.3g}" for phi in colors]
    bar.set_ticks(range(len(colors))[::every], labels=names[::every])
    bar.ax.tick_params(which="both", length=0)


def _gradients(ax: Axes, untrained: Mapping[float, xr.Dataset], colors: Mapping[float, str]) -> list[float]:
    """Draw norms over time of some angles, and in an inset the last periods, where the oscillation shows.

    Returns:
        The angles.
    """
    angles = list(untrained)
    chosen = np.unique(np.linspace(0, len(angles) - 1, GRADIENT_ANGLES).round().astype(int))
    shown = [angles[place] for place in chosen]
    inset = ax.inset_axes((0.3, 0.64, 0.7, 0.3))
    for phi in shown:
        norms = untrained[phi]
        plots.gradient_propagation(norms, ax=ax, color=colors[phi], lines=1)
        plots.gradient_propagation(norms.isel(step=slice(-INSET_STEPS, None)), ax=inset, color=colors[phi], lines=1)
    low, high = ax.dataLim.intervaly
    bottom = 0.9 * low
    ax.set_ylim(bottom, bottom * (high / bottom) ** 2)  # the lower half; the inset is in the other
    inset.set(yscale="linear", xlabel="", ylabel="")
    title(inset, f"last {INSET_STEPS} steps", fontsize=6, pad=1)
    inset.tick_params(labelsize=6)
    return shown


def _best(ax: Axes, training: xr.Dataset) -> None:
    best_metric(ax, training, "phi", color=TASK_COLORS["smnist"], label="sMNIST")
    characteristic_lines(ax, float(training.phi.max()))
    ax.set(xlabel=ANGLE, ylabel="best test accuracy", ylim=ACCURACIES, yticks=ACCURACY_TICKS)
    legend_above(ax)


SCRIPT = Script("rotations on sMNIST, and random orthonormal residuals", ("rotations", "orthonormal"), draw)
