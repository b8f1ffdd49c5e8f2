"""Cells of tables: means and ranges over network instances beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from figures.campaign.results import as_rms
from figures.missing import NOT_MEASURED, recorded
from figures.paper import ADDING_TASKS, FAIL
from figures.style import scientific

NOTHING_LEARNT = 0.95 * (1 / 6) ** 0.5
"""Best RMS of the adding problem from which on a network counts as failed: within 5 % of sqrt(1/6), the RMS of always
answering 1, the mean. The paper does not say what it calls "fail"."""


def best(training: xr.Dataset, task: str) -> str:
    """Return the best accuracy in percent, or best RMS: mean and range over instances.

    Args:
        training: Trainings of the network on the task, over ``seed``.
        task: Name of the task, such as ``"smnist"`` or ``"add100"``.
    """
    one = recorded(training)
    if not one.sizes["seed"]:
        return NOT_MEASURED
    values = as_rms(one).best_metric.values
    if task in ADDING_TASKS:
        values = np.where(values > NOTHING_LEARNT, np.nan, values)
        text = "fail" if np.isnan(values).all() else spread(values, scientific)
    else:
        text = spread(100 * values, lambda value: f"{value:.2f}")
    diverged = int((one.status == "diverged").sum())
    return f"{text}; {diverged} of {one.sizes['seed']} diverged" if diverged else text


def iterations(training: xr.Dataset) -> str:
    """Return iterations to minimal performance: mean and range over instances, and how many reached it if not all.

    As in section 4.1, those of an instance that did not reach it are the iterations of its training.

    Args:
        training: Trainings of the network on the task, over ``seed``.
    """
    one = recorded(training)
    if not one.sizes["seed"]:
        return NOT_MEASURED
    text = spread(one.iterations_to_minimal_performance.values, lambda value: f"{value:.0f}")
    reached, count = int(one.reached_minimal_performance.sum()), one.sizes["seed"]
    return text if reached == count else f"{text}; reached by {reached} of {count}"


def trained(*trainings: xr.Dataset) -> str:
    """Return the iterations of the longest training, or a remark that there is none."""
    lengths = [int(one.iteration[-1]) for one in map(recorded, trainings) if one.sizes["seed"]]
    return str(max(lengths)) if lengths else NOT_MEASURED


def spread(values: NDArray[np.float64], write: Callable[[float], str]) -> str:
    """Return ``mean (least to largest)``, or the one value if there is one; values that are NaN count as failed."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "fail"
    text = write(float(finite.mean()))
    if len(finite) > 1:
        text += f" ({write(float(finite.min()))} to {write(float(finite.max()))})"
    failed = len(values) - len(finite)
    return f"{text}; {failed} of {len(values)} failed" if failed else text


def of_paper(value: float | None, task: str) -> str:
    """Return the paper's best accuracy in percent, or best RMS."""
    if value is None:
        return "\N{EN DASH}"
    if value == FAIL:
        return "fail"
    return scientific(value) if task in ADDING_TASKS else f"{100 * value:.2f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Return a table in Markdown.

    Args:
        header: Titles of the columns.
        rows: Their cells.
        numbers: Whether all columns but the first are set to the right.
    """
    others = "---:" if numbers else "---"
    lines = [header, ["---"] + [others] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
