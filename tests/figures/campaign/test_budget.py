import os
import signal
import time

import pytest

from figures.campaign.budget import OutOfTime, budget, seconds
from wcrnn_models.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2h", 7200.0), ("1h30m", 5400.0), ("90m", 5400.0), ("480s", 480.0), ("0.5h", 1800.0), (" 1H2m3s ", 3723.0)],
)
def test_durations_are_read(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-1h", "0s", "0h0m", "1m2h", "nan", "1e3s", "2d"])
def test_other_texts_are_refused(text):
    with pytest.raises(UserError, match="budget must be a duration above zero such as 2h, 1h30m or 480s, got"):
        seconds(text)


def test_a_block_is_interrupted_when_its_time_has_passed():
    start = time.monotonic()
    with pytest.raises(OutOfTime), budget(0.2):
        time.sleep(30)
    assert 0.2 <= time.monotonic() - start < 20


def test_a_block_that_ends_in_time_is_not_interrupted():
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with budget(0.2):
        pass
    time.sleep(0.4)
    with budget(None):
        time.sleep(0.01)
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)) == before


def test_ctrl_c_is_not_taken_for_the_end_of_the_budget():
    with pytest.raises(KeyboardInterrupt) as raised, budget(60):
        raise KeyboardInterrupt
    assert not isinstance(raised.value, OutOfTime)


def test_a_process_in_the_background_of_a_script_ends_in_time_too():
    """Shells start it so that it ignores Ctrl-C; it goes on doing so, before and after."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    start = time.monotonic()
    try:
        with pytest.raises(OutOfTime), budget(0.5):  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        assert 0.5 <= time.monotonic() - start < 20
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
