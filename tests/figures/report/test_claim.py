import numpy as np
import pytest

from figures.report.claim import (
    NOT_FAIR,
    NOT_TOLD_APART,
    TOO_FEW,
    WAITING,
    Check,
    Claim,
    above,
    below,
    judge,
    missing,
    within,
)
from figures.report.intervals import NUMBER, POINTS

UP, DOWN, AROUND = [1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 0.1, 1.0]


@pytest.mark.parametrize(
    ("check", "holds", "reason"),
    [
        (above("a", UP, NUMBER), True, ""),
        (above("a", DOWN, NUMBER), False, ""),
        (above("a", AROUND, NUMBER), None, NOT_TOLD_APART),
        (above("a", UP, NUMBER, threshold=2), False, ""),
        (above("a", UP[:2], NUMBER), None, TOO_FEW),
        (above("a", [1.0, np.nan, 1.1], NUMBER), None, TOO_FEW),
        (above("a", [np.nan] * 3, NUMBER), None, WAITING),
        (above("a", UP, NUMBER, reason="chance"), None, "chance"),
        (above("a", DOWN, NUMBER, reason="chance"), None, "chance"),
        (above("a", DOWN, NUMBER, fair=False), None, NOT_FAIR),
        (above("a", UP, NUMBER, fair=False), True, ""),
        (above("a", UP, NUMBER, resolution=1.0), None, NOT_TOLD_APART),
        (below("a", DOWN, NUMBER), True, ""),
        (below("a", UP, NUMBER), False, ""),
        (below("a", UP, NUMBER, fair=False), None, NOT_FAIR),
        (within("a", [0.01, -0.01, 0.0], NUMBER, 0.1), True, ""),
        (within("a", [0.01, -0.01, 0.0], NUMBER, 0.1, resolution=0.1), None, NOT_TOLD_APART),
        (within("a", UP, NUMBER, 0.1), False, ""),
        (within("a", DOWN, NUMBER, 0.1), False, ""),
        (within("a", AROUND, NUMBER, 0.1), None, NOT_TOLD_APART),
        (within("a", UP, NUMBER, 0.5, center=1.1), True, ""),
        (within("a", UP, NUMBER, 0.5), False, ""),
        (within("a", UP, NUMBER, 0.1, fair=False), None, NOT_FAIR),
        (missing("a"), None, WAITING),
    ],
)
def test_a_comparison_holds_fails_or_is_open_for_a_reason(check, holds, reason):
    assert (check.holds, check.reason) == (holds, reason)


def test_a_comparison_shows_its_numbers():
    check = above("a beside b", [0.1, 0.2, 0.3], POINTS, label="differ by")
    assert check.measured == "differ by +20.0 points (-4.8 to +44.8 points; 3 instances)"
    assert (check.interval, check.instances, check.needed) == ("-4.8 to +44.8 points", 3, 4)
    assert check.with_note("50 %").measured.endswith("instances); 50 %")


def claim(*outcomes, instances=3):
    checks = [
        Check(
            f"{place}",
            "m",
            outcome,
            instances,
            "" if outcome is None else f"i{place}",
            "" if outcome is not None else "r",
        )
        for place, outcome in enumerate(outcomes)
    ]
    return judge(Claim("t", "s", "q", "r", (), lambda evidence: checks), None)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((True, True), "reproduced"),
        ((True, None), "partly"),
        ((True, False), "partly"),
        ((True, False, None), "partly"),
        ((False, False), "not reproduced"),
        ((False, None), "not reproduced"),
        ((None, None), "open"),
        ((), "open"),
    ],
)
def test_the_verdict_follows_from_the_comparisons(outcomes, verdict):
    assert claim(*outcomes).verdict == verdict


def test_the_summary_shows_the_first_decided_comparison_and_the_fewest_instances():
    judged = claim(None, False, True)
    assert judged.leading.interval == "i1"
    assert judged.instances == 3
    assert claim(None).leading is None
    assert claim(None, instances=2).instances == 2
