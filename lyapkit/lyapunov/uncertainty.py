"""Standard errors of time averages that respect autocorrelation."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def batch_means_error(growth: Tensor, window: Tensor) -> Tensor:
    """Standard error of the growth per step by non-overlapping batch means.

    The W windows are cut into b = floor(sqrt(W)) consecutive batches (the usual square-root rule), whose means
    are nearly independent once a batch is longer than the correlation time; the error is their standard deviation
    over sqrt(b). Batches of unequal length are weighted by their steps.

    Args:
        growth: log growth of each window, shape (W, ...).
        window: steps in each window, shape (W,).

    Returns:
        Shape (...): 0 for a direction whose growth is -inf, and inf when there are fewer than 4 windows, since
        nothing is then known about the error.
    """
    count = growth.shape[0]
    if count < 4:
        return torch.full_like(growth[0], math.inf)
    batches = math.isqrt(count)
    bounds = torch.linspace(0, count, batches + 1).round().long().tolist()
    sums = torch.stack([growth[start:stop].sum(dim=0) for start, stop in itertools.pairwise(bounds)])  # (b, ...)
    steps = torch.stack([window[start:stop].sum() for start, stop in itertools.pairwise(bounds)])
    steps = steps.reshape(-1, *(1,) * (growth.ndim - 1))
    total = steps.sum()
    mean = sums.sum(dim=0) / total
    deviation = sums - mean * steps  # (b, ...): a ratio estimator's residuals
    variance = (deviation**2).sum(dim=0) * batches / (batches - 1) / total**2
    return torch.where(torch.isinf(mean), torch.zeros_like(variance), variance.sqrt())
