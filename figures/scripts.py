"""The figures and tables by name, and what each needs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.protocols import PROTOCOLS
from figures.scales import Against
from figures.style import STYLE, draw_caption, figure_caption, wrapped, write
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
        over_strength: Whether ``draw`` also takes what stands for the residual strength, see `figures.scales.Against`.
    """

    title: str
    needs: tuple[str, ...]
    draw: Callable[..., Figure | str]
    kind: Literal["figure", "table"] = "figure"
    over_strength: bool = False


def script(name: str) -> Script:
    """The script of that name."""
    found: Script = importlib.import_module(f"figures.{name}").SCRIPT
    return found


def read(names: Sequence[str], folder: Path = DATA) -> dict[str, xr.DataTree]:
    """Result files by experiment.

    Raises:
        UserError: If one is missing, damaged, of another experiment, or does not say where it comes from.
    """
    for name in names:
        if not (folder / f"{name}.nc").is_file():
            raise UserError(f"{folder / name}.nc does not exist; {_remedy(name, folder)}")
    return {name: _read(name, folder) for name in names}


def _read(name: str, folder: Path) -> xr.DataTree:
    path = folder / f"{name}.nc"
    try:
        tree = load(path)
    except ValueError as error:
        raise UserError(f"{error}; {_remedy(name, folder)}") from error
    if not isinstance(tree, xr.DataTree) or tree.attrs.get("experiment") != name:
        raise UserError(f"{path} holds no results of the experiment {name}; {_remedy(name, folder)}")
    protocol, seeds, commit = (tree.attrs.get(each) for each in ("protocol", "seeds", "commit"))
    for attribute, value, right, expected in (
        ("protocol", protocol, isinstance(protocol, str) and protocol in PROTOCOLS, f"one of {', '.join(PROTOCOLS)}"),
        ("seeds", seeds, isinstance(seeds, int | np.integer) and seeds > 0, "a positive integer"),
        ("commit", commit, isinstance(commit, str) and commit != "", "a text"),
    ):
        if not right:
            raise UserError(
                f"the attribute {attribute} of {path} must be {expected}, got {value!r}; {_remedy(name, folder)}"
            )
    return tree


def _remedy(experiment: str, folder: Path) -> str:
    """The command that measures a result file; the shipped ones are not replaced."""
    figure = next((name for name in NAMES if experiment in script(name).needs), None)
    if figure is None:
        return f"measure it with python -m figures report --measure --data {folder}"
    command = f"python -m figures {figure}"
    place = "" if folder.resolve() == DATA.resolve() else f" --data {folder}"
    return f"measure it with {command}{place} --protocol quick, cpu or paper"


INCOMPLETE = (LookupError, AttributeError, ValueError)
"""What xarray raises where a group, a variable, a coordinate or a dimension is missing."""


@contextmanager
def complete(what: str, names: Sequence[str], folder: Path) -> Iterator[None]:
    """While results are drawn: what is missing in them is the fault of the files.

    Args:
        what: Is made of them.
        names: Their experiments.
        folder: Where they are.

    Raises:
        UserError: From one of `INCOMPLETE`.
    """
    try:
        yield
    except UserError:
        raise
    except INCOMPLETE as error:
        files = " or ".join(str(folder / f"{name}.nc") for name in names)
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{files} does not hold what {what} draws ({reason}); {_remedy(names[0], folder)}") from error


def produce(name: str, output: Path, data: Path = DATA, *, caption: bool = False, against: Against = "r") -> list[Path]:
    """Draw a figure, or write a table, from result files.

    Args:
        name: One of `NAMES`.
        output: Directory, made if missing.
        data: Directory of the result files.
        caption: Whether the protocol, seeds and commits of the data are drawn below a figure too.
        against: What stands for the residual strength in figures over it; others are as they are.

    Returns:
        The files written: PDF, PNG and explanation of a figure, Markdown of a table.

    Raises:
        UserError: If a result file is missing, damaged or incomplete.
    """
    chosen = script(name)
    trees = read(chosen.needs, data)
    output.mkdir(parents=True, exist_ok=True)
    with plt.style.context(STYLE):
        with complete(name, chosen.needs, data):
            made = chosen.draw(trees, against) if chosen.over_strength else chosen.draw(trees)
        if isinstance(made, Figure):
            text = explanation(name, made)
            if caption:
                draw_caption(made)
            written = write(made, output / name)
            return [*written, _write(output / f"{name}.txt", text)]
    return [_write(output / f"{name}.md", made)]


def explanation(name: str, figure: Figure) -> str:
    """Return what the text file beside a figure says: title, what its panels show, and where the data come from.

    Args:
        name: One of `NAMES`.
        figure: As its script has drawn it.
    """
    chosen = script(name)
    parts = [f"{name}: {chosen.title}", inspect.getdoc(chosen.draw) or "", wrapped(figure_caption(figure), 120)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text.encode())
    return path
