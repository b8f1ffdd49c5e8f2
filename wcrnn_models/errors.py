"""The exception of expected mistakes: the command line prints it as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can mend; its text says what was expected, what was found, and the remedy."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'rotation'?`` for a name close to a known one, in whatever case, else an empty string."""
    spelled = {each.casefold(): each for each in known}
    matches = get_close_matches(name.casefold(), spelled, n=1)
    return f" Did you mean {spelled[matches[0]]!r}?" if matches else ""


def printable(text: str) -> str:
    r"""Return a text as one line that a terminal shows as it is: control characters, as of file names, are escaped.

    Example:
        >>> printable("no\nfile \x1b[2J")
        'no file \\x1b[2J'
    """
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in " ".join(text.splitlines()))
