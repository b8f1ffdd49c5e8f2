"""Comparisons of trained networks: which learnt better, which faster, and whose learning was unstable."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from figures.campaign.rates import CHANCE
from figures.cells import NOTHING_LEARNT
from figures.report.claim import Check, above, missing
from figures.report.intervals import FACTOR, ITERATIONS, NUMBER, PERCENT, POINTS, Unit

LEARNT_NOTHING = "a side has learnt nothing"
DIVERGED = "a side has diverged"
AT_EDGE = "it fails, but the best learning rate that was tried is the lowest or the highest one"
NEITHER_REACHED = "in some pair neither network reached minimal performance"


def is_accuracy(training: xr.Dataset) -> bool:
    """Return whether the test metric is an accuracy; otherwise it is an error."""
    return str(training.attrs["metric_name"]) == "accuracy"


def learnt(training: xr.Dataset) -> xr.DataArray:
    """Tell which trainings have learnt something, by their best metric; False where there is none."""
    best: xr.DataArray = training.best_metric
    if is_accuracy(training):
        return best > CHANCE
    limit = NOTHING_LEARNT**2 if training.attrs["metric_name"] == "mse" else NOTHING_LEARNT
    return best < limit


def why_undecided(*sides: xr.Dataset) -> str:
    """Say why a comparison of networks decides nothing; return an empty text if it may decide.

    Args:
        sides: Trainings over ``seed``.
    """
    if any(bool((side.status == "diverged").any()) for side in sides):
        return DIVERGED
    for side in sides:
        if not bool(learnt(side).where(side.best_metric.notnull(), True).all()):
            return LEARNT_NOTHING
    return ""


def goodness(training: xr.Dataset) -> xr.DataArray:
    """Return the best metric so that more is better: an accuracy, or minus the logarithm of an error."""
    best: xr.DataArray = training.best_metric
    return best if is_accuracy(training) else best.copy(data=-np.log(best.values))


def performance(what: str, one: xr.Dataset, other: xr.Dataset, *, fair: bool = True) -> Check:
    """Return the check that one kind of network reaches a better test metric than another.

    Differences are those of networks with the same seed: of accuracies, or of the logarithms of errors.

    Args:
        what: Subject of the comparison.
        one: Trainings over ``seed``.
        other: Trainings of the other side.
        fair: Whether each network had the learning rate that suits it.
    """
    if not (_measured(one) and _measured(other)):
        return missing(what)
    difference = goodness(one) - goodness(other)
    unit: Unit = POINTS if is_accuracy(one) else FACTOR
    label = "best accuracies differ by" if is_accuracy(one) else "the error of the second is larger by the factor"
    check = above(what, difference.values, unit, reason=why_undecided(one, other), fair=fair, label=label)
    return fairly(check, one).with_note(f"{written_best(one)} and {written_best(other)}")


def fairly(check: Check, one: xr.Dataset) -> Check:
    """Leave a check open that fails, if a better learning rate may lie outside of those that were tried.

    Args:
        check: The check.
        one: Trainings of the side that is worse than claimed.
    """
    if check.holds is False and bool(one.rate_at_edge.any()):
        return replace(check, holds=None, reason=AT_EDGE)
    return check


def written_best(training: xr.Dataset) -> str:
    """Return the mean best metric as text."""
    mean = float(training.best_metric.mean())
    return (
        f"{PERCENT.write(mean)} %" if is_accuracy(training) else f"{training.attrs['metric_name']} {NUMBER.write(mean)}"
    )


def efficiency(what: str, one: xr.Dataset, other: xr.Dataset, *, fair: bool = True) -> Check:
    """Return the check that one kind of network reaches minimal performance in fewer iterations than another.

    A network that did not reach it counts with all its iterations, which is too few. So it counts only beside one that
    did. Iterations are known up to the distance of two measurements, by which the interval is widened.

    Args:
        what: Subject of the comparison.
        one: Trainings over ``seed``.
        other: Trainings of the other side.
        fair: Whether each network had the learning rate that suits it.
    """
    if not (_measured(one) and _measured(other)):
        return missing(what)
    sides = (one, other)
    saved = other.iterations_to_minimal_performance - one.iterations_to_minimal_performance
    reason = DIVERGED if any(bool((side.status == "diverged").any()) for side in sides) else ""
    neither = sum(side.reached_minimal_performance for side in sides) == 0  # False where a side is missing
    if bool(neither.any()):
        reason = reason or NEITHER_REACHED
    reason = reason or why_undecided(*sides)
    check = above(
        what, saved.values, ITERATIONS, reason=reason, fair=fair, resolution=resolution(one), label="iterations saved"
    )
    return fairly(check, one).with_note(f"{written_iterations(one)} and {written_iterations(other)}")


def written_iterations(training: xr.Dataset) -> str:
    """Return the mean iterations to minimal performance as text, which says how many networks reached it."""
    values = training.iterations_to_minimal_performance
    reached, of = int(training.reached_minimal_performance.sum()), int(values.notnull().sum())
    if not reached:
        return f"not within {float(values.max()):.0f}"
    text = f"{float(values.mean()):.0f}"
    return text if reached == of else f"at least {text} (reached by {reached} of {of})"


def resolution(training: xr.Dataset) -> float:
    """Return the iterations between two measurements until minimal performance is reached."""
    shared = json.loads(str(training.attrs.get("config_json", "{}")))
    given = [shared[name] for name in ("evaluate_every", "probe_every") if shared.get(name)]
    return float(min(given)) if given else 0.0


BLOWN_UP = 1e6
"""Smallest factor of the loss with which a training that diverged counts."""

OUTCOMES = ("best_metric", "status", "iterations_to_minimal_performance", "reached_minimal_performance", "rate_at_edge")
"""Variables of trainings that are compared."""


def held_out_best(training: xr.Dataset, dimension: str) -> xr.Dataset:
    """Return the networks at the best point of a dimension, chosen without looking at the network itself.

    For each seed, the point is the one with the best mean metric of the *other* seeds. The best of several noisy means
    is too good; a network that had no part in the choice is not.

    Args:
        training: Trainings over ``seed`` and the dimension.
        dimension: Dimension over which the best point is chosen.

    Returns:
        The `OUTCOMES` over ``seed``, with ``chosen``, the number of the point. All are NaN, and the status is
        "waiting", while a training is missing or there is one seed only.
    """
    points = training[list(OUTCOMES)].drop_vars(dimension, errors="ignore")
    diverged = points.status == "diverged"
    complete = bool((points.best_metric.notnull() | diverged).all()) and points.sizes["seed"] > 1
    good = goodness(training).where(~diverged.values, -np.inf)
    parts = []
    for seed in points.seed.values:
        if complete:
            place = int(good.where(good.seed != seed, drop=True).mean("seed").argmax(dimension))
            parts.append(points.sel(seed=seed).isel({dimension: place}).assign(chosen=place))
        else:
            first = points.sel(seed=seed).isel({dimension: 0})
            empty = {name: first[name] * np.nan for name in OUTCOMES if name not in ("status", "rate_at_edge")}
            parts.append(first.assign(empty).assign(status="waiting", chosen=-1))
    joined: xr.Dataset = xr.concat(parts, "seed")
    return joined.assign_attrs(training.attrs)


def blow_up(training: xr.Dataset) -> xr.DataArray:
    """Return the natural logarithm of the largest recorded training loss over that of the untrained network.

    The largest is of the means between two evaluations. A training that diverged has at least `BLOWN_UP`, as its loss
    became infinite.
    """
    loss = training.train_loss
    if not loss.sizes["iteration"]:
        none: xr.DataArray = training.best_metric.where(False)
        return none
    found: xr.DataArray = np.log(loss.max("iteration") / loss.isel(iteration=0, drop=True))
    counted: xr.DataArray = found.where(training.status != "diverged", np.fmax(found, np.log(BLOWN_UP)))
    return counted


def setback(training: xr.Dataset) -> xr.DataArray:
    """Return the largest distance of the test metric from its earlier best; NaN if the training diverged.

    For errors, it is the logarithm of the ratio.
    """
    metric = training.test_metric.transpose(..., "iteration")
    if not metric.sizes["iteration"]:
        none: xr.DataArray = training.best_metric.where(False)
        return none
    rising = metric.values if is_accuracy(training) else -np.log(metric.values)
    behind = np.fmax.accumulate(rising, axis=-1) - rising
    found: xr.DataArray = metric.isel(iteration=0, drop=True).copy(data=np.fmax.reduce(behind, axis=-1))
    counted: xr.DataArray = found.where(training.status != "diverged")
    return counted


def rank_correlation(training: xr.Dataset, dimension: str, distance: Any) -> xr.DataArray:
    """Return for each seed Spearman's correlation of the iterations to minimal performance with a distance.

    Args:
        training: Trainings over ``seed`` and the dimension.
        dimension: Dimension over which it is computed.
        distance: One number for each point of the dimension.

    Returns:
        NaN for seeds of which a training is missing or fewer than three networks reached minimal performance.
    """
    from scipy.stats import spearmanr

    values = []
    for seed in training.seed.values:
        one = training.sel(seed=seed)
        iterations = one.iterations_to_minimal_performance.transpose(dimension).values
        usable = np.isfinite(iterations).all() and float(one.reached_minimal_performance.sum()) >= 3
        values.append(float(spearmanr(distance, iterations).statistic) if usable else np.nan)
    return xr.DataArray(values, dims="seed", coords={"seed": training.seed})


def _measured(training: xr.Dataset) -> bool:
    return bool(training.best_metric.notnull().any() or (training.status == "diverged").any())
