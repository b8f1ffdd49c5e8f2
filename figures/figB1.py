"""Fig. B.1: exponents of the variational term before and after training, on the adding problem and psMNIST."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import caption_line, panels, strength_color, strength_label
from lyapkit import plots

LENGTHS = (100, 400)
EXPONENTS = 20  # shown, as in the paper; there they are chosen at random, here evenly over the ranks
DASHED = (0, (4, 2))


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A row for each task: before training on the left, after it on the right."""
    measured = terms(data)
    figure, axes = panels(len(measured), 2, height=2.0, sharey="row")
    untrained_only = []
    for row, (task, term) in enumerate(measured.items()):
        before, after = axes[2 * row : 2 * row + 2]
        _exponents(term.isel(checkpoint=0), before)
        before.set_title(f"{task}, before training", loc="center")
        if term.sizes["checkpoint"] == 1:  # a run diverged, and there is no later checkpoint that all runs have
            after.remove()
            untrained_only.append(task)
            continue
        _exponents(term.isel(checkpoint=-1), after)
        after.set_title(f"{task}, after {int(term.checkpoint[-1])} iterations", loc="center")
        after.set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    dashed = Line2D([], [], color="0.4", linewidth=0.8, linestyle=DASHED)
    names = [*labels, r"$\log r$"]
    figure.legend([*handles, dashed], names, loc="outside upper center", ncols=5, fontsize=6)
    note = "first seed"
    if missing := [f"ADD{length}" for length in LENGTHS if f"ADD{length}" not in measured]:
        note += f"; {', '.join(missing)}: not measured"
    if untrained_only:
        note += f"; {', '.join(untrained_only)}: a run diverged, no later checkpoint is common to all"
    caption_line(figure, [data["adding_strength"], data["psmnist_strength"]], note)
    return figure


def terms(data: Mapping[str, xr.DataTree]) -> dict[str, xr.Dataset]:
    """The variational terms of the first seed by the name of the task; lengths that were not measured are left out."""
    adding = data["adding_strength"]
    found = {
        f"ADD{length}": adding[f"variational_term_{length}"]
        for length in LENGTHS
        if f"variational_term_{length}" in adding.children
    }
    found["psMNIST"] = data["psmnist_strength"]["variational_term"]
    return {task: node.to_dataset().isel(seed=0) for task, node in found.items()}


def _exponents(term: xr.Dataset, ax: Axes) -> None:
    for r in STRENGTH_CLASSES:
        color = strength_color(r)
        plots.variational_term(term.sel(r=r), ax=ax, lines=EXPONENTS, color=color, label=strength_label(r))
        ax.axhline(np.log(r), color=color, linewidth=0.8, linestyle=DASHED)
    ax.set_ylabel("exponent (nats per step)")


SCRIPT = Script(
    "exponents of the variational term before and after training", ("adding_strength", "psmnist_strength"), draw
)
