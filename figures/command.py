"""Parts shared by the commands ``python -m figures``: mistakes in one line, and the places of results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from lyapkit_command.guard import guard, refuse_empty
from wcrnn_models.errors import UserError

RUNS = Path("runs/figures")
"""Folder of trained networks, in the directory where the command is run."""

DATA = Path(__file__).parent / "data"
"""Folder of the shipped results."""

RECORDS = DATA / "campaign"
"""Folder of the shipped records of the campaign."""

Arguments = TypeVar("Arguments")


def command(program: str, kind: type[Arguments], given: Sequence[str], run: Callable[[Arguments], int]) -> int:
    """Parse arguments and run a command.

    Args:
        program: Its name, as it is typed after ``python -m``.
        kind: The dataclass of its arguments.
        given: Arguments on the command line.
        run: Function that does the work and returns the exit code.

    Returns:
        The exit code, see `lyapkit_command.guard.guard`.
    """

    def action() -> int:
        refuse_empty(given)
        return run(tyro.cli(kind, args=given, prog=f"python -m {program}"))

    return guard(program, action, _explanation)


def _explanation(error: Exception) -> str | None:
    return str(error) if isinstance(error, UserError | OSError) else None


def make_directory(path: Path, option: str) -> None:
    """Make a directory if it does not exist, and check that files can be written to it.

    Args:
        path: Path of the directory.
        option: Option that names it.

    Raises:
        UserError: If files cannot be written to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise UserError(f"cannot write to the directory {path} ({reason}); name another with {option}.") from error
