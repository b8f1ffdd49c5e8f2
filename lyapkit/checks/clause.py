"""Texts of errors as parts of other sentences."""

from __future__ import annotations


def clause(error: BaseException | str) -> str:
    """Return the text of an error as part of a sentence, without its full stop.

    Args:
        error: The error or its text.

    Example:
        >>> f"the loss cannot be taken ({clause(ValueError('shapes differ.'))}); give other targets."
        'the loss cannot be taken (shapes differ); give other targets.'
    """
    text = str(error).strip()
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text
