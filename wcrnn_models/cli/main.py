"""Entry point of the ``wcrnn`` command: choose the subcommand, run it, turn mistakes into one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

from wcrnn_models.errors import UserError, suggestion

SUCCESS, USER_ERROR, DIVERGED, INTERRUPTED = 0, 2, 3, 130

COMMANDS = {
    "demo": "wcrnn_models.cli.demo",
    "train": "wcrnn_models.cli.train",
    "analyze": "wcrnn_models.cli.analyze",
    "data": "wcrnn_models.cli.data",
}
"""Subcommands and their modules. A module has the function ``run(arguments) -> int`` and the string
``SUMMARY``, and imports PyTorch only when it runs."""


class CommandModule(Protocol):
    """What the module of a subcommand provides."""

    SUMMARY: str

    def run(self, arguments: Sequence[str]) -> int:
        """Parse the arguments after the subcommand, do the work, and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wcrnn``.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 3 if training diverged, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments, COMMANDS)
    except UserError as error:
        print(f"wcrnn: error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"wcrnn: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("wcrnn: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as error:  # the parser of a subcommand, after --help or a typo it has explained
        return error.code if isinstance(error.code, int) else SUCCESS


def _dispatch(arguments: list[str], commands: Mapping[str, str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(commands), file=sys.stdout if arguments else sys.stderr)
        return SUCCESS if arguments else USER_ERROR
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"wcrnn {version('lyapkit')}")
        return SUCCESS
    name = arguments[0]
    if name not in commands:
        raise UserError(f"unknown command {name!r}.{suggestion(name, commands)} Known commands: {', '.join(commands)}")
    return _load(commands[name]).run(arguments[1:])


def _overview(commands: Mapping[str, str]) -> str:
    lines = [
        "usage: wcrnn COMMAND [OPTIONS]",
        "",
        "Train and analyse weakly coupled residual recurrent networks.",
        "",
        "commands:",
    ]
    lines += [f"  {name:<10}{_load(module).SUMMARY}" for name, module in commands.items()]
    lines += ["", "`wcrnn COMMAND --help` explains the options of a command."]
    return "\n".join(lines)


def _load(module: str) -> CommandModule:
    loaded: CommandModule = import_module(module)
    return loaded
