"""Format tables of numbers for the messages of failed assertions."""

from __future__ import annotations

from collections.abc import Sequence

ROWS = 20
"""Largest number of rows in a message; more do not fit on a screen."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text in aligned columns, numbers with seven digits.

    Args:
        header: Names of the columns.
        rows: Cells of each row. Rows beyond `ROWS` are only counted.
    """
    cells = [list(header), *([_text(cell) for cell in row] for row in rows[:ROWS])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    if len(rows) > ROWS:
        lines.append(f"... and {len(rows) - ROWS} more rows")
    return "\n".join(line.rstrip() for line in lines)


def network_in_words(model: object) -> str:
    """Describe a model in one line or, as `torch.nn.Module` prints it, in a few."""
    text = repr(model)
    return type(model).__name__ if " object at 0x" in text else text


def _text(cell: object) -> str:
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)
