"""Ctrl-C and SIGTERM end a command at any moment: with one line, its own exit code, and nothing half done.

Only the command line and the processes of a sweep heed signals so. A program that calls `wcrnn_models.train` gets
`KeyboardInterrupt` from Python, and ends by SIGTERM, as ever.

Nothing is lost where a process ends on the spot, since every file is written whole or not at all. So that is what
happens, except inside of `orderly`: there an exception is raised, and what holds a directory lets go of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(BaseException):
    """SIGTERM has come; the text, if any, says what is kept."""


EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _State:
    """Signals that have come to this process, and blocks that go on in it."""

    program: str | None = None
    received: int | None = None
    orderly = 0
    deferred = 0
    has_spoken = False


def heed(program: str | None, numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)) -> None:
    """Heed signals from now on; those that the process was told to ignore stay ignored. Only for the main thread.

    Args:
        program: Beginning of the line; nothing is said if None.
        numbers: The signals.
    """
    _State.program = program
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _raise_again


def disregard() -> None:
    """Ignore signals from now on: the work is done, and Python forgets its handlers while the process ends."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def orderly() -> Iterator[None]:
    """Raise `KeyboardInterrupt` or `Terminated` when a signal comes, while the context is open."""
    _State.orderly += 1
    try:
        yield
    finally:
        _State.orderly -= 1


@contextmanager
def deferred() -> Iterator[None]:
    """Let SIGTERM wait until the block asks with `requested`."""
    _State.deferred += 1
    try:
        yield
    finally:
        _State.deferred -= 1


def requested() -> bool:
    """Return whether SIGTERM has come and waits."""
    return _State.received == signal.SIGTERM


def received() -> int | None:
    """Return the signal that has come first, if any."""
    return _State.received


def say(program: str, number: int, kept: str = "") -> int:
    """Print the line; return the exit code.

    Args:
        program: Beginning of the line.
        number: Number of the signal.
        kept: Text about the work that is kept; empty if there is nothing to say of it.
    """
    _State.has_spoken = True
    print(f"{program}: {_WORDS[signal.Signals(number)]}{kept and f'; {kept}'}", file=sys.stderr)
    return EXIT_CODES[signal.Signals(number)]


def _handle(number: int, _: FrameType | None) -> None:
    again = _State.received is not None
    _State.received = _State.received or number
    if again or not _State.orderly:
        _end(number)
    if number == signal.SIGTERM and _State.deferred:
        return
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _end(number: int) -> None:
    """End the process on the spot."""
    with suppress(Exception):  # such as of a stream that is being written to
        sys.stdout.flush()
    if _State.program is not None and not _State.has_spoken:
        with suppress(OSError):
            os.write(2, f"{_State.program}: {_WORDS[signal.Signals(number)]}\n".encode())
    os._exit(EXIT_CODES[signal.Signals(number)])


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt that came inside of a destructor, where Python only prints it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt | Terminated) or _State.received is None:
        sys.__unraisablehook__(unraisable)
        return
    from threading import Timer

    number, _State.received = _State.received, None
    again = Timer(0.01, os.kill, (os.getpid(), number))  # at once would be in here, where it would only be printed
    again.daemon = True
    again.start()
