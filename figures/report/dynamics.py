"""Claims of section 4.1 on exponents and curvature, before and after training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from itertools import pairwise

import numpy as np
import xarray as xr

from figures.evidence import Evidence
from figures.paper import STRENGTH_CLASSES
from figures.report.claim import NOT_TOLD_APART, Check, Claim, above, below, missing, within
from figures.report.compare import why_undecided
from figures.report.intervals import FACTOR, NUMBER, RATE, estimate
from wcrnn_models import predict
from wcrnn_models.training.build import build_model
from wcrnn_models.training.config import TrainConfig

UNTRAINED_MEAN = 1e-4
"""Nats per step up to which the mean exponent of untrained networks counts as log r."""

TRAINED_MEAN = 1e-3
"""The same after training: less than a seventh of the distance between neighbouring classes of Fig. 2."""

MOVED = 1e-6
"""Rounding of exponents that are compared with bounds."""

TITLES = {"smnist_strength": "sMNIST", "psmnist_strength": "psMNIST", "add100_strength": "ADD100"}
"""Stages whose exponents are measured, with the name of the task."""


OfTask = Callable[[Evidence, str, str, xr.DataArray], list[Check]]
"""Checks of a stage with the given title, whose exponents lie over seed, r, checkpoint and exponent."""


def _for_each_task(moment: str) -> Callable[[OfTask], Callable[[Evidence], list[Check]]]:
    """Return a decorator that joins the checks of all tasks; one whose exponents are not measured is missing."""

    def decorator(of_task: OfTask) -> Callable[[Evidence], list[Check]]:
        @wraps(of_task)
        def of_all_tasks(evidence: Evidence) -> list[Check]:
            checks = []
            for stage, title in TITLES.items():
                found = evidence.analysis(stage, "lyapunov_spectrum")
                if found is None:
                    checks.append(missing(f"{title}, {moment}"))
                else:
                    checks += of_task(evidence, stage, title, found.lyapunov_exponent.mean("trajectory"))
            return checks

        return of_all_tasks

    return decorator


def _last(values: xr.DataArray) -> xr.DataArray:
    """Return the values at the last checkpoint of each network; NaN where there is none but the first."""
    place = (values.notnull() * xr.DataArray(np.arange(values.sizes["checkpoint"]), dims="checkpoint")).max(
        "checkpoint"
    )
    return values.isel(checkpoint=place).where(place > 0)


@_for_each_task("untrained")
def untrained_mean(evidence: Evidence, stage: str, title: str, exponents: xr.DataArray) -> list[Check]:
    """Return the checks that the mean exponent of untrained networks is log r."""
    checks = []
    deviation = (exponents.isel(checkpoint=0).mean("exponent") - np.log(exponents.r)).transpose("seed", "r")
    for r in deviation.r.values:
        values = deviation.sel(r=r).values
        checks.append(within(f"{title}, r = {r:g}", values, RATE, UNTRAINED_MEAN, label="mean exponent less log r"))
    return checks


@_for_each_task("untrained")
def untrained_bounds(evidence: Evidence, stage: str, title: str, exponents: xr.DataArray) -> list[Check]:
    """Return the checks that every exponent of untrained networks is within its rigorous bounds."""
    checks = []
    first = exponents.isel(checkpoint=0)
    configs = {(config.seed, config.r): config for config in evidence.configs(stage)}
    for r in first.r.values:
        room, measured = [], []
        for seed in first.seed.values:
            values = first.sel(seed=seed, r=r).values
            if not np.isfinite(values).all():
                continue
            lower, upper = exponent_bounds(configs[int(seed), float(r)])
            room.append(min(float(values.min() - lower), float(upper - values.max())))
            measured += [values.min() - np.log(r), values.max() - np.log(r)]
        if not room:
            checks.append(missing(f"{title}, r = {r:g}"))
            continue
        what = f"{title}, r = {r:g}: distance of the exponents from the nearer bound"
        # every network must keep to its bounds, so the smallest distance counts for each
        check = above(what, np.minimum(room, min(room)), RATE, threshold=-MOVED, label="at least")
        spread = f"exponents less log r from {RATE.write(min(measured))} to {RATE.write(max(measured))}"
        checks.append(check.with_note(spread))
    return checks


def exponent_bounds(config: TrainConfig) -> tuple[float, float]:
    """Return the least and the largest exponent that an untrained network can have, whatever its input."""
    predictions = predict(build_model(config))
    assert predictions is not None
    return float(predictions.lower_bounds.min()), float(predictions.upper_bounds.max())


@_for_each_task("trained")
def trained_mean(evidence: Evidence, stage: str, title: str, exponents: xr.DataArray) -> list[Check]:
    """Return the checks that the mean exponent stays log r over training; the extremes are noted."""
    checks = []
    training = evidence.training(stage)
    for r in exponents.r.values:
        last = _last(exponents.sel(r=r)) - np.log(r)
        check = within(
            f"{title}, r = {r:g}",
            last.mean("exponent").values,
            RATE,
            TRAINED_MEAN,
            reason=why_undecided(training.sel(r=r)),
            label="mean exponent less log r",
        )
        ends = [f"{RATE.write(float(each))}" for each in (last.min(), last.max())]
        checks.append(check.with_note(f"single exponents less log r from {ends[0]} to {ends[1]}"))
    return checks


@_for_each_task("trained")
def trained_sign(evidence: Evidence, stage: str, title: str, exponents: xr.DataArray) -> list[Check]:
    """Return the checks that the largest exponent of trained networks has the sign of log r."""
    checks = []
    training = evidence.training(stage)
    for r in [r for r in exponents.r.values if r != 1]:
        largest = _last(exponents.sel(r=r)).max("exponent").values
        judged = below if r < 1 else above
        reason = why_undecided(training.sel(r=r))
        checks.append(judged(f"{title}, r = {r:g}", largest, RATE, reason=reason, label="largest exponent"))
    return checks


def _magnitudes(evidence: Evidence) -> dict[str, xr.DataArray] | None:
    """Return the logarithms of the largest and the median |eigenvalue| of the Hessian of the recurrent weights."""
    found = evidence.analysis("smnist_strength", "hessian_recurrent")
    if found is None:
        return None
    magnitude = abs(found.eigenvalue)
    return {"largest": np.log(magnitude.max("rank")), "median": np.log(magnitude.median("rank"))}


def hessian_against_r(evidence: Evidence) -> list[Check]:
    """Return the checks that the Hessian grows with r, by its largest and its median eigenvalue."""
    magnitudes = _magnitudes(evidence)
    if magnitudes is None:
        return [missing("sMNIST, untrained: Hessian against r")]
    checks = []
    for low, high in pairwise(STRENGTH_CLASSES):
        for name, values in magnitudes.items():
            first = values.isel(checkpoint=0)
            what = f"sMNIST, from r = {low:g} to r = {high:g}: {name} |eigenvalue|"
            rise = (first.sel(r=high) - first.sel(r=low)).values
            check = above(what, rise, FACTOR, label="grows by the factor")
            ends = [NUMBER.write(float(np.exp(first.sel(r=r).mean()))) for r in (low, high)]
            checks.append(check.with_note(f"from {ends[0]} to {ends[1]}"))
    return checks


def _over_training(evidence: Evidence, strengths: tuple[float, ...], rises: bool) -> list[Check]:
    magnitudes = _magnitudes(evidence)
    if magnitudes is None:
        return [missing(f"sMNIST, r = {r:g}: Hessian before and after training") for r in strengths]
    training = evidence.training("smnist_strength")
    checks = []
    for r in strengths:
        judged, parts = (above if rises else below), []
        for name, values in magnitudes.items():
            one = values.sel(r=r)
            change = _last(one) - one.isel(checkpoint=0)
            label = f"{name} |eigenvalue| changes by the factor"
            reason = why_undecided(training.sel(r=r))
            parts.append(judged(f"sMNIST, r = {r:g}", change.values, FACTOR, reason=reason, label=label))
        checks.append(_both(*parts))
    return checks


def _both(one: Check, other: Check) -> Check:
    """Return the first check with the numbers of the second; it is decided only if both agree."""
    merged = one.with_note(other.measured)
    if one.holds == other.holds:
        return merged
    reason = "largest and median disagree" if None not in (one.holds, other.holds) else NOT_TOLD_APART
    known = [check.reason for check in (one, other) if check.reason and check.reason != NOT_TOLD_APART]
    needed = max((check.needed for check in (one, other) if check.needed), default=None)
    return replace(merged, holds=None, reason=next(iter(known), reason), needed=needed)


def rich_learning(evidence: Evidence) -> list[Check]:
    """Return the checks that weights change by as much as they were, and by an order of magnitude."""
    training = evidence.training("informed_images")
    if "recurrent.weight" not in training.parameter.values:
        return [missing("sMNIST and psMNIST: change of the recurrent weights")]
    weights = training.sel(parameter="recurrent.weight")
    checks = []
    for task in training.task.values:
        for residual in training.residual.values:
            point = {"task": task, "residual": residual}
            one = weights.sel(point)
            reason = why_undecided(training.sel(point))
            relative = np.log(one.norm_of_change / one.norm_before).values
            growth = np.log(one.norm_after / one.norm_before).values
            where = f"{task}, {residual} residual"
            checks.append(
                above(f"{where}: |change| / |before|", relative, FACTOR, reason=reason, label="recurrent weights:")
            )
            checks.append(
                above(
                    f"{where}: |after| / |before| of at least 10",
                    growth,
                    FACTOR,
                    threshold=float(np.log(10)),
                    reason=reason,
                    label="recurrent weights:",
                )
            )
    return checks


def non_normal(evidence: Evidence) -> list[Check]:
    """Return the checks that residuals that are not normal have exponents farther from log |eigenvalue|."""
    tree = evidence.files.get("coupling_law")
    if tree is None:
        return [missing("untrained networks with residuals that are not normal")]
    law = tree["coupling_law"].to_dataset()
    gamma = float(law.coupling.values[np.argmin(abs(np.log(law.coupling.values / 0.01)))])
    deviation = np.log(law.largest_deviation.sel(coupling=gamma))
    checks = []
    for residual in ("non-normal", "defective"):
        ratio = (deviation.sel(residual=residual) - deviation.sel(residual="orthogonal")).values
        what = f"{residual} beside orthogonal residuals, gamma = {gamma:g}"
        check = above(what, ratio, FACTOR, label="largest deviation of an exponent is larger by the factor")
        slope = estimate(law.slope.sel(residual=residual, law="largest").values).written(NUMBER)
        checks.append(check.with_note(f"it grows with a power of gamma of {slope}"))
    return checks


CLAIMS = (
    Claim(
        "The mean Lyapunov exponent is log r before training",
        "sections 3 and 4.1, eq. (13), Figs. 2B, B.1",
        "these networks have N Lyapunov exponents with identical values equal to log r",
        f"for every task and r, the mean of all exponents of untrained networks differs from log r by no more than "
        f"{UNTRAINED_MEAN:g} nats per step; the classes of Fig. 2 are 0.0075 apart",
        tuple(TITLES),
        untrained_mean,
    ),
    Claim(
        "Every Lyapunov exponent is as near to log r as weak coupling forces it to be",
        "section 3, eqs. (12), (13)",
        "the weak coupling limits the range of their finite-size fluctuations",
        "no exponent of an untrained network leaves the interval from the logarithm of the smallest to that of the "
        "largest singular value that r I + gamma W D can have for any |D| <= 1; how far exponents are from log r is "
        "given beside it",
        tuple(TITLES),
        untrained_bounds,
    ),
    Claim(
        "The mean Lyapunov exponent stays log r over training",
        "section 4.1, Fig. B.1",
        "the eigenvalues of variational term remained in the same range during the training period by design",
        f"after training, the mean of all exponents differs from log r by no more than {TRAINED_MEAN:g} nats per step; "
        "the extremes are given beside it",
        tuple(TITLES),
        trained_mean,
    ),
    Claim(
        "Networks stay sub- or supercritical over training",
        "sections 3 and 5",
        "the weak coupling in WCRNNs ensures the stability of the gradient properties throughout the learning process",
        "after training, the largest exponent is below 0 for r < 1 and above 0 for r > 1",
        tuple(TITLES),
        trained_sign,
        why="The mean exponent stays, but training spreads the exponents about it. In a weakly subcritical network the "
        "largest of them can cross 0, so that the trained network is no longer subcritical in the sense of section "
        "2.1.",
    ),
    Claim(
        "The Hessian grows with r",
        "section 4.1, Fig. 2C",
        "the magnitudes of the eigenvalues of the Hessians increased with an increase in r",
        "from each class of Fig. 2 to the next, both the largest and the median of the 20 leading |eigenvalues| of the "
        "Hessian of the recurrent weights of untrained networks grow",
        ("smnist_strength",),
        hessian_against_r,
    ),
    Claim(
        "The Hessian rises over training in subcritical networks",
        "section 4.1, Fig. B.3D",
        "in subcritical networks the magnitudes of eigenvalues of the Hessian tended to increase over training",
        "for every subcritical class, both the largest and the median of the 20 leading |eigenvalues| of the Hessian "
        "of "
        "the recurrent weights are larger after training than before; if only one is, the network is open",
        ("smnist_strength",),
        lambda evidence: _over_training(evidence, (0.95, 0.995), rises=True),
    ),
    Claim(
        "The Hessian falls over training in critical and supercritical networks",
        "section 4.1, Fig. B.3C",
        "while in critical and supercritical networks they tended to decrease",
        "for r = 1.0025 and r = 1.01, both the largest and the median of the 20 leading |eigenvalues| of the Hessian "
        "of "
        "the recurrent weights are smaller after training than before; if only one is, the network is open",
        ("smnist_strength",),
        lambda evidence: _over_training(evidence, (1.0025, 1.01), rises=False),
    ),
    Claim(
        "Weights change by an order of magnitude",
        "section 5",
        "the weights of WCRNNs often changed by an order of magnitude with respect to their initialization values, "
        "indicating a “rich” learning regime",
        "the 2-norm of the change of the recurrent weights exceeds that of the weights before training, and the norm "
        "after training is at least ten times the one before",
        ("informed_images",),
        rich_learning,
        why="A change as large as the weights themselves is far from lazy learning, in which weights hardly move. "
        "Ten times larger weights are more than that; the paper trains for 200 epochs, these networks for 10.",
    ),
    Claim(
        "Residuals that are not normal behave differently",
        "section 5 (outlook)",
        "we only used normal residual matrices and it is known that non-normal initialization can lead to higher "
        "levels "
        "of practical expressivity",
        "the largest deviation of an exponent from log |eigenvalue of R| is larger for residuals that are not normal "
        "than for orthogonal ones of the same spectrum",
        (),
        non_normal,
        ("coupling_law",),
        beyond="three instances of untrained networks: `python -m figures renew coupling_law`. How such networks learn "
        "is not studied in the paper.",
    ),
)
