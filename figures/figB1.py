"""Fig. B.1: exponents of the variational term before and after training, on the adding problem and psMNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import caption_line, notes, panels, strength_color, strength_label
from lyapkit import plots

LENGTHS = (100, 400)
EXPONENTS = 20  # shown, as in the paper; there they are chosen at random, here evenly over the ranks
DASHED = (0, (4, 2))
THIN: Mapping[str, float] = {"linewidth": 0.4, "alpha": 1.0}  # so that lines below show between those above
SPREAD = 2.0
"""Both panels of a row have one scale unless exponents after training spread by more than this factor."""


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A row for each task: before training on the left, after it on the right."""
    measured = terms(data)
    figure, axes = panels(len(measured), 2, height=2.0)
    untrained_only, own_scales = [], []
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
        if _height(after) > SPREAD * _height(before):
            own_scales.append(" and ".join(ax.get_title(loc="left") for ax in (before, after)))
            continue
        (low, high), (lowest, highest) = before.get_ylim(), after.get_ylim()
        for ax in (before, after):
            ax.set_ylim(min(low, lowest), max(high, highest))
    handles, labels = axes[0].get_legend_handles_labels()
    dashed = Line2D([], [], color="0.4", linewidth=0.8, linestyle=DASHED)
    names = [*labels, r"$\log r$"]
    legend = figure.legend([*handles, dashed], names, loc="outside upper center", ncols=5, fontsize=6)
    for line in legend.get_lines()[: len(handles)]:
        line.set_linewidth(1.2)
    missing = [f"{length}: not measured" for length in map("ADD{}".format, LENGTHS) if length not in measured]
    diverged = [f"{task}: a run diverged, no later checkpoint is common to all" for task in untrained_only]
    note = notes("first seed", *(f"{pair} have different vertical scales" for pair in own_scales), *missing, *diverged)
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
        style: dict[str, Any] = {"color": color, "label": strength_label(r), **THIN}
        before = len(ax.lines)
        plots.variational_term(term.sel(r=r), ax=ax, lines=EXPONENTS, **style)
        for rank, line in enumerate(ax.lines[before:]):
            line.set_zorder(2 + rank / EXPONENTS)  # lines of all classes alternate, none covers the others
        ax.axhline(np.log(r), color=color, linewidth=0.8, linestyle=DASHED)
    ax.set_ylabel("exponent (nats per step)")


def _height(ax: Axes) -> float:
    low, high = ax.get_ylim()
    return high - low


SCRIPT = Script(
    "exponents of the variational term before and after training", ("adding_strength", "psmnist_strength"), draw
)
