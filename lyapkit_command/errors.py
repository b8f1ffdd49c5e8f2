"""The exception of expected mistakes: the command line prints it as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can mend; its text says what was expected, what was found, and the remedy."""


def clause(error: BaseException | str) -> str:
    """Return the text of an error as part of a sentence: in one line, without its full stop.

    Args:
        error: The error or its text. One without a text gives the name of its type.

    Example:
        >>> f"file.json: {clause(UserError('r must be finite.'))}; restore the file."
        'file.json: r must be finite; restore the file.'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'rotation'?`` for a name close to a known one, in whatever case, else an empty string.

    A name of two letters or more that begins just one known name is close to it.
    """
    spelled = {each.casefold(): each for each in known}
    begun = [each for each in spelled if len(name) > 1 and each.startswith(name.casefold())]
    matches = begun if len(begun) == 1 else get_close_matches(name.casefold(), spelled, n=1)
    return f" Did you mean {spelled[matches[0]]!r}?" if matches else ""


def printable(text: str) -> str:
    r"""Return a text as one line that a terminal shows as it is: control characters, as of file names, are escaped.

    Example:
        >>> printable("no\nfile \x1b[2J")
        'no file \\x1b[2J'
    """
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in " ".join(text.splitlines()))
