"""``python -m figures.report``: write docs/reproduction.md from the result files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from figures.experiments import EXPERIMENTS
from figures.measure import measure
from figures.protocols import PROTOCOLS, ProtocolName
from figures.report.page import report
from figures.scripts import DATA, read
from wcrnn_models.errors import UserError
from wcrnn_models.files import write_atomically

SUCCESS, USER_ERROR = 0, 2
PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"


@dataclass(frozen=True)
class Arguments:
    """Write the reproduction report from the result files that exist."""

    data: Path = DATA
    """Directory of the result files."""

    output: Path = PAGE
    """The page."""

    protocol: ProtocolName | None = None
    """Measure first what iterations cost, which the estimate of what remains needs: those of two tasks (quick) or of
    all."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        parsed = tyro.cli(Arguments, args=arguments, prog="python -m figures.report")
        if parsed.protocol is not None:
            measure("costs", PROTOCOLS[parsed.protocol], parsed.data, parsed.data)
        if not parsed.data.is_dir():
            raise UserError(f"there is no directory {parsed.data}; measure with python -m figures all --protocol cpu")
        present = tuple(name for name in EXPERIMENTS if (parsed.data / f"{name}.nc").is_file())
        write_atomically(parsed.output, report(read(present, parsed.data)).encode())
        print(parsed.output)
        return SUCCESS
    except UserError as error:
        print(f"figures.report: error: {error}", file=sys.stderr)
        return USER_ERROR
    except SystemExit as error:  # the parser, after --help or a typo it has explained
        return error.code if isinstance(error.code, int) else SUCCESS


if __name__ == "__main__":
    sys.exit(main())
