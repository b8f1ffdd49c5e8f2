"""Join neighbouring windows of a run, so that its growth takes fixed memory."""

from __future__ import annotations

import math

from torch import Tensor

MOST_JOINED = 4096
"""Largest number of joined windows. The 128 batches of the standard errors consist of 16 of them or more, so that the
ends of batches and of the first half of the run move by less than a sixteenth of a batch."""


def joined(growth: Tensor, window: Tensor, before: int = 0) -> tuple[Tensor, Tensor]:
    """Join the windows that end in the same stretch of a run: [0, g], (g, 2 g], ... counted steps.

    g is the smallest power of two with which a run has at most `MOST_JOINED` stretches. The ends of longer stretches
    are ends of shorter ones. So joined windows can be joined again with later ones, and the result is that of joining
    all at once, up to the rounding of sums.

    Args:
        growth: Log growth of each window, shape (W, ...).
        window: Steps in each window, shape (W,).
        before: Counted steps before the first window.

    Returns:
        Log growth and steps of the joined windows, in the same shapes.
    """
    done = before + window.cumsum(0)
    length = 2 ** max(0, math.ceil(math.log2(float(done[-1]) / MOST_JOINED)))
    if length == 1:
        return growth, window
    stretch = ((done - 1) / length).floor()
    _, place = stretch.unique_consecutive(return_inverse=True)
    count = int(place[-1]) + 1
    if count == len(window):
        return growth, window
    return (
        growth.new_zeros(count, *growth.shape[1:]).index_add_(0, place, growth),
        window.new_zeros(count).index_add_(0, place, window),
    )
