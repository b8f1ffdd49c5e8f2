"""A record of who owns a directory, for file systems and clusters on which locks do not reach.

The record is renewed every few seconds. An owner whose record is a minute old, or dated in the future, is gone.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wcrnn_models.errors import UserError

RENEW_SECONDS = 5.0
STALE_SECONDS = 60.0
"""Renewals that are missed in a row before an owner on another machine counts as gone; no source, chosen to outlast the
pauses of network file systems."""

_LEFT_SECONDS = 3600.0  # after which a file that a killed process has left is nobody's
_MOST_BYTES = 4096  # of a record

_log = logging.getLogger(__name__)


class OwnedError(UserError):
    """Another process owns the directory."""


@contextmanager
def owned(path: Path, *, locked: bool) -> Iterator[None]:
    """Hold what a record stands for, while the context is open.

    Args:
        path: Path of the record.
        locked: True if a lock keeps out other processes of this machine, so that their records are left over.

    Raises:
        OwnedError: If another process owns it; the text says which, and how old its record is.
    """
    _remove_left(path)
    token = _take(path, locked)
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, token, stop), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        stop.set()
        renewal.join()
        if _owner(path).get("token") == token:
            path.unlink(missing_ok=True)


def _take(path: Path, locked: bool) -> str:
    """Make this process the owner; return what tells it from others."""
    if path.is_symlink() or path.exists():
        owner, age = _owner(path), _age(path)
        name = f"process {owner.get('process', '(unknown)')} of {owner.get('host', '(unknown)')}"
        if age is not None and not (gone := _reason_to_be_gone(owner, age, locked)):
            raise OwnedError(
                f"{path.parent} is in use by {name}, whose record is {max(age, 0):.0f} s old; wait until it ends, or "
                f"{STALE_SECONDS:.0f} s after it has died."
            )
        if age is not None and gone != _LEFT_OVER:
            _log.warning("%s: %s counts as gone: its record %s", path.parent, name, gone)
        if not _remove(path, owner):
            raise OwnedError(f"{path.parent} was taken by another machine at this moment; try again.")
    token = uuid.uuid4().hex
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:  # another machine was faster
        raise OwnedError(f"{path.parent} was taken by another machine at this moment; try again.") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({"host": socket.gethostname(), "process": os.getpid(), "token": token}, file)
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return token


_LEFT_OVER = "is left over"


def _reason_to_be_gone(owner: dict[str, Any], age: float, locked: bool) -> str:
    """Say why an owner is gone; empty if it is not."""
    if owner.get("host") == socket.gethostname() and (locked or not _is_alive(owner.get("process"))):
        return _LEFT_OVER
    if age < -RENEW_SECONDS:
        return f"is dated {-age:.0f} s in the future"
    if age >= STALE_SECONDS:
        return f"was not renewed for {age:.0f} s"
    return ""


def _is_alive(process: object) -> bool:
    """Return whether there may be such a process on this machine."""
    if not isinstance(process, int) or sys.platform == "win32":  # where the question would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is somebody else's, or no process has such a number
        pass
    return True


def _remove(path: Path, owner: dict[str, Any]) -> bool:
    """Take away the record of an owner that is gone; False if another machine has replaced it meanwhile."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)  # of several machines, one succeeds
    except FileNotFoundError:
        return True
    unchanged = _owner(aside) == owner
    if not unchanged:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return unchanged


def _remove_left(path: Path) -> None:
    """Delete clocks and records put aside that killed processes have left in the folder of a record."""
    for left in path.parent.glob(f"{path.name}.*"):
        with suppress(OSError):  # another process may be faster
            if (age := _age(left)) is not None and abs(age) > _LEFT_SECONDS:
                left.unlink()


def _renew(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        with suppress(OSError):  # such as a full disk: the next time may succeed
            if _owner(path).get("token") == token:
                os.utime(path)


def _owner(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            owner = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):  # not there, half written, or no record
        return {}
    return owner if isinstance(owner, dict) else {}


def _age(path: Path) -> float | None:
    """Return the seconds since a file was written, by the clock of the file system, which all machines share.

    None if it is not there.
    """
    clock = path.with_name(f"{path.name}.clock.{uuid.uuid4().hex}")
    try:
        clock.touch(exist_ok=False)
        return clock.lstat().st_mtime - path.lstat().st_mtime
    except FileNotFoundError:  # given back at this moment
        return None
    finally:
        clock.unlink(missing_ok=True)
