"""A claim of the paper, the comparisons that it is judged by, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from numpy.typing import ArrayLike

from figures.evidence import Evidence
from figures.report.intervals import FEWEST, Estimate, Unit, estimate, instances_needed

Verdict = Literal["reproduced", "partly", "not reproduced", "open"]

VERDICTS: tuple[Verdict, ...] = ("reproduced", "partly", "not reproduced", "open")

WAITING = "trainings or measurements are missing"
TOO_FEW = f"fewer than {FEWEST} instances"
NOT_TOLD_APART = "the interval does not decide it"
NOT_FAIR = "it fails, but not every network had a learning rate of its own"


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        what: Subject of the comparison.
        measured: The numbers.
        holds: Whether it came out as claimed; None if that is open.
        instances: Number of networks, or pairs of them, that were compared.
        interval: Interval of the number that decides it.
        reason: Reason why it is open; empty otherwise.
        needed: Number of instances that would decide it, as far as the spread tells; None if that is not known.
    """

    what: str
    measured: str
    holds: bool | None
    instances: int
    interval: str = ""
    reason: str = ""
    needed: int | None = None

    def with_note(self, note: str) -> Check:
        """Return the check with further numbers that have no part in the decision."""
        return replace(self, measured=f"{self.measured}; {note}")


def above(
    what: str,
    values: ArrayLike,
    unit: Unit,
    *,
    threshold: float = 0.0,
    reason: str = "",
    fair: bool = True,
    resolution: float = 0.0,
    label: str = "",
) -> Check:
    """Return the check that a mean over instances lies above a threshold.

    Args:
        what: Subject of the comparison.
        values: One value for each instance; NaN where there is none.
        unit: Unit of the values.
        threshold: The interval must lie above it for the check to hold, and below it for the check to fail.
        reason: Reason why the values decide nothing; empty if they may.
        fair: Whether each network had the learning rate that suits it; if not, the check cannot fail.
        resolution: Possible error of each value, because it was measured at intervals.
        label: Text before the numbers.
    """
    found = estimate(values).widened(resolution)
    outcome = True if found.low > threshold else False if found.high < threshold else None
    return _check(what, found, unit, outcome, reason, fair, label, instances_needed(found, threshold))


def below(
    what: str,
    values: ArrayLike,
    unit: Unit,
    *,
    threshold: float = 0.0,
    reason: str = "",
    fair: bool = True,
    label: str = "",
) -> Check:
    """Return the check that a mean over instances lies below a threshold; see `above`."""
    found = estimate(values)
    outcome = True if found.high < threshold else False if found.low > threshold else None
    return _check(what, found, unit, outcome, reason, fair, label, instances_needed(found, threshold))


def within(
    what: str,
    values: ArrayLike,
    unit: Unit,
    margin: float,
    *,
    center: float = 0.0,
    reason: str = "",
    fair: bool = True,
    resolution: float = 0.0,
    label: str = "",
) -> Check:
    """Return the check that a mean over instances differs from a center by no more than a margin.

    It holds if the interval lies within the margin, and fails if it lies outside; see `above` for the arguments.
    """
    found = estimate(values).widened(resolution)
    lowest, highest = center - margin, center + margin
    outcome = True if lowest <= found.low and found.high <= highest else None
    if found.low > highest or found.high < lowest:
        outcome = False
    needed = instances_needed(found, highest if found.mean > center else lowest)
    return _check(what, found, unit, outcome, reason, fair, label, needed)


def _check(
    what: str,
    found: Estimate,
    unit: Unit,
    outcome: bool | None,
    reason: str,
    fair: bool,
    label: str,
    needed: int | None,
) -> Check:
    measured = f"{label} {found.written(unit)}".strip()
    interval = found.ends(unit)
    if found.instances < FEWEST:
        reason = reason or (WAITING if not found.instances else TOO_FEW)
        needed = FEWEST
    elif not reason and outcome is None:
        reason = NOT_TOLD_APART
    elif not reason and not outcome and not fair:
        reason = NOT_FAIR
    if reason:
        return Check(what, measured, None, found.instances, interval, reason, needed)
    return Check(what, measured, outcome, found.instances, interval)


def missing(what: str, reason: str = WAITING) -> Check:
    """Return a check without any measurements."""
    return Check(what, "no number", None, 0, "", reason)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with the way in which it is judged.

    Attributes:
        title: The claim in a few words.
        source: Place in the paper.
        quotation: Words of the paper.
        rule: Condition under which it counts as reproduced.
        stages: Stages of the campaign by which it is judged.
        checks: The comparisons; the first that is decided gives the interval of the summary.
        files: Result files by which it is judged, without a suffix.
        why: Explanation of the deviation, for claims that are not reproduced or partly so.
        beyond: Measurements that would settle it and that no stage trains; empty if there are none.
    """

    title: str
    source: str
    quotation: str
    rule: str
    stages: tuple[str, ...]
    checks: Callable[[Evidence], Sequence[Check]]
    files: tuple[str, ...] = ()
    why: str = ""
    beyond: str = ""


@dataclass(frozen=True)
class Judgement:
    """A claim with its comparisons and the verdict."""

    claim: Claim
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict that follows from the comparisons."""
        decided = [check.holds for check in self.checks if check.holds is not None]
        if not decided:
            return "open"
        if not any(decided):
            return "not reproduced"
        return "reproduced" if all(decided) and len(decided) == len(self.checks) else "partly"

    @property
    def leading(self) -> Check | None:
        """The comparison that the summary shows: the first that is decided, else the first with an interval."""
        decided = [check for check in self.checks if check.holds is not None]
        return next(iter([*decided, *(check for check in self.checks if check.interval)]), None)

    @property
    def instances(self) -> int:
        """The fewest instances of a comparison that is decided; if there is none, the most of any."""
        decided = [check.instances for check in self.checks if check.holds is not None]
        return min(decided) if decided else max((check.instances for check in self.checks), default=0)


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """Return the verdict on a claim from the results that exist."""
    return Judgement(claim, tuple(claim.checks(evidence)))
