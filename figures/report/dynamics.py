"""Claims of section 4.1 on exponents and curvature, before and after training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from itertools import pairwise, product

import numpy as np
import xarray as xr

from figures.evidence import Evidence
from figures.paper import STRENGTH_CLASSES
from figures.report.claim import NOT_TOLD_APART, Check, Claim, above, below, missing, within
from figures.report.compare import why_undecided
from figures.report.intervals import FACTOR, NUMBER, RATE, estimate

UNTRAINED_MEAN = 1e-4
"""Nats per step up to which the mean exponent of untrained networks counts as log r."""

TRAINED_MEAN = 1e-3
"""The same after training: less than a seventh of the distance between neighbouring classes of Fig. 2."""

MOVED = 1e-6
"""Rounding of exponents that are compared with bounds."""

TITLES = {"smnist_strength": "sMNIST", "psmnist_strength": "psMNIST", "add100_strength": "ADD100"}
"""Stages whose exponents are measured, with the name of the task."""


TASK_TITLES = {"smnist": "sMNIST", "psmnist": "psMNIST", "add100": "ADD100"}
"""Tasks of untrained networks, with their names."""


OfTask = Callable[[Evidence, str, str, xr.DataArray], list[Check]]
"""Checks of a stage with the given title, whose exponents lie over seed, r, checkpoint and exponent."""


def _for_each_task(of_task: OfTask) -> Callable[[Evidence], list[Check]]:
    """Join the checks of all tasks; one whose exponents are not measured is missing."""

    @wraps(of_task)
    def of_all_tasks(evidence: Evidence) -> list[Check]:
        checks = []
        for stage, title in TITLES.items():
            found = evidence.analysis(stage, "lyapunov_spectrum")
            if found is None:
                checks.append(missing(f"{title}, trained"))
            else:
                checks += of_task(evidence, stage, title, found.lyapunov_exponent.mean("trajectory"))
        return checks

    return of_all_tasks


def _last(values: xr.DataArray) -> xr.DataArray:
    """Return the values at the last checkpoint of each network; NaN where there is none but the first."""
    place = (values.notnull() * xr.DataArray(np.arange(values.sizes["checkpoint"]), dims="checkpoint")).max(
        "checkpoint"
    )
    return values.isel(checkpoint=place).where(place > 0)


def untrained_mean(evidence: Evidence) -> list[Check]:
    """Return the checks that the mean exponent of untrained networks is log r."""
    found = evidence.measured("initial_dynamics", "exponents")
    if found is None:
        return [missing("sMNIST, psMNIST and ADD100, untrained")]
    deviation = (found["mean"] - np.log(found.r)).transpose("task", "seed", "r")
    return [
        within(
            f"{TASK_TITLES[task]}, r = {r:g}",
            deviation.sel(task=task, r=r).values,
            RATE,
            UNTRAINED_MEAN,
            label="mean exponent less log r",
        )
        for task, r in product(found.task.values, found.r.values)
    ]


def untrained_bounds(evidence: Evidence) -> list[Check]:
    """Return the checks that every exponent of untrained networks is within its rigorous bounds."""
    found = evidence.measured("initial_dynamics", "exponents")
    if found is None:
        return [missing("sMNIST, psMNIST and ADD100, untrained")]
    checks = []
    for task, r in product(found.task.values, found.r.values):
        one = found.sel(task=task, r=r)
        room = np.minimum(one.smallest - one.lower_bound, one.upper_bound - one.largest).values
        what = f"{TASK_TITLES[task]}, r = {r:g}: distance of the exponents from the nearer bound"
        # every network must keep to its bounds, so the smallest distance counts for each
        check = above(what, np.full_like(room, room.min()), RATE, threshold=-MOVED, label="at least")
        ends = [RATE.write(float(each - np.log(r))) for each in (one.smallest.min(), one.largest.max())]
        checks.append(check.with_note(f"exponents less log r from {ends[0]} to {ends[1]}"))
    return checks


@_for_each_task
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


@_for_each_task
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
    found = evidence.measured("initial_dynamics", "curvature")
    if found is None:
        return [missing("sMNIST, untrained: Hessian against r")]
    checks = []
    for (low, high), name in product(pairwise(STRENGTH_CLASSES), ("largest", "median")):
        values = xr.apply_ufunc(np.log, found[name])
        rise = (values.sel(r=high) - values.sel(r=low)).values
        what = f"sMNIST, from r = {low:g} to r = {high:g}: {name} |eigenvalue|"
        ends = [NUMBER.write(float(np.exp(values.sel(r=r).mean()))) for r in (low, high)]
        check = above(what, rise, FACTOR, label="grows by the factor")
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
    law = evidence.measured("coupling_law", "coupling_law")
    if law is None:
        return [missing("untrained networks with residuals that are not normal")]
    gamma = float(law.coupling.values[np.argmin(abs(np.log(law.coupling.values / 0.01)))])
    deviation = np.log(law.largest_deviation.sel(coupling=gamma))
    checks = []
    for residual in ("non-normal", "defective"):
        ratio = (deviation.sel(residual=residual) - deviation.sel(residual="orthogonal")).values
        what = f"{residual} beside orthogonal residuals, gamma = {gamma:g}"
        check = above(what, ratio, FACTOR, label="largest deviation of an exponent is larger by the factor")
        slope = estimate(law.slope.sel(residual=residual, law="largest").values).written(NUMBER)
        checks.append(check.with_note(f"it grows like gamma to the power {slope}"))
    return checks


CLAIMS = (
    Claim(
        "The mean Lyapunov exponent is log r before training",
        "sections 3 and 4.1, eq. (13), Figs. 2B, B.1",
        "these networks have N Lyapunov exponents with identical values equal to log r",
        f"for every task and r, the mean of all exponents of untrained networks differs from log r by no more than "
        f"{UNTRAINED_MEAN:g} nats per step; the classes of Fig. 2 are 0.0075 apart",
        (),
        untrained_mean,
        ("initial_dynamics",),
    ),
    Claim(
        "Every Lyapunov exponent is as near to log r as weak coupling forces it to be",
        "section 3, eqs. (12), (13)",
        "the weak coupling limits the range of their finite-size fluctuations",
        "no exponent of an untrained network leaves the interval from the logarithm of the smallest to that of the "
        "largest singular value that r I + gamma W D can have for any |D| <= 1; how far exponents are from log r is "
        "given beside it",
        (),
        untrained_bounds,
        ("initial_dynamics",),
    ),
    Claim(
        "The mean Lyapunov exponent stays log r over training",
        "section 4.1, Fig. B.1",
        "the eigenvalues of variational term remained in the same range during the training period by design",
        f"after training, the mean of all exponents differs from log r by no more than {TRAINED_MEAN:g} nats per step; "
        "the extremes are given beside it",
        tuple(TITLES),
        trained_mean,
        why="A few exponents of r = 0.95 rise by up to 0.05 towards the edge of chaos, while most stay where "
        "they were. "
        "That moves the mean of 100 exponents. The limit is ours; the paper says “in the same range”.",
    ),
    Claim(
        "Networks stay sub- or supercritical over training",
        "sections 3 and 5",
        "the weak coupling in WCRNNs ensures the stability of the gradient properties throughout the learning process",
        "after training, the largest exponent is below 0 for r < 1 and above 0 for r > 1",
        tuple(TITLES),
        trained_sign,
        why="The mean exponent hardly moves, but training spreads the exponents about it. In a weakly "
        "subcritical network the "
        "largest of them can cross 0, so that the trained network is no longer subcritical in the sense of section "
        "2.1.",
    ),
    Claim(
        "The Hessian grows with r",
        "section 4.1, Fig. 2C",
        "the magnitudes of the eigenvalues of the Hessians increased with an increase in r",
        "from each class of Fig. 2 to the next, both the largest and the median of the 20 leading |eigenvalues| of the "
        "Hessian of the recurrent weights of untrained networks grow",
        (),
        hessian_against_r,
        ("initial_dynamics",),
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
        "we only used normal residual matrices and that it is known that non-normal initialization can lead to higher "
        "levels of practical expressivity",
        "the largest deviation of an exponent from log |eigenvalue of R| is larger for residuals that are not normal "
        "than for orthogonal ones of the same spectrum; expressivity is not judged",
        (),
        non_normal,
        ("coupling_law",),
        beyond="three instances of untrained networks: `python -m figures renew coupling_law`. How such networks learn "
        "is not studied in the paper.",
    ),
)
