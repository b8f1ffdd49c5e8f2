"""Files that are either the old or the new version, never half of one, and one process at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wcrnn_models.errors import UserError, clause
from wcrnn_models.owners import owned

LOCK_FILE = ".lock"
_OWNER_FILE = ".owner.json"
_TEMPORARY_SUFFIX = ".partial"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class VanishedError(UserError):
    """A directory that was there is not there any more."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    The content goes to a temporary name in the same directory, to the disk, and then takes the final name. A link of
    that name is replaced, and what it points to is left alone.

    Raises:
        VanishedError: If there is no such directory.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX, dir=path.parent)
    except FileNotFoundError as error:
        raise VanishedError(
            f"the directory {path.parent} has vanished, so {path.name} cannot be written; if it was moved, the same "
            "command resumes there."
        ) from error
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


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Return the content of a file; a pipe or a device, which may have no end, is not read.

    Args:
        path: The file.
        most: Most bytes that it may have; any number by default.

    Raises:
        UserError: If it is one, or has more bytes.
        FileNotFoundError: If there is no such file.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; remove it, or name another.")
    if most is None:
        return path.read_bytes()
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path} has more than {most} bytes, which no such file has; name another.")
    return content


def read_json(path: Path, remedy: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: If it is not valid JSON; the text ends with the remedy.
    """
    try:
        return json.loads(read_regular(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # the latter from brackets nested too deeply
        raise UserError(f"{path} is not valid JSON ({clause(error)}); {remedy}.") from error


def check_result_file(path: Path) -> None:
    """See that a file can be written, before what it is for is computed.

    Raises:
        UserError: If its directory does not exist or cannot be written, or the name is that of a link or of something
            else, or does not end in ``.nc``.
    """
    if not path.parent.is_dir():
        raise UserError(f"the directory {path.parent} of the result file does not exist; create it first.")
    if path.is_dir():
        raise UserError(f"the result file {path} is a directory; name a file in it.")
    if path.is_symlink():
        raise UserError(
            f"the result file {path} is a link, and what it points to would be replaced; name that file itself."
        )
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


def open_own(path: Path, flags: int = os.O_RDWR) -> int:
    """Open a file that only this program writes, made if missing; refuse what others have put there.

    Args:
        path: The file.
        flags: Flags of `os.open`.

    Returns:
        The file descriptor.

    Raises:
        UserError: If it is a link, or no regular file, so that something else would be written to.
        OSError: If it cannot be opened.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # the latter for pipes
    foreign = UserError(f"{path} is a link or no regular file, so that something else would be written to; remove it")
    if path.is_symlink():
        raise foreign
    try:
        descriptor = os.open(path, flags | os.O_CREAT | careful, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise foreign from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise foreign
    return descriptor


def append_line(path: Path, line: str) -> None:
    """Append a line to a file of this program.

    Raises:
        UserError: If it is a link, or no regular file.
        OSError: If it cannot be opened.
    """
    with os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND), "a") as file:
        file.write(line + "\n")


class InUseError(UserError):
    """A directory is held by another process, or another call in this one."""


class Hold:
    """A directory that this process holds.

    Args:
        directory: Path of the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._identity = self._found()

    def refuse_other(self) -> None:
        """See that the directory is still the one that is held.

        Raises:
            UserError: If it was moved or deleted.
        """
        if self.lasts():
            return
        raise UserError(
            f"the directory {self._path.parent} was moved or deleted while it was in use, so nothing more is written; "
            "if it was moved, the same command resumes there."
        )

    def lasts(self) -> bool:
        """Return whether the directory is still the one that is held."""
        return self._identity is not None and self._found() == self._identity

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


@contextmanager
def exclusive(directory: Path) -> Iterator[Hold]:
    """Hold the directory for this process; the operating system releases it when the process dies.

    On file systems without locks, a record of the owner serves, see `wcrnn_models.owners`.

    Raises:
        InUseError: If another process, or another call in this one, holds it.
        UserError: If the file of the lock is a link.
    """
    path = directory / LOCK_FILE
    os.close(open_own(path))
    lock, holder = FileLock(path), _holder(path)
    with ExitStack() as stack:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InUseError(
                f"{directory} is in use by {'process ' + holder if holder else 'another process'}; "
                "wait until it ends, or train into another directory."
            ) from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
                raise
            stack.enter_context(owned(directory / _OWNER_FILE, locked=False))
        else:
            stack.callback(lock.release)
        with suppress(OSError), os.fdopen(open_own(path, os.O_WRONLY | os.O_TRUNC), "w") as file:
            file.write(str(os.getpid()))  # Windows keeps others, us among them, from writing to a locked file
        yield Hold(directory)


def _holder(path: Path) -> str:
    """Return the number of the process that a lock file names, empty if it names none."""
    try:
        with path.open("rb") as file:
            name = file.read(20).strip()
    except OSError:  # on Windows, where it is locked
        return ""
    return name.decode() if name.isdigit() else ""


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; directories cannot be opened on Windows, where the rename itself is."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
