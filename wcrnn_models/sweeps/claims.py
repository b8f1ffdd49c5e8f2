"""One process at a time trains into a directory, also when several sweeps on several machines share it.

Two things say that a directory is taken. A lock of the operating system, which goes with the process that holds it, is
exact on one machine and on network file systems with working locks. Where locks do not reach across machines, a record
of the owner does, which is renewed every few seconds: an owner whose record is a minute old is gone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from wcrnn_models.errors import UserError
from wcrnn_models.files import exclusive

CLAIM_FOLDER = ".claim"
OWNER_FILE = "owner.json"
RENEW_SECONDS = 5.0
STALE_SECONDS = 60.0
"""Renewals that are missed in a row before an owner on another machine counts as gone; no source, chosen to outlast the
pauses of network file systems."""


@contextmanager
def claim(directory: Path) -> Iterator[bool]:
    """Take a directory for the time of the ``with`` block, if nobody else has it.

    Args:
        directory: The directory of a run; it must exist.

    Yields:
        Whether it could be taken.
    """
    folder = directory / CLAIM_FOLDER
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder))
            token = _take(folder / OWNER_FILE)
        except UserError:  # another process on this machine, or another thread of this one
            token = None
        if token is not None:
            stack.enter_context(_kept(folder / OWNER_FILE, token))
        yield token is not None


@contextmanager
def _kept(path: Path, token: str) -> Iterator[None]:
    """Renew the record of this owner, and remove it at the end."""
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


def _take(path: Path) -> str | None:
    """Make this process the owner, unless one on another machine is alive; the caller holds this machine's lock."""
    token = uuid.uuid4().hex
    if path.exists():
        owner = _owner(path)
        if owner.get("host") != socket.gethostname() and _age(path) < STALE_SECONDS:
            return None
        if not _remove(path, owner):
            return None
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:  # another machine was faster
        return None
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({"host": socket.gethostname(), "process": os.getpid(), "token": token}, file)
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return token


def _remove(path: Path, owner: dict[str, object]) -> bool:
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


def _renew(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        with suppress(OSError):  # such as a full disk: the next time may succeed
            if _owner(path).get("token") == token:
                os.utime(path)


def _owner(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_bytes())
    except (OSError, ValueError):  # not there, or half written
        return {}
    return owner if isinstance(owner, dict) else {}


def _age(path: Path) -> float:
    """Return the seconds since the record was renewed, by the clock of the file system, which all machines share."""
    clock = path.with_name(f"clock.{uuid.uuid4().hex}")
    try:
        clock.touch()
        return clock.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # given back at this moment
        return STALE_SECONDS
    finally:
        clock.unlink(missing_ok=True)
