"""Files that are written under a temporary name, and what killed writers left of them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

_PREFIX, _SUFFIX = ".lyapkit-", ".partial"
_ABANDONED_SECONDS = 3600.0
"""A file that nobody has written to for so long is nobody's; no source, chosen beyond what writing a result takes."""


@contextmanager
def temporary_file(directory: Path) -> Iterator[Path]:
    """Make an empty file that is as readable as any other, and delete it at the end if it is still there.

    Those of writers that were killed are deleted first. The name says which process writes, so that the file of one
    that is alive stays.

    Args:
        directory: Where to.

    Yields:
        The path.
    """
    _remove_orphans(directory)
    path = directory / f"{_PREFIX}{_place()}-{os.getpid()}-{uuid4().hex}{_SUFFIX}"
    path.touch(exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _remove_orphans(directory: Path) -> None:
    for path in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):  # another process may be faster
            if _is_orphan(path):
                path.unlink()


def _is_orphan(path: Path) -> bool:
    place, _, rest = path.name.removeprefix(_PREFIX).partition("-")
    process = rest.partition("-")[0]
    if place == _place() and process.isdecimal() and sys.platform != "win32":  # where this would end the process
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # it is somebody else's, or no process has such a number
            pass
    return time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS


def _place() -> str:
    """Name the machine, and the container in it, within which numbers tell processes apart."""
    try:
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not on Linux
        container = ""
    return sha256(f"{socket.gethostname()} {container}".encode()).hexdigest()[:12]
