"""The figures and tables by name, and what each needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from figures.style import STYLE, write
from lyapkit import load
from wcrnn_models.errors import UserError
from wcrnn_models.files import write_atomically

DATA = Path(__file__).parent / "data"
"""The measured results that are shipped."""

NAMES = (
    *("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "figB1", "figB2", "figB3", "figB4", "table1", "table2"),
    *("training_exponents", "coupling_law", "architecture_spectra", "curvature_over_time"),
)
"""Of the scripts, in the order of the paper; those that it does not have come last."""


@dataclass(frozen=True)
class Script:
    """What a figure or table script says of itself, as ``SCRIPT``.

    Attributes:
        title: In a line.
        needs: Result files by the name of their experiment.
        draw: Makes the figure, or for a table its text in Markdown, from them.
        kind: Which of both.
    """

    title: str
    needs: tuple[str, ...]
    draw: Callable[[Mapping[str, xr.DataTree]], Figure | str]
    kind: Literal["figure", "table"] = "figure"


def script(name: str) -> Script:
    """The script of that name."""
    found: Script = importlib.import_module(f"figures.{name}").SCRIPT
    return found


def read(names: tuple[str, ...], folder: Path = DATA) -> dict[str, xr.DataTree]:
    """Result files by experiment.

    Raises:
        UserError: If one is missing.
    """
    for name in names:
        if not (folder / f"{name}.nc").is_file():
            raise UserError(f"{folder / name}.nc does not exist; measure it with --protocol quick, cpu or paper")
    trees = {}
    for name in names:
        tree = load(folder / f"{name}.nc")
        if not isinstance(tree, xr.DataTree) or tree.attrs.get("experiment") != name:
            raise UserError(f"{folder / name}.nc holds no results of the experiment {name}; measure it again")
        trees[name] = tree
    return trees


def produce(name: str, output: Path, data: Path = DATA) -> list[Path]:
    """Draw a figure, or write a table, from result files.

    Args:
        name: One of `NAMES`.
        output: Directory, made if missing.
        data: Directory of the result files.

    Returns:
        The files written: PDF and PNG of a figure, Markdown of a table.
    """
    chosen = script(name)
    trees = read(chosen.needs, data)
    output.mkdir(parents=True, exist_ok=True)
    with plt.style.context(STYLE):
        made = chosen.draw(trees)
        if isinstance(made, Figure):
            return write(made, output / name)
    path = output / f"{name}.md"
    write_atomically(path, made.encode())
    return [path]
