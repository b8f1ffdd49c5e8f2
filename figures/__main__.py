"""Command ``python -m figures NAME``: draw figures and tables from results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from figures.campaign.command import main as measure
from figures.command import DATA, command, make_directory
from figures.renew import main as renew
from figures.report.command import main as report
from figures.scales import Against
from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError, suggestion


@dataclass(frozen=True)
class Arguments:
    """Draw the paper's figures and tables from results. Run it in the root of the clone.

    They show what is there so far of the campaign (`python -m figures measure`); panels and curves that are not
    measured yet are left out. The text file beside each figure says what it shows, what is missing, how many trainings
    and network instances there are, and which commits trained them.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ()
    """Figures and tables, or "all"."""

    list: bool = False
    """Say what there is, and stop."""

    output: Path = Path("figures/output")
    """Folder of the drawn files; made if missing."""

    data: Path = DATA
    """Folder of the results: result files, and the records of the campaign in its folder `campaign`."""

    caption: bool = False
    """Also draw notes and the origin of the data below each figure."""

    against: Against = "r"
    """Quantity that stands for the residual strength in the figures over it (fig3, fig6, figB3): r itself; log r, the
    exponent that the paper expects; or its distance to the edge of chaos r - 1, on an axis that spreads small ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments after the name of the command; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 130 after Ctrl-C, 141 if what reads the output has closed it.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    others = {"measure": measure, "renew": renew, "report": report}
    if given and given[0] in others:
        return others[given[0]](given[1:])
    return command("figures", Arguments, given, _run)


def _run(arguments: Arguments) -> int:
    from figures import scripts  # PyTorch takes seconds to load: here, so that help does not, and Ctrl-C is answered
    from figures.evidence import Evidence

    if arguments.list:
        for name in scripts.NAMES:
            print(f"{name:<22}{scripts.script(name).title}")
        return SUCCESS
    names = _chosen(arguments.names, scripts.NAMES)
    if arguments.against != "r" and not any(scripts.script(name).over_strength for name in names):
        over = ", ".join(name for name in scripts.NAMES if scripts.script(name).over_strength)
        raise UserError(f"--against {arguments.against} changes nothing of {', '.join(names)}; it is for {over}.")
    make_directory(arguments.output, "--output")
    if not arguments.data.is_dir():
        raise UserError(f"there is no folder {arguments.data}; name that of the results with --data.")
    results = Evidence(arguments.data / "campaign", arguments.data)
    for name in names:
        for path in scripts.produce(
            name, arguments.output, results, caption=arguments.caption, against=arguments.against
        ):
            print(path)
        if name == "fig1":
            _note_missing_digit()
    return SUCCESS


def _chosen(given: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Return the names without repeats."""
    if not given:
        raise UserError("name a figure or table, or all; --list says what there is.")
    for name in given:
        if name not in (*known, "all"):
            raise UserError(f"there is no figure {name!r}.{suggestion(name, known)} --list says what there is.")
    return known if "all" in given else tuple(dict.fromkeys(given))


def _note_missing_digit() -> None:
    """Say that Fig. 1 leaves the digit out where MNIST is not at hand, as data sets are not shipped."""
    from figures.data_sets import find_data_set

    try:
        find_data_set("mnist")
    except UserError as error:
        print(f"figures: note: fig1 is drawn without its digit: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
