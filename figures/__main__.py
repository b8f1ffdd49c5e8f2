"""``python -m figures NAME``: draw figures and tables from measured results, or measure the results again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from figures.campaign.command import main as measure
from figures.command import RUNS, command, make_directory, results_directory
from figures.protocols import PROTOCOLS, ProtocolName
from wcrnn_models.cli.main import SUCCESS
from wcrnn_models.errors import UserError, suggestion


@dataclass(frozen=True)
class Arguments:
    """Draw the paper's figures and tables from measured results. Run it in the root of the clone.

    The results that are drawn are the shipped ones in figures/data. With --protocol they are measured first: networks
    are trained and analysed, which takes minutes (quick), a night on two cores (cpu), or a cluster (paper). The shipped
    results stay as they are. An interrupted measurement goes on where it stopped. Captions say which protocol, how many
    network instances and which commit the numbers come from: the commit that collected them.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ()
    """Figures and tables, or "all"."""

    list: bool = False
    """Say what there is, and stop."""

    output: Path = Path("figures/output")
    """Directory of the drawn files; made if missing."""

    data: Path | None = None
    """Directory of the result files. If not given, the shipped ones in figures/data are drawn, and with --protocol
    results are written to RUNS/data/PROTOCOL, such as runs/figures/data/quick, and drawn from there. With both options
    results are written to the given directory; `--data figures/data` renews the shipped ones."""

    protocol: ProtocolName | None = None
    """Measure first."""

    runs: Path = RUNS
    """Directory of the trained networks. What is there is not trained again, whatever commit trained it."""

    workers: int | None = None
    """Networks trained at a time; as many as there are cores if not given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: After the name of the command; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 130 after Ctrl-C, 141 if what reads the output has closed it.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["measure"]:
        return measure(given[1:])
    return command("figures", Arguments, given, _run)


def _run(arguments: Arguments) -> int:
    from figures import scripts  # PyTorch takes seconds to load: here, so that help does not, and Ctrl-C is answered

    if arguments.list:
        for name in scripts.NAMES:
            print(f"{name:<22}{scripts.script(name).title}")
        return SUCCESS
    names = _chosen(arguments.names, scripts.NAMES)
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"workers must be at least 1, got {arguments.workers}")
    make_directory(arguments.output, "--output")
    data = results_directory(arguments.data, arguments.protocol, arguments.runs)
    if arguments.protocol is not None:
        _measure(names, arguments.protocol, arguments.runs, data, arguments.workers)
    for name in names:
        for path in scripts.produce(name, arguments.output, data):
            print(path)
        if name == "fig1":
            _note_missing_digit()
    return SUCCESS


def _chosen(given: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The names without repeats."""
    if not given:
        raise UserError("name a figure or table, or all; --list says what there is")
    for name in given:
        if name not in (*known, "all"):
            raise UserError(f"there is no figure {name!r}.{suggestion(name, known)} --list says what there is")
    return known if "all" in given else tuple(dict.fromkeys(given))


def _measure(names: Sequence[str], protocol: ProtocolName, runs: Path, data: Path, workers: int | None) -> None:
    """Measure all that the figures need; what would stop it later is looked for first."""
    from figures.measure import find_data_sets, measure
    from figures.scripts import script

    needed = tuple(dict.fromkeys(need for name in names for need in script(name).needs))
    make_directory(runs, "--runs")
    make_directory(data, "--data")
    find_data_sets(needed, PROTOCOLS[protocol])
    try:
        for need in needed:
            print(measure(need, PROTOCOLS[protocol], runs, data, workers))
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command goes on from what was trained") from stop


def _note_missing_digit() -> None:
    """Fig. 1 leaves the digit out where MNIST is not at hand, as data sets are not shipped."""
    from figures.measure import find_data_set

    try:
        find_data_set("mnist")
    except UserError as error:
        print(f"figures: note: fig1 is drawn without its digit: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
