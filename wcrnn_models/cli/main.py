"""Entry point of the ``wcrnn`` command: parse the arguments, run the subcommand, turn mistakes into one line."""

from __future__ import annotations

import errno
import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Protocol

import tyro

from wcrnn_models import stopping
from wcrnn_models.cli import analyze, data, demo, plot, sweep, train
from wcrnn_models.cli.exits import SUCCESS, guard, refuse_empty
from wcrnn_models.cli.parse import TypingError, parse
from wcrnn_models.cli.start import Start
from wcrnn_models.errors import UserError, clause

COMMANDS: dict[str, type[Any]] = {
    "demo": demo.Arguments,
    "train": train.Arguments,
    "analyze": analyze.Arguments,
    "sweep": sweep.Arguments,
    "plot": plot.Arguments,
    "data": data.Arguments,
}
"""Arguments of the subcommands; each imports PyTorch only when it runs."""

_OUT_OF_MEMORY = (  # what PyTorch and NumPy say, the last three of sizes beyond all memory
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "Storage size calculation overflowed",
    "Maximum allowed dimension exceeded",
    "array is too big",
)

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Command(Protocol):
    """Interface of the parsed arguments of a subcommand."""

    def run(self) -> int:
        """Do the work, and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wcrnn``.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, or if memory or the range of numbers do not suffice, 3 if training
        diverged, 130 after Ctrl-C, 143 after SIGTERM, 141 if what reads the output has closed it.
    """
    if argv is None:  # this process is the command
        stopping.heed("wcrnn")
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guard("wcrnn", lambda: _run(arguments), _explanation)


def _explanation(error: Exception) -> str | None:
    """Return the message for what a user can mend; None for a fault of the program, which needs its traceback."""
    text = str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"{clause(text)}; free some room, or write elsewhere: what was written before is whole, and the command "
            "goes on."
        )
    if isinstance(error, (UserError, OSError, ArithmeticError)):
        return text
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        reason = text.partition("\n")[0].rpartition("Allocator: ")[2]
        return (
            f"not enough memory{f' ({reason})' if reason else ''}; train with a smaller --hidden-size, --batch-size, "
            "--test-size or --length, analyse with fewer --samples or --trajectories."
        )
    return None


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"wcrnn {version('lyapkit')}")
        return SUCCESS
    refuse_empty(arguments)
    start = Start.of(arguments[1:]) if arguments[:1] in (["train"], ["sweep"]) else Start()
    try:
        command: Command = parse(_union(arguments, start), arguments, "wcrnn", COMMANDS)
    except TypingError:
        raise
    except UserError as error:  # options that contradict each other
        if start.file is None:
            raise
        raise UserError(
            f"{clause(error)}. Options that are not given are those of {start.file}; None takes one out, as in "
            "--phi None."
        ) from error
    return command.run()


def _union(arguments: Sequence[str], start: Start) -> Any:
    """Return the type of all subcommands for tyro, with the defaults of options that have others."""
    is_overview = arguments[:1] in (["-h"], ["--help"])
    kinds = []
    for name, kind in COMMANDS.items():
        options: dict[str, Any] = {}
        if is_overview:  # else the whole docstring
            options["description"] = (inspect.getdoc(kind) or "").partition("\n")[0]
        if name in ("train", "sweep"):
            options["default"] = kind(directory=tyro.MISSING, training=start.config)
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, **options)])
    return reduce(or_, kinds)
