"""Estimate standard errors of exponents, and of functions of exponents, from autocorrelated growth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from lyapkit.lyapunov.long_run import LongRun

SMALLEST_SAMPLE = 4
"""Number of windows below which the error is unknown."""

MOST_BATCHES = 128
"""Largest number of batches that a series is cut into; only its slowest changes matter."""

ROUNDING = 1e-12
"""Differences of up to this size between rates in nats per step are rounding."""

TOO_SHORT = 0.5
"""Probability from which a run counts as too short for its correlation time."""

AT_ONCE = 4096
"""Number of series that are processed together, which limits the memory."""

GRADUAL = 1.5
"""Power with which errors grow towards `TOO_SHORT`, as 1 / (1 - (h / TOO_SHORT)^1.5). Chosen by coverage, see
benchmarks/coverage.py: where a run looks long enough by chance, its correlation is underestimated."""

NARROW = 0.75
"""A series swings back if the range of its partial sums is below this, in units of the standard deviation of a sum of
independent numbers. Of independent series, 1 % stay as narrow; of series with persistent growth, hardly any."""

PARTS = 20
"""Number of parts of a run whose sums are searched for events; all batches if there are fewer."""

FEWEST_EVENTS = 5
"""Fewest equal rare events that the spread of a run may come from. The sum of five has skewness 1/sqrt(5), beyond which
intervals of Student's t begin to fail. Chosen by coverage, see benchmarks/coverage.py; Cochran's rule of thumb for the
normal distribution asks for 25."""

OUTLYING = 2.0
"""A run's first part is a transient if it deviates by more than so many times the largest deviation of other parts."""

TAIL = 0.025
"""Probability beyond either end of the intervals for which standard errors are made."""


class Errors(NamedTuple):
    """Standard errors, and whether there was enough to estimate them from.

    Attributes:
        standard: Standard errors, shape (..., k); inf if they are unknown, NaN if the mean is not finite.
        hidden: Probability that the run is too short for its correlation time, shape (..., k). Errors are known if it
            is below 1/2. It is 1 if there are fewer than `SMALLEST_SAMPLE` windows, if the spread of the growth comes
            from a few events, or if the mean is not finite.
    """

    standard: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Batches:
    """A series of growth in at most `MOST_BATCHES` consecutive batches of about equally many steps.

    Attributes:
        growth: Log growth of each batch, shape (M, ...).
        steps: Number of steps in each batch, shape (M,).
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
        longest = int(done[-1] / window.max())  # number of windows, if all were as long as the longest
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
    """The growth per step over a run, with its possible deviation from the growth over an infinite run.

    Attributes:
        mean: Growth per step, shape (...).
        deviation: Growth of each batch minus its steps times the mean, shape (M, ...); 0 if the mean is infinite.
        steps: Number of steps in all batches together.
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
        """Degrees of freedom of confidence intervals, about M/8; 0 if the errors are unknown."""
        return degrees_of_freedom(len(self.deviation))

    def errors(self, *gradients: Tensor) -> Errors:
        """Return the standard errors of the means, and of smooth functions of them by the delta method.

        The error is half the width of the 95 % interval of `LongRun`, divided by the quantile of Student's t with
        `degrees_of_freedom`. So the interval is plus and minus this quantile times the error. The error grows without
        bound as the run becomes more likely to be too short (`GRADUAL`). The excess of a `transient` at the start is
        added.

        Args:
            gradients: Gradients of the functions with respect to the last dimension of the means, shape (..., k) each.

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
        rows = series.reshape(count, -1).double().cpu()
        found = [LongRun.of(part) for part in torch.split(rows, AT_ONCE, dim=1)]
        width = torch.cat([part.half_width(TAIL) for part in found]) / -float(stdtrit(freedom, TAIL))
        hidden = torch.cat([part.hidden for part in found]).reshape(series[0].shape).to(series)
        largest = series.abs().amax(dim=0)
        settled = (largest <= ROUNDING * self.steps / count) | _swings_back(series)
        hidden = torch.where(_rests_on_few_events(series), 1, hidden)
        hidden = torch.where(settled, 0, hidden).masked_fill(~known, 1)
        width = width.reshape(series[0].shape).to(series) / (1 - (hidden / TOO_SHORT) ** GRADUAL).clamp(min=0)
        error = torch.where(largest > 0, torch.hypot(width, transient(series)) / self.steps, 0)
        return Errors(torch.where(known, torch.where(hidden < TOO_SHORT, error, math.inf), math.nan), hidden)


def _swings_back(deviation: Tensor) -> Tensor:
    """Tell where partial sums of the series stay closer together than those of independent numbers, shape (...).

    This is so for periodic growth of any period. `LongRun` does not try spectra of this kind, and a run of periodic
    growth is never too short. The range of the partial sums is Kuiper's statistic, about 1.25 standard deviations times
    sqrt(M) for independent numbers.

    Args:
        deviation: Series of sum 0, shape (M, ...).
    """
    sums = deviation.cumsum(dim=0)
    return sums.amax(dim=0) - sums.amin(dim=0) < NARROW * deviation.square().sum(dim=0).sqrt()


def _parts(deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the first of `PARTS` parts, and those of the others, (P - 1, ...), less the others' mean."""
    sums = torch.stack([part.sum(dim=0) for part in torch.tensor_split(deviation, min(PARTS, len(deviation)))])
    sizes = torch.tensor([len(part) for part in torch.tensor_split(deviation, len(sums))], device="cpu").to(deviation)
    sizes = sizes.reshape(-1, *(1,) * (deviation.ndim - 1))
    others = sums[1:].sum(dim=0) / sizes[1:].sum()
    return sums[0] - sizes[0] * others, sums[1:] - sizes[1:] * others


def _rests_on_few_events(deviation: Tensor) -> Tensor:
    """Tell where the spread of the series comes from fewer than about `FEWEST_EVENTS` parts of it, shape (...).

    Such a run does not tell how often these events happen, so the error is unknown. The first part does not count,
    because it may be a transient. The last batch does not count, because it may cut a period short.

    Args:
        deviation: Series of sum 0, shape (M, ...).
    """
    _, others = _parts(deviation[:-1])
    power = others.square().sum(dim=0)
    matters = power > 1e-3 * deviation.square().sum(dim=0)  # without those that do not count
    few: Tensor = others.pow(3).sum(dim=0).abs() > power.pow(1.5) / math.sqrt(FEWEST_EVENTS)
    return matters & few


def transient(deviation: Tensor) -> Tensor:
    """Return the difference between the first of `PARTS` parts of a series and the others if it is an outlier, else 0.

    Args:
        deviation: Series of sum 0, shape (M, ...).

    Returns:
        The excess of the sum over the first part, shape (...).
    """
    first, others = _parts(deviation)
    return torch.where(first.abs() > OUTLYING * others.abs().amax(dim=0), first.abs(), 0)


def degrees_of_freedom(batches: int) -> int:
    """Return the degrees of freedom with which intervals from so many batches are stated.

    With an eighth of the batches, standard errors of independent growth are right on average. The variance is known
    this well when the spectrum is unknown.

    Args:
        batches: Number of batches.

    Returns:
        The degrees of freedom; 0 if there are too few batches to know the errors.
    """
    return max(2, batches // 8 + 1) if batches >= SMALLEST_SAMPLE else 0


def probability_positive(mean: Tensor, error: Tensor, degrees_of_freedom: int) -> Tensor:
    r"""Compute the probability that an exponent is positive, given its estimate and error.

    It is :math:`P(\lambda > 0) = F_t(\lambda / \text{error})` with Student's t distribution: the posterior under a flat
    prior.

    Args:
        mean: Estimate of the exponent, shape (B,). For -inf the result is 0, with any error.
        error: Its standard error, shape (B,). For 0 the result is 0, 1/2 or 1; for inf it is 1/2.
        degrees_of_freedom: Degrees of freedom of the errors; 0 if they are unknown.

    Returns:
        The probability, shape (B,).
    """
    certain = (mean.sign() + 1) / 2
    known = torch.isfinite(error) & (error > 0)
    ratio = torch.where(known, mean, torch.zeros_like(mean)) / torch.where(known, error, torch.ones_like(error))
    tail = torch.as_tensor(stdtr(max(degrees_of_freedom, 1), ratio.cpu().numpy()), dtype=mean.dtype, device=mean.device)
    sure = (error == 0) | torch.isinf(mean)
    return torch.where(known, tail, torch.where(sure, certain, torch.full_like(mean, 0.5)))
