"""What the tests of plots read off the axes."""

import numpy as np


def drawn(line) -> tuple[list[float], list[float]]:
    """What a line shows: its points without those that are not finite."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    shown = np.isfinite(y)
    return x[shown].tolist(), y[shown].tolist()
