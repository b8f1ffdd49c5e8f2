"""Standard errors of exponents that respect autocorrelation, and of what is derived from them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from scipy.special import stdtr
from torch import Tensor

SMALLEST_SAMPLE = 4
"""Windows below which nothing is said about an error: they make fewer than two batches."""


@dataclass(frozen=True)
class BatchMeans:
    """Non-overlapping batch means of the growth per step.

    The W windows are cut into b = floor(sqrt(W)) consecutive batches (the usual square-root rule), whose means are
    nearly independent once a batch is longer than the correlation time. Batches of unequal length are weighted by
    their steps, as in a ratio estimator.

    Attributes:
        mean: growth per step, shape (...).
        deviation: for each batch, its growth minus its steps times the mean, shape (b, ...).
        steps: in all batches together.
    """

    mean: Tensor
    deviation: Tensor
    steps: float

    @classmethod
    def of(cls, growth: Tensor, window: Tensor) -> BatchMeans:
        """Cut a series into batches.

        Args:
            growth: log growth of each window, shape (W, ...).
            window: steps in each window, shape (W,).
        """
        count = growth.shape[0]
        batches = math.isqrt(count)
        bounds = torch.linspace(0, count, batches + 1).round().long().tolist()
        sums = torch.stack([growth[start:stop].sum(dim=0) for start, stop in itertools.pairwise(bounds)])  # (b, ...)
        steps = torch.stack([window[start:stop].sum() for start, stop in itertools.pairwise(bounds)])
        total = window.sum()
        mean = growth.sum(dim=0) / total
        deviation = sums - mean * steps.reshape(-1, *(1,) * (growth.ndim - 1))
        # an annihilated direction has growth -inf without any error
        deviation = torch.where(torch.isinf(mean), torch.zeros_like(deviation), deviation)
        return cls(mean, deviation, float(total))

    @property
    def degrees_of_freedom(self) -> int:
        """B - 1, of Student's t for confidence intervals; 0 where nothing is known about the errors."""
        batches = self.deviation.shape[0]
        return batches - 1 if batches >= math.isqrt(SMALLEST_SAMPLE) else 0

    def standard_error(self, gradient: Tensor | None = None) -> Tensor:
        """Standard error of the means, or of a smooth function of them by the delta method.

        Args:
            gradient: of the function with respect to the last dimension of the means, shape (..., k).

        Returns:
            Shape (...) of the means, or without its last dimension for a function of them; inf when there are fewer
            than 4 windows, since nothing is then known about the error.
        """
        deviation = self.deviation if gradient is None else (self.deviation * gradient).sum(dim=-1)
        freedom = self.degrees_of_freedom
        if freedom == 0:
            return torch.full_like(deviation[0], math.inf)
        variance = (deviation**2).sum(dim=0) * (freedom + 1) / freedom / self.steps**2
        return variance.sqrt()


def batch_means_error(growth: Tensor, window: Tensor) -> Tensor:
    """Standard error of the growth per step by batch means.

    Args:
        growth: log growth of each window, shape (W, ...).
        window: steps in each window, shape (W,).

    Returns:
        Shape (...): 0 for a direction whose growth is -inf, and inf when there are fewer than 4 windows.
    """
    return BatchMeans.of(growth, window).standard_error()


def probability_positive(mean: Tensor, error: Tensor, degrees_of_freedom: int) -> Tensor:
    """Probability that an exponent is positive, given its estimate and error.

    P(lambda > 0) = F_t(lambda / error) with Student's t distribution of b - 1 degrees of freedom: the posterior under a
    flat prior.

    Args:
        mean: shape (B,).
        error: its standard error, shape (B,); 0 makes the answer 0, 1/2 or 1, and inf makes it 1/2.
        degrees_of_freedom: b - 1; 0 where the error is not known.

    Returns:
        Shape (B,).
    """
    certain = (mean.sign() + 1) / 2
    known = torch.isfinite(error) & (error > 0)
    ratio = torch.where(known, mean, torch.zeros_like(mean)) / torch.where(known, error, torch.ones_like(error))
    tail = torch.as_tensor(stdtr(max(degrees_of_freedom, 1), ratio.cpu().numpy()), dtype=mean.dtype, device=mean.device)
    return torch.where(known, tail, torch.where(error == 0, certain, torch.full_like(mean, 0.5)))
