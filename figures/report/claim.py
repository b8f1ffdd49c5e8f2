"""A claim of the paper, the comparisons that it is judged by, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import xarray as xr

Verdict = Literal["reproduced", "partly", "not reproduced", "not decided", "not run at full protocol", "not run"]

RULES = """\
Every claim is judged by comparisons, each of which holds, fails, or is not decided: because networks have not learnt
anything, because two results differ by less than the margins below, because a task was not run, or because only the
full training can give the numbers that are compared. The verdict is the first of these that applies:

1. *not run*: no result file that the claim needs exists;
2. *not run at full protocol*: no comparison is decided, and some results are of a shorter protocol than `paper`;
3. *not decided*: no comparison is decided, and all results are of the protocol `paper`;
4. *reproduced*: all comparisons hold;
5. *not reproduced*: all comparisons that are decided fail;
6. *partly*: some comparisons hold, and others fail or are not decided.

Results of the protocols `quick` and `cpu` come from shorter trainings and fewer network instances than the paper's:
verdicts on claims about learning then say what these show."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        measured: What was compared, with its numbers.
        holds: Whether it came out as claimed; None if that is not decided.
    """

    measured: str
    holds: bool | None


Data = Mapping[str, xr.DataTree]
"""Result files by experiment, those that exist."""


@dataclass(frozen=True)
class Claim:
    """What the paper says, and how it is judged.

    Attributes:
        title: In a few words.
        source: Where the paper says it.
        quotation: What it says.
        rule: When it counts as reproduced.
        needs: Experiments that it is judged by.
        checks: The comparisons, from those result files that exist; at least one of them does.
        full: Whether only the protocol `paper` can decide it.
    """

    title: str
    source: str
    quotation: str
    rule: str
    needs: tuple[str, ...]
    checks: Callable[[Data], Sequence[Check]]
    full: bool = False


@dataclass(frozen=True)
class Judgement:
    """A claim with its comparisons and the verdict."""

    claim: Claim
    checks: tuple[Check, ...]
    verdict: Verdict


def judge(claim: Claim, data: Data) -> Judgement:
    """The verdict on a claim from the result files that exist, by `RULES`."""
    present = {name: data[name] for name in claim.needs if name in data}
    if not present:
        return Judgement(claim, (), "not run")
    missing = [Check(f"`{name}` was not run", None) for name in claim.needs if name not in data]
    checks = (*claim.checks(present), *missing)
    at_full = all(tree.attrs["protocol"] == "paper" for tree in present.values())
    if claim.full and not at_full:
        checks = tuple(Check(check.measured, None) for check in checks)
    return Judgement(claim, checks, _verdict([check.holds for check in checks], at_full))


def _verdict(outcomes: Sequence[bool | None], at_full: bool) -> Verdict:
    decided = [outcome for outcome in outcomes if outcome is not None]
    if not decided:
        return "not decided" if at_full else "not run at full protocol"
    if all(outcomes):
        return "reproduced"
    return "partly" if any(decided) else "not reproduced"
