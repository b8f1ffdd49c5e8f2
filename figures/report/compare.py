"""Comparisons of trained networks: which learnt better or faster, and whose learning was unstable."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from figures.cells import NOTHING_LEARNT
from figures.report.samples import ASSUMED, recorded_test_samples, standard_error
from figures.style import scientific
from wcrnn_models.tasks import AddingProblem, PermutedSequentialMNIST, SequentialMNIST

ACCURACY_MARGIN = 0.01
"""Accuracies that differ by less are not told apart, however many test samples there are."""

STANDARD_ERRORS = 2
"""Accuracies that differ by less than so many standard errors of their difference are not told apart."""

RATIO_MARGIN = 1.05
"""RMS, or iterations, whose ratio is less are not told apart. On 2000 test samples with Gaussian errors the standard
error of an RMS is 1.6 %, and two of the ratio of two RMS 4.5 %."""

ACCURACY_LEARNT = 0.2
"""Best accuracy from which on a network has learnt something; always answering one digit gives about 0.1."""

LEARNT_NOTHING = "learnt nothing"
"""Said of networks of which this is why a comparison is not decided."""

_PARAGRAPHS = (
    "Results are means over network instances. Accuracies are told apart if they differ by more than "
    f"{100 * ACCURACY_MARGIN:g} percentage point and {STANDARD_ERRORS} standard errors of their difference, "
    "sqrt((p (1 - p) + q (1 - q)) / n) for accuracies p and q on n test samples, and so are ranges of "
    "accuracies; this covers the choice of the test samples but not how much instances differ. Where a result file "
    f"does not keep n, as those that compare several kinds of networks, it is taken to be {ASSUMED}. RMS or numbers of "
    f"iterations are told apart if their ratio exceeds {RATIO_MARGIN:g}.",
    "MP, minimal performance, is a test accuracy of "
    f"{100 * SequentialMNIST.minimal_performance:g} % on sMNIST and "
    f"{100 * PermutedSequentialMNIST.minimal_performance:g} % on psMNIST, and a test RMS of "
    f"{AddingProblem.minimal_performance:g} on the adding problem (section 4.1). An instance that did not reach it "
    "counts with all its iterations, as in section 4.1: a mean over such instances is a lower bound.",
    f"A network has learnt something if its best accuracy exceeds {100 * ACCURACY_LEARNT:g} % or its best RMS is below "
    f"{NOTHING_LEARNT:.3f}. One that has not is no evidence about learning: comparisons of what learning does with it "
    f'are not decided, and say "{LEARNT_NOTHING}". The setback of a training is how far its test metric ever falls '
    "behind its earlier best, and infinite if the training diverged. It counts only for networks that have learnt "
    "something or diverged, as one that never left chance has nothing to lose.",
)

MARGINS = "\n\n".join(textwrap.fill(paragraph, 120) for paragraph in _PARAGRAPHS)
"""How results are compared, for the report."""


def is_accuracy(training: xr.Dataset) -> bool:
    """Whether the test metric is an accuracy; otherwise it is an RMS."""
    return bool(training.attrs["metric_name"] == "accuracy")


def best(training: xr.Dataset, **point: Any) -> float:
    """Best test metric, mean over instances, at a point of the other dimensions."""
    return float(training.best_metric.sel(point).mean("seed"))


def iterations(training: xr.Dataset, **point: Any) -> float:
    """Iterations to minimal performance, mean over all trainings there; all iterations count if not reached."""
    return float(training.iterations_to_minimal_performance.sel(point).mean())


def written_iterations(training: xr.Dataset, **point: Any) -> str:
    """Iterations to minimal performance as text, which says where it was not reached."""
    mean, reached = iterations(training, **point), training.reached_minimal_performance.sel(point)
    count, of = int(reached.sum()), reached.size
    if not count:
        return f"MP not within {mean:.0f} iterations"
    if count == of:
        return f"{mean:.0f} iterations to MP"
    return f"mean at least {mean:.0f} iterations to MP, reached by {count} of {of} instances"


def any_reached(training: xr.Dataset) -> bool:
    """Whether any training reached minimal performance."""
    return bool(training.reached_minimal_performance.any())


def has_learnt(training: xr.Dataset, metric: float) -> bool:
    """Whether a best metric is better than chance."""
    return metric > ACCURACY_LEARNT if is_accuracy(training) else metric < NOTHING_LEARNT


def learnt(training: xr.Dataset) -> xr.DataArray:
    """Which trainings have learnt something, by their best metric."""
    found: xr.DataArray = training.best_metric
    return found > ACCURACY_LEARNT if is_accuracy(training) else found < NOTHING_LEARNT


def better(training: xr.Dataset, one: float, other: float) -> bool | None:
    """Whether the first best metric is better than the second; None within the margins, or if nothing was learnt."""
    if not (has_learnt(training, one) or has_learnt(training, other)):
        return None
    if is_accuracy(training):
        return exceeds(training, one - other, one, other)
    return below(one, other)


def exceeds(training: xr.Dataset, difference: float, *accuracies: float) -> bool | None:
    """Whether a difference between accuracies is positive; None within the margins.

    Args:
        training: Whose number of test samples counts.
        difference: A sum of the accuracies with weights from -1 to 1; the margin is that of weights of 1.
        accuracies: Those that stand in it.
    """
    error = standard_error(recorded_test_samples(training), *accuracies)
    return None if abs(difference) <= max(ACCURACY_MARGIN, STANDARD_ERRORS * error) else difference > 0


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


def counted_setback(training: xr.Dataset) -> xr.DataArray:
    """The largest setback over the instances that have learnt something or diverged; NaN if there is none."""
    each = setback(training)
    found: xr.DataArray = each.where(learnt(training) | np.isinf(each)).max("seed")
    return found


def smaller_setback(one: float, other: float) -> bool | None:
    """Whether the first counted setback is smaller than the second; None within the margins or if one is NaN."""
    return None if np.isnan(one) or np.isnan(other) else below(one, other)


def written_setback(value: float) -> str:
    """A counted setback as text."""
    return f"none ({LEARNT_NOTHING})" if np.isnan(value) else "infinite" if np.isinf(value) else f"{value:.3f}"


def training_diverged(training: xr.Dataset) -> NDArray[np.bool_]:
    """Which trainings ended with numbers that were not finite, over the dimensions of ``status``."""
    order = [name for name in training.test_metric.dims if name != "iteration"]
    return np.asarray(training.status.transpose(*order).values == "diverged")


def written(training: xr.Dataset, metric: float) -> str:
    """A metric as text: accuracy in percent, RMS in scientific notation where small."""
    if is_accuracy(training):
        return f"{100 * metric:.1f} %"
    return f"{metric:.3f}" if metric >= 0.01 else scientific(metric)
