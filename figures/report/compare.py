"""Comparisons of trained networks: which learnt better or faster, and whose learning was unstable."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from figures.cells import NOTHING_LEARNT
from figures.style import scientific

ACCURACY_MARGIN = 0.01
"""Accuracies that differ by less are not told apart; their standard error is up to 0.011 on 2000 test samples."""

RATIO_MARGIN = 1.05
"""RMS, or iterations, whose ratio is less are not told apart."""

ACCURACY_LEARNT = 0.2
"""Best accuracy from which on a network has learnt something; always answering one digit gives about 0.1."""

MARGINS = textwrap.fill(
    "Results are means over network instances. Accuracies are told apart if they differ by more than "
    f"{100 * ACCURACY_MARGIN:g} percentage point, RMS or numbers of iterations if their ratio exceeds "
    f"{RATIO_MARGIN:g}; "
    f"a network has learnt something if its best accuracy exceeds {100 * ACCURACY_LEARNT:g} % or its best RMS is below "
    f"{NOTHING_LEARNT:.3f}. The setback of a training is how far its test metric ever falls behind its earlier best; "
    "a training that diverged counts as having an infinite one.",
    120,
)
"""How results are compared, for the report."""


def is_accuracy(training: xr.Dataset) -> bool:
    """Whether the test metric is an accuracy; otherwise it is an RMS."""
    return bool(training.attrs["metric_name"] == "accuracy")


def best(training: xr.Dataset, **point: Any) -> float:
    """Best test metric, mean over instances, at a point of the other dimensions."""
    return float(training.best_metric.sel(point).mean("seed"))


def iterations(training: xr.Dataset, **point: Any) -> float:
    """Iterations to minimal performance, mean over instances; all iterations count where it was not reached."""
    return float(training.iterations_to_minimal_performance.sel(point).mean("seed"))


def any_reached(training: xr.Dataset) -> bool:
    """Whether any training reached minimal performance."""
    return bool(training.reached_minimal_performance.any())


def has_learnt(training: xr.Dataset, metric: float) -> bool:
    """Whether a best metric is better than chance."""
    return metric > ACCURACY_LEARNT if is_accuracy(training) else metric < NOTHING_LEARNT


def better(training: xr.Dataset, one: float, other: float) -> bool | None:
    """Whether the first best metric is better than the second; None within the margins, or if nothing was learnt."""
    if not (has_learnt(training, one) or has_learnt(training, other)):
        return None
    if is_accuracy(training):
        return None if abs(one - other) <= ACCURACY_MARGIN else one > other
    return below(one, other)


def below(one: float, other: float) -> bool | None:
    """Whether the first positive number is smaller than the second; None within the margins."""
    if max(one, other) <= RATIO_MARGIN * min(one, other):
        return None
    return one < other


def rising(values: NDArray[np.float64]) -> bool | None:
    """Whether every number is larger than the one before; None if one is not finite."""
    return bool((np.diff(values) > 0).all()) if np.isfinite(values).all() else None


def setback(training: xr.Dataset) -> xr.DataArray:
    """How far the test metric falls behind its earlier best, at most, for every training; infinite if it diverged."""
    metric: xr.DataArray = training.test_metric.transpose(..., "iteration")
    rising = metric.values if is_accuracy(training) else -metric.values
    behind = np.fmax.accumulate(rising, axis=-1) - rising
    largest = np.fmax.reduce(behind, axis=-1)
    diverged = training_diverged(training)
    found: xr.DataArray = metric.isel(iteration=0, drop=True).copy(data=np.where(diverged, np.inf, largest))
    return found


def training_diverged(training: xr.Dataset) -> NDArray[np.bool_]:
    """Which trainings ended with numbers that were not finite, over the dimensions of ``status``."""
    order = [name for name in training.test_metric.dims if name != "iteration"]
    return np.asarray(training.status.transpose(*order).values == "diverged")


def written(training: xr.Dataset, metric: float) -> str:
    """A metric as text: accuracy in percent, RMS in scientific notation where small."""
    if is_accuracy(training):
        return f"{100 * metric:.1f} %"
    return f"{metric:.3f}" if metric >= 0.01 else scientific(metric)
