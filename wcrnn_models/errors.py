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
