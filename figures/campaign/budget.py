"""Read durations such as 1h30m, and stop when one has passed."""

from __future__ import annotations

import _thread
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wcrnn_models.errors import UserError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def seconds(text: str) -> float:
    """Return the seconds of a duration.

    Args:
        text: Hours, minutes and seconds, such as ``"2h"``, ``"1h30m"`` or ``"480s"``.

    Raises:
        UserError: If it is not a duration above zero.

    Example:
        >>> seconds("1h30m"), seconds("0.5h"), seconds("480s")
        (5400.0, 1800.0, 480.0)
    """
    match = _DURATION.fullmatch(text.strip().lower())
    total = 0.0
    if match is not None:
        total = sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True) if part)
    if total <= 0:
        raise UserError(f"budget must be a duration above zero such as 2h, 1h30m or 480s, got {text!r}.")
    return total


class OutOfTime(KeyboardInterrupt):
    """The budget is spent."""


@contextmanager
def budget(limit: float | None) -> Iterator[None]:
    """Interrupt the block, as Ctrl-C does, when its time has passed. Only for the main thread.

    A process that ignores Ctrl-C, as shells start those in the background of a script, goes on ignoring it, but stops
    when its time has passed.

    Args:
        limit: Seconds; None sets no limit.

    Raises:
        OutOfTime: If the time has passed.
    """
    if limit is None:
        yield
        return
    passed = threading.Event()

    def stop() -> None:
        passed.set()
        main = threading.main_thread().ident
        if sys.platform != "win32" and main is not None:
            signal.pthread_kill(main, signal.SIGINT)  # also wakes a thread that sleeps
        else:
            _thread.interrupt_main()

    def interrupt_in_time(*_: object) -> None:
        if passed.is_set():
            raise KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    timer = threading.Timer(limit, stop)
    timer.daemon = True
    if ignored:
        signal.signal(signal.SIGINT, interrupt_in_time)
    timer.start()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if passed.is_set():
            raise OutOfTime from interrupt
        raise
    finally:
        timer.cancel()
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
