"""The ``wcrnn`` command: parse the arguments, and run the subcommand."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Protocol

import tyro

from lyapkit_command import stopping
from lyapkit_command.guard import SUCCESS, explanation, guard, refuse_empty
from lyapkit_command.parse import TypingError, parse
from wcrnn_models.cli import analyze, data, demo, plot, sweep, train
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

_SMALLER = (
    "train with a smaller --hidden-size, --batch-size, --test-size or --length, analyse with fewer --samples or "
    "--trajectories."
)


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
    return guard("wcrnn", lambda: _run(arguments), lambda error: explanation(error, _SMALLER))


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
