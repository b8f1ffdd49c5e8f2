"""Table 1: informed heterogeneous WCRNNs beside homogeneous ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import xarray as xr

from figures import paper
from figures.cells import NOT_RUN, best, iterations, markdown, of_paper
from figures.scripts import Script
from figures.style import caption

TASKS = ("smnist", "psmnist", *paper.ADDING_TASKS)
NETWORKS = ("homogeneous", "heterogeneous")

_Cells = Callable[[xr.Dataset | None, str, str], list[str]]

NOTES = """\
Mean and range over network instances. MP, minimal performance: an accuracy of 50 %, an RMS of 0.05. The paper takes the
best homogeneous configuration of all and does not say which; here it is, on sMNIST and psMNIST, a rotation by
2π/28 per step with r = 1, and on the adding problem the scalar residual r = 0.995. Heterogeneous: rotations by angles
from U(0, π/4) times a diagonal from U(0.99, 1), couplings from U(0.005, 0.05)."""


def draw(data: Mapping[str, xr.DataTree]) -> str:
    """Best accuracy or RMS, and iterations to minimal performance, ours and the paper's."""
    tree = data["informed"]
    parts = [
        "# Table 1: informed heterogeneous and homogeneous WCRNNs",
        "Best test accuracy in %, or RMS for the adding problem (ADD):",
        _table(tree, _best),
        "Training iterations to MP:",
        _table(tree, _iterations),
        NOTES,
        caption([tree]) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(tree: xr.DataTree, cells: _Cells) -> str:
    header = ["task", "iterations trained"]
    for network in NETWORKS:
        header += [network, "paper"]
    rows = []
    for task in TASKS:
        training = tree[f"training_{task}"].to_dataset() if f"training_{task}" in tree.children else None
        trained = NOT_RUN if training is None else str(int(training.iteration[-1]))
        row = [paper.TITLES[task], trained]
        for network in NETWORKS:
            row += cells(training, network, task)
        rows.append(row)
    return markdown(header, rows)


def _best(training: xr.Dataset | None, network: str, task: str) -> list[str]:
    return [best(training, network, task), of_paper(paper.TABLE_1_BEST[network][task], task)]


def _iterations(training: xr.Dataset | None, network: str, task: str) -> list[str]:
    return [iterations(training, network), f"{paper.TABLE_1_ITERATIONS[network][task]:.0f}"]


SCRIPT = Script("informed heterogeneous and homogeneous WCRNNs", ("informed",), draw, "table")
