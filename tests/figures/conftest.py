"""The figures are scripts of the clone and not installed; everything else is tested as installed."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

sys.path.append(str(Path(__file__).parents[2]))  # last, so that installed packages come first


@pytest.fixture
def draw(request):
    """Draws the figure that the module is named after, and closes what it drew."""
    from figures.scripts import script

    name = request.module.__name__.rpartition("test_")[2]
    figures = []

    def drawn_from(trees):
        figures.append(script(name).draw(trees))
        return figures[-1]

    yield drawn_from
    for figure in figures:
        plt.close(figure)
