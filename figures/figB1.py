"""Fig. B.1: exponents of the variational term before and after training, on the adding problem and psMNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import AT_CHANCE, ended_at_chance, legend_entries
from figures.protocols import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import notes, panels, set_caption, strength_color, strength_label, title
from lyapkit import plots

LENGTHS = (100, 400)
EXPONENTS = 20  # shown, as in the paper; there they are chosen at random, here evenly over the ranks
DASHED = (0, (4, 2))
THIN: Mapping[str, float] = {"linewidth": 0.4, "alpha": 1.0}  # so that lines below show between those above
MARGIN = 0.05  # of the height, above and below the data


def draw(data: Mapping[str, xr.DataTree]) -> Figure:
    """A row for each task: exponents over time before training on the left, after it on the right.

    They are the logarithms of the singular values of the variational term over t. Networks that ended at chance are
    dotted and pale on the right; they do not count for the scale, which both panels of a row share.
    """
    measured = terms(data)
    figure, axes = panels(len(measured), 2, height=2.0)
    untrained_only, beyond = [], []
    for row, (task, (term, lost)) in enumerate(measured.items()):
        before, after = axes[2 * row : 2 * row + 2]
        _exponents(term.isel(checkpoint=0), before)
        title(before, f"{task}, before training")
        if term.sizes["checkpoint"] == 1:  # a run diverged, and there is no later checkpoint that all runs have
            after.remove()
            untrained_only.append(task)
            continue
        _exponents(term.isel(checkpoint=-1), after, lost)
        title(after, f"{task}, after {int(term.checkpoint[-1])} iterations")
        after.set_ylabel("")
        low, high = _range([before, after], AT_CHANCE["gid"])
        for ax in (before, after):
            ax.set_ylim(low - MARGIN * (high - low), high + MARGIN * (high - low))
        lowest, highest = _range([after])
        if lowest < after.get_ylim()[0] or highest > after.get_ylim()[1]:
            beyond.append(after.get_title(loc="left"))
    handles, labels = legend_entries(*figure.axes)
    dashed = Line2D([], [], color="0.4", linewidth=0.8, linestyle=DASHED)
    names = [*labels, r"$\log r$"]
    legend = figure.legend([*handles, dashed], names, loc="outside upper center", ncols=6, fontsize=6, columnspacing=1)
    for line in legend.get_lines()[: len(STRENGTH_CLASSES)]:
        line.set_linewidth(1.2)
    missing = [f"{length}: not measured" for length in map("ADD{}".format, LENGTHS) if length not in measured]
    diverged = [f"{task}: a run diverged, no later checkpoint is common to all" for task in untrained_only]
    leaving = f"{', '.join(beyond)}: networks that ended at chance leave the axis" if beyond else ""
    note = notes("first seed", leaving, *missing, *diverged)
    set_caption(figure, [data["adding_strength"], data["psmnist_strength"]], note)
    return figure


def terms(data: Mapping[str, xr.DataTree]) -> dict[str, tuple[xr.Dataset, list[float]]]:
    """Return the variational terms of the first seed, and which r ended at chance there, by the name of the task.

    Lengths that were not measured are left out.
    """
    adding, digits = data["adding_strength"], data["psmnist_strength"]
    found = {
        f"ADD{length}": (adding[f"variational_term_{length}"], adding[f"training_{length}"])
        for length in LENGTHS
        if f"variational_term_{length}" in adding.children
    }
    found["psMNIST"] = (digits["variational_term"], digits["training"])
    return {task: _first_seed(term.to_dataset(), training.to_dataset()) for task, (term, training) in found.items()}


def _first_seed(term: xr.Dataset, training: xr.Dataset) -> tuple[xr.Dataset, list[float]]:
    first = term.isel(seed=0)
    lost = ended_at_chance(training.sel(seed=first.seed.item()))
    return first, lost.r.values[lost.values].tolist()


def _exponents(term: xr.Dataset, ax: Axes, lost: Sequence[float] = ()) -> None:
    for r in STRENGTH_CLASSES:
        color = strength_color(r)
        style: dict[str, Any] = {"color": color, "label": strength_label(r), **THIN}
        style |= {"linewidth": 0.6, **AT_CHANCE} if r in lost else {}
        before = len(ax.lines)
        plots.variational_term(term.sel(r=r), ax=ax, lines=EXPONENTS, **style)
        for rank, line in enumerate(ax.lines[before:]):
            line.set_zorder(2 + rank / EXPONENTS)  # lines of all classes alternate, none covers the others
        ax.axhline(np.log(r), color=color, linewidth=0.8, linestyle=DASHED)
    ax.set_ylabel("exponent (nats per step)")


def _range(axes: Sequence[Axes], without: str | None = None) -> tuple[float, float]:
    """Return the least and the largest number that is drawn; lines with the tag ``without`` do not count."""
    counted = [line for ax in axes for line in ax.lines if without is None or line.get_gid() != without]
    together = np.concatenate([np.asarray(line.get_ydata(), float) for line in counted])
    return float(np.nanmin(together)), float(np.nanmax(together))


SCRIPT = Script(
    "exponents of the variational term before and after training", ("adding_strength", "psmnist_strength"), draw
)
