"""Show a table of a sweep while it runs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from wcrnn_models.sweeps.layout import varying
from wcrnn_models.tables import table
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult

State = Literal["waiting", "running", "elsewhere", "finished", "diverged", "failed"]
_ORDER: tuple[State, ...] = ("running", "elsewhere", "waiting", "finished", "diverged", "failed")


@dataclass(frozen=True)
class Row:
    """One run: its configuration, whether it is at work, and its measurements."""

    config: TrainConfig
    state: State
    result: TrainResult | None


def render(rows: Mapping[str, Row], *, lines: int | None = None) -> str:
    """Return a line of counts, and one line per run with the fields in which the runs differ.

    Args:
        rows: Runs by name.
        lines: Largest number of runs to show, those at work first; None for all.
    """
    counts = Counter(row.state for row in rows.values())
    summary = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    names = varying(row.config for row in rows.values())
    ordered = sorted(rows.items(), key=lambda item: _ORDER.index(item[1].state))
    shown = ordered if lines is None else ordered[:lines]
    body = [[name, *_values(row, names), *_measured(row)] for name, row in shown]
    text = table(["run", *names, "state", "iteration", "metric", "best"], body)
    hidden = len(ordered) - len(shown)
    return f"{len(rows)} runs: {summary}\n{text}" + (f"\n... and {hidden} more" if hidden else "")


def _values(row: Row, names: Sequence[str]) -> list[str]:
    values = asdict(row.config)
    return ["-" if values[name] is None else str(values[name]) for name in names]


def _measured(row: Row) -> list[str]:
    result = row.result
    if result is None or not result.iterations:
        return [row.state, "-", "-", "-"]
    best = "-" if result.best_metric is None else f"{result.best_metric:.4g}"
    return [
        row.state,
        f"{result.iterations[-1]}/{result.total_iterations}",
        f"{result.metric_name} {result.test_metrics[-1]:.4g}",
        best,
    ]


class LiveTable:
    """A table that is drawn over itself on a terminal; elsewhere, as in a log file, a line whenever counts change.

    Args:
        stream: Stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._height = 0
        self._summary = ""

    def show(self, rows: Mapping[str, Row]) -> None:
        """Draw the present state."""
        if not self.stream.isatty():
            summary = render(rows, lines=0).partition("\n")[0]
            if summary != self._summary:
                self.stream.write(summary + "\n")
                self.stream.flush()
            self._summary = summary
            return
        size = shutil.get_terminal_size()
        text = render(rows, lines=max(size.lines - 6, 1))
        lines = [line[: size.columns - 1] for line in text.splitlines()]
        up = f"\x1b[{self._height}F\x1b[J" if self._height else ""
        self.stream.write(up + "\n".join(lines) + "\n")
        self.stream.flush()
        self._height = len(lines)
