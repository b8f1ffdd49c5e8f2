"""Command ``python -m figures renew``: measure again what figures and the report need beside the campaign."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from figures.command import DATA, RUNS, command, make_directory
from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError, suggestion


@dataclass(frozen=True)
class Arguments:
    """Measure again what figures and the report need beside the campaign. Run it in the root of the clone.

    These are equations and untrained networks (untrained, initial_dynamics, coupling_law, curvature_over_time),
    networks on the adding problem at equal errors (architecture_spectra), and a digit in a trained network (digit).
    They take minutes to hours. Result files are replaced when the measurement is complete.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ()
    """Result files, without the suffix .nc."""

    data: Path = DATA
    """Folder of the result files."""

    runs: Path = RUNS
    """Folder of the trainings. What is there is not trained again, whatever commit trained it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments after ``python -m figures renew``; those of the process by default.

    Returns:
        0 on success, 2 after a user's mistake, 130 after Ctrl-C.
    """
    return command("figures renew", Arguments, sys.argv[2:] if arguments is None else arguments, _run)


def _run(arguments: Arguments) -> int:
    from figures.data_sets import find_data_set  # PyTorch takes seconds to load
    from figures.experiments import EXPERIMENTS
    from lyapkit import save

    if not arguments.names:
        raise UserError(f"name a result file: {', '.join(EXPERIMENTS)}.")
    for name in arguments.names:
        if name not in EXPERIMENTS:
            raise UserError(
                f"there is no result file {name!r}.{suggestion(name, EXPERIMENTS)} Known: {', '.join(EXPERIMENTS)}."
            )
    if NEED_MNIST & set(arguments.names):
        find_data_set("mnist")  # before hours are spent on those that do without
    make_directory(arguments.data, "--data")
    make_directory(arguments.runs, "--runs")
    for name in dict.fromkeys(arguments.names):
        tree = EXPERIMENTS[name](arguments.runs, progress=True)
        print(save(tree, arguments.data / f"{name}.nc"))
    return SUCCESS


NEED_MNIST = frozenset({"untrained", "initial_dynamics", "curvature_over_time", "digit"})
"""Names of the results that need images."""
