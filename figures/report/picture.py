"""The main results in one figure beside the report, which names the numbers that it shows."""

from __future__ import annotations

import hashlib
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from figures.evidence import Evidence
from figures.scripts import drawn
from figures.style import STYLE

SOURCE = "Source"
"""Key of the text in the PNG file that holds the `digest`."""


def picture(results: Evidence) -> tuple[bytes, str]:
    """Return the figure `figures.reproduction` as a PNG file, and its digest, which the file also holds.

    Args:
        results: Results that exist.
    """
    figure = drawn("reproduction", results)
    assert isinstance(figure, Figure)
    numbers, file = digest(figure), io.BytesIO()
    with plt.style.context(STYLE):
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None, SOURCE: numbers})
    plt.close(figure)
    return file.getvalue(), numbers


def digest(figure: Figure) -> str:
    """Return the SHA-256 of the numbers of all lines, to six digits, and of their names.

    Files of other versions of matplotlib have other bytes; the digest is the same.

    Args:
        figure: Figure with the lines.
    """
    found = hashlib.sha256()
    for ax in figure.axes:
        for line in ax.lines:
            found.update(str(line.get_label()).encode())
            for values in line.get_data():
                numbers = np.ravel(np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan))
                found.update(" ".join(f"{value:.6g}" for value in numbers).encode())
    return found.hexdigest()
