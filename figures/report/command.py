"""Command ``python -m figures report``: write the report and its figure from records and result files."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures.command import DATA, RECORDS, command, make_directory
from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError
from wcrnn_models.files import write_atomically

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"
"""Page of the shipped records; its figure lies beside it."""

COUNT = re.compile(r"\d+ claims:\s\d+\sreproduced(?:,\s\d+\s[a-z\s]+)*\.")
"""Sentence that counts the verdicts, in the page and in README."""

README = PAGE.parents[1] / "README.md"
"""File that has the count of verdicts."""


@dataclass(frozen=True)
class Arguments:
    """Write the reproduction report: every claim of the paper with a verdict. Run it in the root of the clone.

    A figure of the main results is written beside it; with the shipped page, the count of verdicts in README.md, too.
    It judges the records so far, and says what would settle open claims. Nothing is trained; see
    `python -m figures measure` for that.
    """

    records: Path = RECORDS
    """Folder of the campaign's records."""

    data: Path = DATA
    """Directory of the result files of untrained networks."""

    output: Path | None = None
    """The page; if not given, docs/reproduction.md for the shipped records, and reproduction.md in the folder of other
    ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments after ``python -m figures report``; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 130 after Ctrl-C, 141 if what reads the output has closed it.
    """
    return command("figures report", Arguments, sys.argv[2:] if arguments is None else arguments, _run)


def _run(arguments: Arguments) -> int:
    from figures.evidence import Evidence  # PyTorch takes seconds to load
    from figures.report.page import report
    from figures.report.picture import picture

    shipped = arguments.records.resolve() == RECORDS.resolve()
    output = arguments.output or (PAGE if shipped else arguments.records / PAGE.name)
    if output.is_dir():
        raise UserError(f"the output {output} is a directory; name a file.")
    if not arguments.records.is_dir() and not shipped:
        raise UserError(f"there is no folder {arguments.records}; name that of the records with --records.")
    make_directory(output.parent, "--output")
    evidence = Evidence(arguments.records, arguments.data)
    page, (image, _) = report(evidence), picture(evidence)
    write_atomically(output, page.encode())
    write_atomically(output.with_suffix(".png"), image)
    print(output)
    print(output.with_suffix(".png"))
    if output.resolve() == PAGE.resolve():
        write_atomically(README, COUNT.sub(count(page), README.read_text(encoding="utf-8"), count=1).encode())
    return SUCCESS


def count(page: str) -> str:
    """Return the sentence of a page, or of README, that counts the verdicts, in one line."""
    found = COUNT.search(page)
    assert found is not None
    return " ".join(found[0].split())
