"""Let only one process at a time train into a directory, even if several sweeps on several machines share it.

A directory can be marked as taken in two ways. A lock of the operating system ends with the process that holds it. It
is exact on one machine, and on network file systems with working locks. If locks do not reach across machines, a record
of the owner does, see `wcrnn_models.owners`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wcrnn_models.errors import UserError
from wcrnn_models.files import InUseError, exclusive
from wcrnn_models.owners import OwnedError, owned

CLAIM_FOLDER = ".claim"
OWNER_FILE = "owner.json"


@contextmanager
def claim(directory: Path) -> Iterator[bool]:
    """Take a directory for the time of the ``with`` block, if nobody else has it.

    Args:
        directory: The directory of a run; it must exist.

    Yields:
        True if the directory could be taken.

    Raises:
        UserError: If the folder of the claim or its lock is a link.
    """
    folder = directory / CLAIM_FOLDER
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, so that something else would be written to; remove it.")
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder))
            stack.enter_context(owned(folder / OWNER_FILE, locked=True))
            mine = True
        except (InUseError, OwnedError):
            mine = False
        yield mine
