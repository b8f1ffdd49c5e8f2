r"""Docstrings that are written to be read in a terminal, made into valid reStructuredText.

Equations stand in them as they are, indented, and |x|, x_ and * mean what they mean in formulas. Here indented
paragraphs become literal blocks, and those characters are escaped; what stands in backticks, *words* and doctests stay.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Yields):$")
QUOTED = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`|(?<!\S)\*[a-z][a-z ]*\*(?!\w))")
SPECIAL = re.compile(r"[|*\\]|_(?![0-9A-Za-z_])")


def readable(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place, before napoleon reads its sections."""
    changed: list[str] = []
    in_section = in_doctest = in_literal = False
    for line in lines:
        is_blank, is_indented = not line.strip(), line.startswith("    ")
        if SECTION.match(line):
            in_section = True
        elif not is_blank and not is_indented:
            in_section = False
        if line.lstrip().startswith(">>> "):
            in_doctest = True
        elif is_blank:
            in_doctest = False
        if in_literal and not is_blank and not is_indented:
            in_literal = False
        if is_indented and not in_section and not in_literal and not in_doctest and not (changed and changed[-1]):
            introduced = next((earlier for earlier in reversed(changed) if earlier), "")
            if not introduced.lstrip().startswith("- ") and not introduced.startswith("  "):
                changed += ["::", ""]
                in_literal = True
        changed.append(line if in_doctest or in_literal else _escaped(line))
    if what in ("attribute", "data", "property"):  # an empty comment first, or napoleon takes "Dense only:" for a type
        changed[:0] = ["..", ""]
    lines[:] = changed


def _escaped(line: str) -> str:
    parts = QUOTED.split(line)  # every other part is quoted
    return "".join(
        part if index % 2 else SPECIAL.sub(lambda found: "\\" + found[0], part) for index, part in enumerate(parts)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", readable, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
