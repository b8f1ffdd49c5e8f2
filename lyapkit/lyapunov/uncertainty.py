"""Standard errors of exponents that respect autocorrelation, and of what is derived from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from lyapkit.lyapunov.long_run import LongRun

SMALLEST_SAMPLE = 4
"""Windows below which nothing is said about an error."""

MOST_BATCHES = 96
"""Batches that a series is cut into at most: its slowest changes are what matters."""

ROUNDING = 1e-12
"""Differences of this size between rates in nats per step are rounding."""

TOO_SHORT = 0.5
"""Probability of being too short for its correlation time, beyond which a run is taken to be."""

NARROW = 0.75
"""Range of sums, over that of independent numbers' standard deviation, that shows that a series swings back: 1 % of
independent series stay as narrow, and hardly any with persistent growth."""

TAIL = 0.025
"""Probability beyond either end of the intervals that standard errors are made for."""


class Errors(NamedTuple):
    """Standard errors, and whether there was enough to estimate them from.

    Attributes:
        standard: inf where they cannot be told, NaN where the mean is not finite, shape (..., k).
        hidden: Probability that the run is too short for its correlation time, shape (..., k); errors are told up to
            1/2. 1 where there are fewer than `SMALLEST_SAMPLE` windows or the mean is not finite.
    """

    standard: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Batches:
    """A series of growth in at most `MOST_BATCHES` consecutive batches of about equally many steps.

    Attributes:
        growth: Log growth of each batch, shape (M, ...).
        steps: In each batch, shape (M,).
    """

    growth: Tensor
    steps: Tensor

    @classmethod
    def of(cls, growth: Tensor, window: Tensor) -> Batches:
        """Join windows into batches.

        Args:
            growth: Log growth of each window, shape (W, ...).
            window: Steps in each window, shape (W,).
        """
        done = window.cumsum(0)
        longest = int(done[-1] / window.max())  # windows, if all were as long as the longest
        count = longest // math.ceil(longest / MOST_BATCHES)
        if count == len(window):
            return cls(growth, window)
        edges = done[-1] / count * torch.arange(1, count, dtype=done.dtype, device=done.device)
        after = torch.searchsorted(done, edges)
        before = (after - 1).clamp(min=0)
        nearest = torch.where(edges - done[before] < done[after] - edges, before, after)
        batch = torch.bucketize(torch.arange(len(window), device=done.device), nearest)
        return cls(
            growth.new_zeros(count, *growth.shape[1:]).index_add(0, batch, growth),
            window.new_zeros(count).index_add(0, batch, window),
        )


@dataclass(frozen=True)
class MeanGrowth:
    """The growth per step over a run, and how far it may be from that over an infinite one.

    Attributes:
        mean: Growth per step, shape (...).
        deviation: Growth of each batch minus its steps times the mean, shape (M, ...); 0 where the mean is infinite.
        steps: In all batches together.
    """

    mean: Tensor
    deviation: Tensor
    steps: float

    @classmethod
    def of(cls, growth: Tensor, window: Tensor) -> MeanGrowth:
        """Average a series.

        Args:
            growth: Log growth of each window, shape (W, ...).
            window: Steps in each window, shape (W,).
        """
        batches = Batches.of(growth, window)
        total = window.sum()
        mean = growth.sum(dim=0) / total
        deviation = batches.growth - mean * batches.steps.reshape(-1, *(1,) * (growth.ndim - 1))
        return cls(mean, torch.where(torch.isfinite(mean), deviation, torch.zeros_like(deviation)), float(total))

    @property
    def degrees_of_freedom(self) -> int:
        """Return M/4, of Student's t for confidence intervals; 0 where nothing is known about the errors."""
        return degrees_of_freedom(len(self.deviation))

    def errors(self, *gradients: Tensor) -> Errors:
        """Return the standard errors of the means, and of smooth functions of them by the delta method.

        Half the 95 % interval of `LongRun`, over the quantile of Student's t with `degrees_of_freedom`. So it is the
        interval of plus and minus that quantile times the error.

        Args:
            gradients: Of functions with respect to the last dimension of the means, shape (..., k) each.

        Returns:
            Errors of the means, followed by those of the functions, shape (..., k + number of functions).
        """
        series, known = self.deviation, torch.isfinite(self.mean)
        for gradient in gradients:
            series = torch.cat((series, (self.deviation * gradient).sum(dim=-1, keepdim=True)), dim=-1)
            known = torch.cat((known, torch.ones_like(known[..., :1])), dim=-1)
        count, freedom = len(series), self.degrees_of_freedom
        if freedom == 0:
            return Errors(torch.where(known, math.inf, math.nan).to(series), torch.ones_like(series[0]))
        column = torch.ones(count, 1, dtype=torch.float64)
        long_run = LongRun.of(series.reshape(count, -1).double().cpu(), column, column[:, 0])
        width = (long_run.half_width(TAIL) / -float(stdtrit(freedom, TAIL))).reshape(series[0].shape)
        largest = series.abs().amax(dim=0)
        error = torch.where(largest > 0, width.to(series) / self.steps, 0)
        steady = largest <= ROUNDING * self.steps / count
        hidden = long_run.hidden.reshape(series[0].shape).to(series)
        reach, narrow = _reach_of_sums(series)
        error = torch.where(narrow, torch.minimum(error, reach / self.steps), error)
        hidden = torch.where(steady | narrow, 0, hidden).masked_fill(~known, 1)
        return Errors(torch.where(known, torch.where(hidden <= TOO_SHORT, error, math.inf), math.nan), hidden)


def _reach_of_sums(deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range of sums of the series, and whether it is narrower than that of independent numbers, shape (...).

    So it is for periodic growth, of whatever period, whose spectrum is none of those that `LongRun` tries. The range is
    Kuiper's statistic, about 1.25 standard deviations times sqrt(M) for independent numbers.

    Args:
        deviation: Of sum 0, shape (M, ...).
    """
    sums = deviation.cumsum(dim=0)
    reach = sums.amax(dim=0) - sums.amin(dim=0)
    return reach, reach < NARROW * deviation.square().sum(dim=0).sqrt()


def degrees_of_freedom(batches: int) -> int:
    """Return the degrees of freedom that intervals from so many batches are stated with."""
    return batches // 4 if batches >= SMALLEST_SAMPLE else 0


def probability_positive(mean: Tensor, error: Tensor, degrees_of_freedom: int) -> Tensor:
    """Return the probability that an exponent is positive, given its estimate and error.

    P(lambda > 0) = F_t(lambda / error) with Student's t distribution: the posterior under a flat prior.

    Args:
        mean: Shape (B,).
        error: Its standard error, shape (B,); 0 makes the answer 0, 1/2 or 1, and inf makes it 1/2. For a mean of -inf
            it is 0, whatever the error.
        degrees_of_freedom: Of the errors; 0 where they are not known.

    Returns:
        Shape (B,).
    """
    certain = (mean.sign() + 1) / 2
    known = torch.isfinite(error) & (error > 0)
    ratio = torch.where(known, mean, torch.zeros_like(mean)) / torch.where(known, error, torch.ones_like(error))
    tail = torch.as_tensor(stdtr(max(degrees_of_freedom, 1), ratio.cpu().numpy()), dtype=mean.dtype, device=mean.device)
    sure = (error == 0) | torch.isinf(mean)
    return torch.where(known, tail, torch.where(sure, certain, torch.full_like(mean, 0.5)))
