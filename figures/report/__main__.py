"""``python -m figures.report``: write the reproduction report from the result files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from figures.command import command, make_directory, results_directory
from figures.protocols import PROTOCOLS, ProtocolName
from wcrnn_models.cli.main import SUCCESS
from wcrnn_models.errors import UserError
from wcrnn_models.files import write_atomically

if TYPE_CHECKING:
    import xarray as xr

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"
"""Of the shipped results."""


@dataclass(frozen=True)
class Arguments:
    """Write the reproduction report from the result files that exist, at least one. Run it in the root of the clone."""

    data: Path | None = None
    """Directory of the result files; if not given, that of the shipped ones, figures/data, and with --protocol
    runs/figures/data/PROTOCOL, where python -m figures --protocol writes."""

    output: Path | None = None
    """The page; if not given, docs/reproduction.md for the shipped results, and reproduction.md in the directory of
    other ones."""

    protocol: ProtocolName | None = None
    """Measure first what iterations cost, which the estimate of what remains needs: those of two tasks (quick) or of
    all. The result is written to the directory of the result files."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: After the name of the command; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 130 after Ctrl-C, 141 if what reads the output has closed it.
    """
    return command("figures.report", Arguments, sys.argv[1:] if arguments is None else arguments, _run)


def _run(arguments: Arguments) -> int:
    from figures.experiments import EXPERIMENTS  # PyTorch takes seconds to load
    from figures.measure import find_data_sets, measure
    from figures.scripts import DATA, read

    data = results_directory(arguments.data, arguments.protocol)
    output = arguments.output or (PAGE if data.resolve() == DATA.resolve() else data / PAGE.name)
    if arguments.protocol is not None:
        protocol = PROTOCOLS[arguments.protocol]
        _refuse_output(output)
        make_directory(data, "--data")
        find_data_sets(("costs",), protocol)
        measure("costs", protocol, data, data)
    present = tuple(name for name in EXPERIMENTS if (data / f"{name}.nc").is_file())
    if not present:
        raise UserError(
            f"no result files in {data}; name their directory with --data, or measure them with "
            "python -m figures all --protocol quick (or cpu, paper)"
        )
    _refuse_output(output)
    write_atomically(output, _page(read(present, data), data).encode())
    print(output)
    return SUCCESS


def _refuse_output(path: Path) -> None:
    """What can be known beforehand of a page that cannot be written."""
    if path.is_dir():
        raise UserError(f"the output {path} is a directory; name a file")
    make_directory(path.parent, "--output")


def _page(trees: Mapping[str, xr.DataTree], data: Path) -> str:
    """The page; where it fails, so does that of the file at fault alone, or the fault is not in one."""
    from figures.report.page import report
    from figures.scripts import INCOMPLETE, complete

    try:
        return report(trees)
    except INCOMPLETE:
        for name, tree in trees.items():
            with complete("the report", (name,), data):
                report({name: tree})
        raise


if __name__ == "__main__":
    sys.exit(main())
