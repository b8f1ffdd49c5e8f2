"""The figures and tables by name, with the results that each needs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.evidence import Evidence
from figures.scales import Against
from figures.style import STYLE, draw_caption, wrapped, write
from wcrnn_models.files import write_atomically

NAMES = (
    *("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "figB1", "figB2", "figB3", "figB4", "table1", "table2"),
    *("training_exponents", "coupling_law", "architecture_spectra", "curvature_over_time", "reproduction"),
)
"""Names of the scripts, in the order of the paper; those that it does not have come last."""


@dataclass(frozen=True)
class Script:
    """Description of a figure or table script, its ``SCRIPT``.

    Attributes:
        title: Title in one line.
        needs: Stages of the campaign, and result files beside it, that it draws.
        draw: Function that makes the figure, or for a table its text in Markdown, from the results that exist. The
            label of a figure is the text that a reader must know beside it.
        kind: Figure or table.
        over_strength: Whether ``draw`` also takes what stands for the residual strength, see `figures.scales.Against`.
    """

    title: str
    needs: tuple[str, ...]
    draw: Callable[..., Figure | str]
    kind: Literal["figure", "table"] = "figure"
    over_strength: bool = False


def script(name: str) -> Script:
    """Return the script of that name."""
    found: Script = importlib.import_module(f"figures.{name}").SCRIPT
    return found


def drawn(name: str, results: Evidence, against: Against = "r") -> Figure | str:
    """Return the figure, in the style of the paper, or the text of the table.

    Args:
        name: One of `NAMES`.
        results: Results that exist; missing ones are left out.
        against: Quantity that stands for the residual strength in figures over it; other figures ignore it.
    """
    chosen = script(name)
    with plt.style.context(STYLE):
        return chosen.draw(results, against) if chosen.over_strength else chosen.draw(results)


def produce(name: str, output: Path, results: Evidence, *, caption: bool = False, against: Against = "r") -> list[Path]:
    """Draw a figure, or write a table.

    Args:
        name: One of `NAMES`.
        output: Folder, made if missing.
        results: Results that exist; missing ones are left out.
        caption: Whether the notes and the origin of the data are drawn below a figure too.
        against: As for `drawn`.

    Returns:
        The files written: PDF, PNG and explanation of a figure, Markdown of a table.
    """
    output.mkdir(parents=True, exist_ok=True)
    made, origin = drawn(name, results, against), origins(name, results)
    if not isinstance(made, Figure):
        return [_write(output / f"{name}.md", f"{made}\n{origin}\n")]
    text = explanation(name, made, origin)
    with plt.style.context(STYLE):
        if caption:
            draw_caption(made, f"{made.get_label()}. {origin}")
        return [*write(made, output / name), _write(output / f"{name}.txt", text)]


def origins(name: str, results: Evidence) -> str:
    """Return the origin of the data of a figure or table, and the measured part of them."""
    return f"Data: {'; '.join(map(results.origin, script(name).needs))}."


def explanation(name: str, figure: Figure, origin: str) -> str:
    """Return the text beside a figure: title, contents of its panels, notes, and the origin of the data.

    Args:
        name: One of `NAMES`.
        figure: The figure that its script has drawn.
        origin: Result of `origins`.
    """
    chosen = script(name)
    parts = [f"{name}: {chosen.title}", inspect.getdoc(chosen.draw) or "", str(figure.get_label()), origin]
    return "\n\n".join([*parts[:2], *(wrapped(part, 120) for part in parts[2:] if part)]) + "\n"


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text.encode())
    return path
