"""``python -m figures NAME``: draw figures and tables from measured results, or measure the results again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from figures.protocols import PROTOCOLS, ProtocolName
from figures.scripts import DATA, NAMES, produce, script
from wcrnn_models.errors import UserError, suggestion

SUCCESS, USER_ERROR = 0, 2


@dataclass(frozen=True)
class Arguments:
    """Draw the paper's figures and tables from measured results.

    The results that are drawn are the shipped ones in figures/data. With --protocol they are measured first: networks
    are trained and analysed, which takes minutes (quick), a night on two cores (cpu), or a cluster (paper). An
    interrupted measurement goes on where it stopped. Captions say which protocol, how many network instances and which
    commit the numbers come from.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ()
    """Figures and tables, or "all"."""

    list: bool = False
    """Say what there is, and stop."""

    output: Path = Path("figures/output")
    """Directory of the drawn files; made if missing."""

    data: Path = DATA
    """Directory of the result files; with --protocol they are written there."""

    protocol: ProtocolName | None = None
    """Measure first."""

    runs: Path = Path("runs/figures")
    """Directory of the trained networks; what is there is not trained again."""

    workers: int | None = None
    """Networks trained at a time; as many as there are cores if not given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        parsed = tyro.cli(Arguments, args=arguments, prog="python -m figures")
        return _run(parsed)
    except (UserError, OSError, ValueError) as error:  # the latter from files that are no results
        print(f"figures: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except SystemExit as error:  # the parser, after --help or a typo it has explained
        return error.code if isinstance(error.code, int) else SUCCESS


def _run(arguments: Arguments) -> int:
    if arguments.list:
        for name in NAMES:
            print(f"{name:<22}{script(name).title}")
        return SUCCESS
    if not arguments.names:
        raise UserError("name a figure or table, or all; --list says what there is")
    names = list(NAMES) if "all" in arguments.names else list(dict.fromkeys(arguments.names))
    for name in names:
        if name not in NAMES:
            raise UserError(f"there is no figure {name!r}.{suggestion(name, NAMES)} --list says what there is")
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"workers must be at least 1, got {arguments.workers}")
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UserError(f"the output {arguments.output} is a file; name a directory")
    if arguments.protocol is not None:
        from figures.measure import measure

        needed = dict.fromkeys(need for name in names for need in script(name).needs)
        for need in needed:
            path = measure(need, PROTOCOLS[arguments.protocol], arguments.runs, arguments.data, arguments.workers)
            print(path)
    for name in names:
        for path in produce(name, arguments.output, arguments.data):
            print(path)
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
