"""Figures as files, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import write_atomically


def check_figure_file(path: Path) -> None:
    """See that a file can be named so, before what it shows is computed.

    Raises:
        UserError: If its directory does not exist, or it is a directory.
    """
    if not path.parent.is_dir():
        raise UserError(f"the directory {path.parent} of the figure does not exist; create it first.")
    if path.is_dir():
        raise UserError(f"{path} is a directory; name a file in it, such as {path / 'figure.pdf'}, instead.")


def write_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure in the format that the suffix of the name says, PNG if it has none.

    Args:
        figure: The figure.
        path: The file; a link of that name is replaced.
        options: Passed on to `matplotlib.figure.Figure.savefig`.

    Raises:
        UserError: If matplotlib does not know the format.
    """
    content = io.BytesIO()
    try:
        figure.savefig(content, format=path.suffix.removeprefix(".") or "png", **options)
    except ValueError as error:  # matplotlib's, for a file type it does not know
        raise UserError(f"cannot write {path}: {clause(error)}.") from error
    write_atomically(path, content.getvalue())
