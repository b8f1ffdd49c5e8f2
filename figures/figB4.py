"""Fig. B.4: rotations on sMNIST: learning, gradients over time, longer training, and random orthonormal residuals."""

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
    best_metric,
    characteristic_lines,
    counted,
    legend_above,
)
from figures.marks import learning_curve, legend_entries
from figures.protocols import CHARACTERISTIC_FREQUENCY
from figures.scripts import Script
from figures.style import TASK_COLORS, notes, over_seeds, panels, set_caption, title
from lyapkit import plots

ORTHONORMAL_COLORS = {"random orthogonal": "#D55E00", "rotations, random angles": "#0072B2"}
GRADIENT_ANGLES = 4  # in panel B, evenly chosen, so that they can be told apart
BAR_LABELS = 14  # at most, of the colour bar
INSET_STEPS = 4 * 28  # periods of the characteristic frequency
LONG_EPOCHS = 200
"""Of panel C in the paper."""


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A: accuracy over training for each angle. B: gradient norms before training; inset: their last steps.

    C: best accuracy against the angle. D: accuracy over training for random orthonormal residuals.
    """
    rotations, orthonormal = data["rotations"], data["orthonormal"]
    training = rotations["training"].to_dataset().sel(task="smnist")
    figure, (learning, gradients, accuracy, random) = panels(2, 2)
    shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.95, training.sizes["phi"]))]
    colors = dict(zip(training.phi.values, shades, strict=True))
    for phi, color in colors.items():
        learning_curve(learning, training.sel(phi=phi), color, linewidth=0.8)
    learning.legend(*legend_entries(learning), loc="upper left", fontsize=6)
    untrained = rotations["gradient_propagation"].to_dataset().isel(seed=0, task=0, checkpoint=0)
    shown = _gradients(gradients, untrained, colors)
    learning.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
    _colour_bar(figure, [learning, gradients], colors)
    long_note = _longer(accuracy, rotations, training)
    networks = orthonormal["training_smnist"].to_dataset()
    _random(random, networks)
    angles = ", ".join(f"{phi / CHARACTERISTIC_FREQUENCY:.3g}" for phi in shown)
    gradients_note = rf"B: untrained, first seed, one digit, $\phi_0 / \phi_c$ = {angles}"
    spread = over_seeds({"A, C": training, "D": networks})
    note = notes(f"A: {counted(int(training.iteration[-1]))}", gradients_note, long_note, spread)
    set_caption(figure, data.values(), note)
    return figure


def _colour_bar(figure: Figure, axes: list[Axes], colors: Mapping[float, str]) -> None:
    """Draw a step for each angle that was measured, as there is nothing between them."""
    steps = ScalarMappable(Normalize(-0.5, len(colors) - 0.5), ListedColormap(list(colors.values())))
    bar = figure.colorbar(steps, ax=axes, label=r"A, B: $\phi_0 / \phi_c$", aspect=25)
    every = 1 + len(colors) // BAR_LABELS
    names = [f"{phi / CHARACTERISTIC_FREQUENCY:.3g}" for phi in colors]
    bar.set_ticks(range(len(colors))[::every], labels=names[::every])
    bar.ax.tick_params(which="both", length=0)


def _gradients(ax: Axes, untrained: xr.Dataset, colors: Mapping[float, str]) -> list[float]:
    """Norms over time of some angles, and in an inset above them the last periods, where the oscillation shows.

    Returns:
        The angles.
    """
    chosen = np.unique(np.linspace(0, untrained.sizes["phi"] - 1, GRADIENT_ANGLES).round().astype(int))
    shown: list[float] = untrained.phi.values[chosen].tolist()
    inset = ax.inset_axes((0.3, 0.64, 0.7, 0.3))
    for phi in shown:
        norms = untrained.sel(phi=phi)
        plots.gradient_propagation(norms, ax=ax, color=colors[phi], lines=1)
        plots.gradient_propagation(norms.isel(step=slice(-INSET_STEPS, None)), ax=inset, color=colors[phi], lines=1)
    low, high = ax.dataLim.intervaly
    bottom = 0.9 * low
    ax.set_ylim(bottom, bottom * (high / bottom) ** 2)  # the lower half; the inset is in the other
    inset.set(yscale="linear", xlabel="", ylabel="")
    title(inset, f"last {INSET_STEPS} steps", fontsize=6, pad=1)
    inset.tick_params(labelsize=6)
    return shown


def _longer(ax: Axes, rotations: xr.DataTree, training: xr.Dataset) -> str:
    """Best accuracy against the angle; returns what the caption says of the length of the trainings."""
    has_longer = "training_long" in rotations.children
    drawn = rotations["training_long"].to_dataset() if has_longer else training
    best_metric(ax, drawn, "phi", color=TASK_COLORS["smnist"], label="sMNIST")
    characteristic_lines(ax, float(drawn.phi.max()))
    ax.set(xlabel=r"angular frequency $\phi_0$ (radians per step)", ylabel="best test accuracy")
    ax.set(ylim=ACCURACIES, yticks=ACCURACY_TICKS)
    legend_above(ax)
    length = counted(int(drawn.iteration[-1]))
    return f"C: {length}" if has_longer else f"C: {length} as in A, where the paper has {LONG_EPOCHS} epochs"


def _random(ax: Axes, training: xr.Dataset) -> None:
    for network in training.network.values:
        learning_curve(ax, training.sel(network=network), ORTHONORMAL_COLORS[str(network)], str(network))
    ax.set(xlabel="training iteration", ylabel="test accuracy", ylim=(0, 1))
    legend_above(ax)


SCRIPT = Script("rotations on sMNIST, and random orthonormal residuals", ("rotations", "orthonormal"), draw)
