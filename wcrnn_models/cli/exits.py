"""Exit codes of a command, and how it ends: mistakes are one line, whatever happens."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper

from wcrnn_models import stopping
from wcrnn_models.errors import UserError, printable
from wcrnn_models.stopping import Terminated

SUCCESS, USER_ERROR, DIVERGED, CLOSED_PIPE = 0, 2, 3, 141


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
