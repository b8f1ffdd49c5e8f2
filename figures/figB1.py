"""Fig. B.1: exponents over the sequence before and after training, on the adding problem and psMNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.evidence import Evidence
from figures.exponents import draw_exponents, named
from figures.marks import AT_CHANCE, ended_at_chance, legend_entries
from figures.missing import Missing, last_checkpoint
from figures.paper import STRENGTH_CLASSES
from figures.scripts import Script
from figures.style import notes, panels, strength_color, strength_label, title

STAGES = {"ADD100": "add100_strength", "psMNIST": "psmnist_strength"}
EXPONENTS = 20
"""Number of exponents shown, as in the paper; there they are chosen at random, here evenly over the ranks."""

DASHED = (0, (4, 2))
THIN: Mapping[str, float] = {"linewidth": 0.4, "alpha": 1.0}
"""Style of thin lines, so that those below show between those above."""

MARGIN = 0.05
"""Margin above and below the data, as a part of the height."""


def draw(results: Evidence) -> Figure:
    """Return a row for each task: exponents over time before training on the left, after it on the right.

    Networks that ended at chance are dotted and pale on the right; they do not count for the scale, which both panels
    of a row share.
    """
    figure, axes = panels(len(STAGES), 2, height=2.0)
    missing = Missing()
    kinds: list[str] = []
    beyond: list[str] = []
    for row, (task, stage) in enumerate(STAGES.items()):
        before, after = axes[2 * row : 2 * row + 2]
        letters = "ABCD"[2 * row : 2 * row + 2]
        for ax, letter, trained in ((before, letters[0], False), (after, letters[1], True)):
            found, lost = _exponents(ax, results, stage, trained)
            kinds += found
            if len(lost) == len(STRENGTH_CLASSES):
                missing.panel(f"{letter}, {task}", ax)
                continue
            missing.values(f"{letter}, {task}", "r", lost)
            title(ax, f"{task}, {'after' if trained else 'before'} training")
            ax.set(xlabel="step $t$", ylabel="" if trained else "exponent (nats per step)")
        drawn = [ax for ax in (before, after) if ax.lines]
        if drawn:
            counted = [line for line in _lines(drawn) if line.get_gid() != AT_CHANCE["gid"]]
            low, high = _range(counted or _lines(drawn))
            for ax in drawn:
                ax.set_ylim(low - MARGIN * (high - low), high + MARGIN * (high - low))
            lowest, highest = _range(_lines(drawn))
            beyond += [task] if lowest < low or highest > high else []
    handles, labels = legend_entries(*axes)
    if handles:
        dashed = Line2D([], [], color="0.4", linewidth=0.8, linestyle=DASHED)
        style: dict[str, Any] = {"loc": "outside upper center", "ncols": 6, "fontsize": 6, "columnspacing": 1}
        legend = figure.legend([*handles, dashed], [*labels, r"$\log r$"], **style)
        for line in legend.get_lines()[: len(labels)]:
            line.set_linewidth(1.2)
    leaving = f"{', '.join(beyond)}: networks that ended at chance leave the axis" if beyond else ""
    figure.set_label(notes("first instance", named(kinds, "all panels"), leaving, missing.note()))
    return figure


def _exponents(ax: Axes, results: Evidence, stage: str, trained: bool) -> tuple[list[str], list[float]]:
    """Draw exponents; return their kinds, and the residual strengths without any."""
    training, spectrum = results.training(stage), results.analysis(stage, "lyapunov_spectrum")
    lost_learning = ended_at_chance(training)
    kinds, absent = [], []
    for r in STRENGTH_CLASSES:
        color = strength_color(r)
        iteration = last_checkpoint(spectrum, "lyapunov_exponent", r=r) if trained else 0
        if iteration is None:
            absent.append(r)
            continue
        style: dict[str, Any] = {"color": color, "label": strength_label(r), **THIN}
        if trained and bool(lost_learning.sel(r=r).all("seed")):
            style |= {"linewidth": 0.6, **AT_CHANCE}
        before = len(ax.lines)
        kind = draw_exponents(ax, results, stage, EXPONENTS, {"r": r, "checkpoint": iteration}, **style)
        if not kind:
            absent.append(r)
            continue
        kinds.append(kind)
        for rank, line in enumerate(ax.lines[before:]):
            line.set_zorder(2 + rank / EXPONENTS)  # lines of all classes alternate, none covers the others
        ax.axhline(np.log(r), color=color, linewidth=0.8, linestyle=DASHED)
    return kinds, absent


def _lines(axes: Sequence[Axes]) -> list[Line2D]:
    return [line for ax in axes for line in ax.lines]


def _range(lines: Sequence[Line2D]) -> tuple[float, float]:
    """Return the least and the largest number of the drawn ones."""
    together = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines])
    return float(np.nanmin(together)), float(np.nanmax(together))


SCRIPT = Script("exponents over the sequence before and after training", tuple(STAGES.values()), draw)
