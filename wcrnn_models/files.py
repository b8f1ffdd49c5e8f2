"""Files that are either the old or the new version, never half of one, and one process at a time."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wcrnn_models.errors import UserError

LOCK_FILE = ".lock"
_TEMPORARY_SUFFIX = ".partial"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    The content goes to a temporary name in the same directory, to the disk, and then takes the final name.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    _sync_directory(path.parent)


def remove_partial_files(directory: Path) -> None:
    """Delete what killed writers left; only the process that holds the directory's lock may call it."""
    for leftover in directory.glob(f".*{_TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def read_json(path: Path, remedy: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: If it is not valid JSON; the text ends with the remedy.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # the latter from brackets nested too deeply
        raise UserError(f"{path} is not valid JSON ({error}); {remedy}.") from error


def check_result_file(path: Path) -> None:
    """See that a file can be written, before what it is for is computed.

    Raises:
        UserError: If its directory does not exist or cannot be written, or the name is that of something else, or does
            not end in ``.nc``.
    """
    if not path.parent.is_dir():
        raise UserError(f"the directory {path.parent} of the result file does not exist; create it first.")
    if path.is_dir():
        raise UserError(f"the result file {path} is a directory; name a file in it.")
    if path.exists() and not path.is_file():
        raise UserError(f"the result file {path} is a device or a pipe; name a regular file.")
    if path.suffix.casefold() != ".nc":
        raise UserError(f"the result file {path} is netCDF, whatever its name; let the name end in .nc.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(
            f"the directory {path.parent} of the result file cannot be written ({error.strerror}); name another."
        ) from error


def sha256(content: bytes) -> str:
    """Compute the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; the operating system releases it when the process dies.

    Raises:
        UserError: If another process, or another call in this one, holds it.
    """
    path = directory / LOCK_FILE
    lock = FileLock(path)
    holder = path.read_text().strip() if path.exists() else ""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{directory} is in use by {'process ' + holder if holder else 'another process'}; "
            "wait until it ends, or train into another directory."
        ) from None
    try:
        with suppress(OSError):  # Windows keeps others, us among them, from writing to a locked file
            path.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; directories cannot be opened on Windows, where the rename itself is."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
