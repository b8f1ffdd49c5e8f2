"""Run a command: choose the subcommand, turn mistakes into one line, and end by signals and closed pipes quietly."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from typing import Protocol

from lyapkit_command import stopping
from lyapkit_command.errors import UserError, clause, printable, suggestion
from lyapkit_command.stopping import Terminated

SUCCESS, USER_ERROR, CLOSED_PIPE = 0, 2, 141

_OUT_OF_MEMORY = (  # what PyTorch and NumPy say, the last three of sizes beyond all memory
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "Storage size calculation overflowed",
    "Maximum allowed dimension exceeded",
    "array is too big",
)

_FULL = (errno.ENOSPC, errno.EDQUOT)


class CommandModule(Protocol):
    """Interface of the module of a subcommand."""

    SUMMARY: str

    def run(self, arguments: Sequence[str]) -> int:
        """Parse the arguments after the subcommand, do the work, and return the exit code."""


@dataclass(frozen=True)
class Program:
    """A command with subcommands.

    Attributes:
        name: Its name, as it is typed.
        description: One sentence for its help.
        commands: Subcommands and their modules. A module has the function ``run(arguments) -> int`` and the string
            ``SUMMARY``, and imports PyTorch only when it runs.
        smaller: The options that need less memory, as the end of a sentence.
        mistakes: Types of further exceptions whose text tells the user what to mend.
    """

    name: str
    description: str
    commands: Mapping[str, str]
    smaller: str
    mistakes: tuple[type[Exception], ...] = ()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command.

        Args:
            argv: Arguments after the program's name; those of the process by default.

        Returns:
            The exit code of the subcommand, or as of `guard`.
        """
        if argv is None:  # this process is the command
            stopping.heed(self.name)
        arguments = list(sys.argv[1:] if argv is None else argv)
        return guard(
            self.name,
            lambda: self._dispatch(arguments),
            lambda error: explanation(error, self.smaller, self.mistakes),
        )

    def _dispatch(self, arguments: list[str]) -> int:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(self._overview(), file=sys.stdout if arguments else sys.stderr)
            return SUCCESS if arguments else USER_ERROR
        if arguments[0] == "--version":
            from importlib.metadata import version

            print(f"{self.name} {version('lyapkit')}")
            return SUCCESS
        name = arguments[0]
        if name not in self.commands:
            raise UserError(
                f"unknown command {name!r}.{suggestion(name, self.commands)} Known commands: "
                f"{', '.join(self.commands)}."
            )
        refuse_empty(arguments[1:])
        return _load(self.commands[name]).run(arguments[1:])

    def _overview(self) -> str:
        lines = [f"usage: {self.name} COMMAND [OPTIONS]", "", self.description, "", "commands:"]
        lines += [f"  {name:<10}{_load(module).SUMMARY}" for name, module in self.commands.items()]
        lines += ["", f"`{self.name} COMMAND --help` explains the options of a command."]
        return "\n".join(lines)


def explanation(error: Exception, smaller: str, mistakes: tuple[type[Exception], ...] = ()) -> str | None:
    """Return the message for what a user can mend; None for a fault of the program, which needs its traceback.

    Args:
        error: Exception that ended a command.
        smaller: The options that need less memory, as the end of a sentence.
        mistakes: Types of further exceptions whose text tells the user what to mend.
    """
    text = str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"{clause(text)}; free some room, or write elsewhere: what was written before is whole, and the same "
            "command resumes."
        )
    if isinstance(error, (UserError, OSError, ArithmeticError)):
        return text
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        reason = text.partition("\n")[0].rpartition("Allocator: ")[2]
        return f"not enough memory{f' ({reason})' if reason else ''}; {smaller}"
    return text if isinstance(error, mistakes) else None


def guard(program: str, action: Callable[[], int], explain: Callable[[Exception], str | None]) -> int:
    """Run a command: mistakes are one line, and neither Ctrl-C nor a closed pipe gives a traceback.

    Args:
        program: Its name, which messages begin with.
        action: The command; returns the exit code. The text of a `KeyboardInterrupt` or `Terminated` that it raises
            is printed.
        explain: The message for what a user can mend; None for a fault of the program, which is raised.

    Returns:
        The exit code: that of the action, 2 after an explained error, 130 after Ctrl-C, 143 after SIGTERM, and 141 as
        of a process that the signal of a closed pipe ends.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that is no text in this encoding is written with escapes
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            code = action()
        except SystemExit as error:  # a parser, after --help or a typo it has explained
            code = error.code if isinstance(error.code, int) else SUCCESS
        sys.stdout.flush()  # what meets a closed pipe only when the interpreter ends is no longer caught
        return code
    except BrokenPipeError:  # such as by `| head -1`
        with suppress(OSError):  # the interpreter flushes once more when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Exception as error:
        if (number := stopping.received()) is not None:  # an interrupted import may raise anything
            return stopping.say(program, number)
        explanation = explain(error)
        if explanation is None:
            raise
        print(f"{program}: error: {printable(explanation)}", file=sys.stderr)
        return USER_ERROR
    except (KeyboardInterrupt, Terminated) as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        return stopping.say(program, number, "; ".join(map(str, stop.args)))


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse arguments without a value, which would be the path of the current directory.

    Raises:
        UserError: If one is empty or ends with an equals sign.
    """
    for argument in arguments:
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            what = f"the value of {argument[:-1]}" if argument else "an argument"
            raise UserError(
                f"{what} is empty (an unset shell variable?); give a value, or . for the current directory."
            )


def _load(module: str) -> CommandModule:
    loaded: CommandModule = import_module(module)
    return loaded
