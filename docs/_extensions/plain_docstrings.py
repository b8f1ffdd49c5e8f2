"""Docstrings with equations in plain text, made into valid reStructuredText.

An indented paragraph becomes a literal block, and |x| stays |x| instead of naming a substitution. Directives such as
``.. math::`` pass unchanged, so that a docstring with maths of its own needs nothing from here.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Yields):$")
QUOTED = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`)")


def readable(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Change the lines of a docstring in place, before napoleon reads its sections."""
    changed: list[str] = []
    in_section, in_list, in_doctest = False, False, False
    block = (
        -1
    )  # the indent of what introduces a block that is kept as it is; -1 outside of one
    for line in lines:
        text = line.lstrip()
        indent = len(line) - len(text)
        if text and indent <= block:
            block = -1
        if text and not indent:
            in_section, in_list = bool(SECTION.match(line)), line.startswith("- ")
        elif text and block < 0 and not (in_section or in_list or changed[-1]):
            changed += ["::", ""]
            block = 0
        if text.startswith(".. ") and block < 0:
            block = indent
        in_doctest = bool(text) and (in_doctest or text.startswith(">>> "))
        changed.append(line if in_doctest or block >= 0 else _escaped(line))
        if text.endswith("::") and block < 0:
            block = indent
    if what in (
        "attribute",
        "data",
        "property",
    ):  # an empty comment first, or napoleon takes "Dense only:" for a type
        changed[:0] = ["..", ""]
    lines[:] = changed


def _escaped(line: str) -> str:
    parts = QUOTED.split(line)  # every other part is quoted
    return "".join(
        part if index % 2 else part.replace("|", r"\|")
        for index, part in enumerate(parts)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", readable, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
