"""How far a sum of autocorrelated numbers may be from its expectation, from the numbers themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.linalg import block_diag
from scipy.special import stdtr, stdtrit
from torch import Tensor

PERSISTENCES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.94, 0.98)
"""Coefficients phi of the autoregression that are tried."""

ECHOES = (-1.0, -0.96, -0.88, -0.75, -0.55, -0.3, 0.0, 0.3, 0.6, 1.0)
"""Coefficients theta of the moving average that are tried; -1 are numbers whose sums do not wander at all."""

STILL = 0.15
"""Prior probability that sums do not wander: so it is for growth that is a difference of a function of the state."""

BAND = 3
FEWEST = 12
"""The slowest third of the modes says how far the sum wanders, or the slowest 12 where that are more."""

PIECES = 20
"""A run is long enough where its 20 parts, taken as independent, show most of the variance of its sum."""

VISIBLE = 0.6
"""What is "most" in `PIECES`: this share. Growth of correlation exp(-|t|/tau) has it in runs of 33 tau."""

BISECTIONS = 13
"""Halvings of the logarithmic bracket of a quantile: to less than 1e-3 of its value."""

SMALLEST_LOG, LARGEST_LOG, FINENESS = -8, 8, 2000
"""Range of log t in which tails of Student's t distribution are tabulated, and points per unit."""


@dataclass(frozen=True)
class LongRun:
    r"""What a series says of the deviation of its sum: a mixture of Student's t distributions.

    Sums of a stationary series over stretches that are long against its correlation time have correlations between
    neighbours only (Tiao 1972); over shorter ones, they decay about exponentially. Both are

    .. math:: u_j = \phi\, u_{j-1} + e_j + \theta\, e_{j-1},

    of which :math:`\theta = -1` are differences of a stationary series, whose sum does not grow with its length. Which
    :math:`\phi`, :math:`\theta` and variance of e hold is uncertain: all of a grid are weighted by a prior and by
    the likelihood of the series' slow modes, and the variance of e is integrated out. Slow modes, because only there
    the spectrum has to be of this form, whatever rings or alternates faster (Müller & Watson 2008, 2018). What fast
    modes add to the sum, through its two ends, is taken as measured.

    Attributes:
        weight: Posterior probability of each spectral shape, shape (G, n).
        variance: Variance of the sum under each shape, shape (G, n).
        freedom: Degrees of freedom of each component.
        hidden: Posterior probability that the run is too short for its correlation time, shape (n,). It rests on all
            modes: slow ones alone tell a long correlation time too late.
    """

    weight: Tensor
    variance: Tensor
    freedom: int
    hidden: Tensor

    @classmethod
    def of(cls, series: Tensor, halves: bool = False) -> LongRun:
        """Weigh the spectral shapes.

        Args:
            series: Numbers in their order, of which only deviations from the mean count, shape (M, n), M >= 4.
            halves: Whether the "sum" is the second half's mean minus the first's, and deviations are those from the
                mean of each half; M >= 8.
        """
        shapes = _shapes(len(series), halves)
        size = series.abs().amax(dim=0)
        size = torch.where(size == 0, torch.ones_like(size), size)
        power = (shapes.modes.T @ (series / size)).square()  # (M - 1 or M - 2, n)
        freedom = shapes.slow
        weight, rest = shapes.posterior(power[:freedom])
        variance = shapes.slow_part.unsqueeze(-1) * rest / freedom + shapes.fast_part @ power[freedom:]
        overall, _ = shapes.posterior(power)
        hidden = (overall * (shapes.visible < VISIBLE).unsqueeze(-1)).sum(dim=0)
        return cls(weight, variance * size.square(), freedom, hidden)

    def half_width(self, tail: float) -> Tensor:
        """Return the deviation that is exceeded with a given probability on either side, shape (n,).

        Args:
            tail: The probability, below 1/2.
        """
        scale = self.variance.sqrt().log()
        unit = math.log(-float(stdtrit(self.freedom, tail)))
        kept = self.weight > tail * 1e-4
        low = unit + torch.where(kept, scale, torch.inf).amin(dim=0)
        high = unit + torch.where(kept, scale, -torch.inf).amax(dim=0)
        table, place = _tails(self.freedom), FINENESS * (SMALLEST_LOG + scale)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            beyond = table[(FINENESS * middle - place).long().clamp(0, len(table) - 1)]
            outside = (self.weight * beyond).sum(dim=0) > tail
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        return ((low + high) / 2).exp()


@dataclass(frozen=True)
class _Shapes:
    """The spectral shapes that are tried, for series of M numbers.

    Attributes:
        modes: Orthonormal modes of zero mean, slow ones first, shape (M, M - 1), or (M, M - 2) for halves.
        slow: How many of the modes are slow.
        spectrum: Variance of each mode's coefficient, for e of variance 1, shape (G, M - 1 or M - 2).
        slow_part: Variance of the sum that the slow modes explain, shape (G,).
        fast_part: Variance of the sum per squared coefficient of each fast mode.
        visible: Share of the variance of the sum that `PIECES` parts show, at most 1, shape (G,).
        log_prior: Shape (G,).
    """

    modes: Tensor
    slow: int
    spectrum: Tensor
    slow_part: Tensor
    fast_part: Tensor
    visible: Tensor
    log_prior: Tensor

    def posterior(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of each shape, and sums of squares in units of its spectrum, shape (G, n) each.

        Args:
            power: Squared coefficients of the first modes.
        """
        count = len(power)
        spectrum = self.spectrum[:, :count]
        rest = (spectrum.reciprocal() @ power).clamp(min=torch.finfo(torch.float64).tiny)
        logarithm = self.log_prior - 0.5 * spectrum.log().sum(dim=-1)
        return torch.softmax(logarithm.unsqueeze(-1) - count / 2 * rest.log(), dim=0), rest


@lru_cache(maxsize=256)
def _shapes(count: int, halves: bool) -> _Shapes:
    phi, theta = (part.flatten() for part in torch.meshgrid(_float(PERSISTENCES), _float(ECHOES), indexing="ij"))
    neighbours = (1 + phi * theta) * (phi + theta) / (1 - phi**2)
    lags = torch.arange(count, dtype=torch.float64)
    covariance = neighbours.unsqueeze(-1) * phi.unsqueeze(-1) ** (lags - 1).clamp(min=0)
    covariance[:, 0] = (1 + 2 * phi * theta + theta**2) / (1 - phi**2)
    lengths = (count // 2, count - count // 2) if halves else (count,)
    factors = [-1 / lengths[0], 1 / lengths[-1]] if halves else [1.0]
    parts = [_modes(length) for length in lengths]
    slow = torch.from_numpy(block_diag(*(modes[:, :few].numpy() for modes, _, few in parts)))
    fast = torch.from_numpy(block_diag(*(modes[:, few:].numpy() for modes, _, few in parts)))
    fast_part = torch.cat([factor**2 * reach[few:] for factor, (_, reach, few) in zip(factors, parts, strict=True)])
    contrast = torch.tensor(factors, dtype=torch.float64).repeat_interleave(torch.tensor(lengths)).unsqueeze(-1)
    sides = torch.cat((slow, fast, contrast), dim=1)
    overlap = torch.stack([(sides[lag:] * sides[: count - lag]).sum(dim=0) for lag in range(count)])
    overlap[1:] *= 2
    variances = covariance @ overlap
    spectrum, whole = variances[:, :-1], variances[:, -1]
    return _Shapes(
        sides[:, :-1],
        slow.shape[1],
        spectrum,
        (whole - spectrum[:, slow.shape[1] :] @ fast_part).clamp(min=0),
        fast_part,
        _visible(covariance),
        _prior().log(),
    )


def _modes(count: int) -> tuple[Tensor, Tensor, int]:
    """Return modes of a series, what each adds to the sum through its ends, and how many are slow.

    The modes are those of the second difference among series of mean 0, with zeros beyond both ends. Their coefficients
    are exactly uncorrelated under every moving average of two terms, and ends of the series, where sums begin and stop
    to cancel, weigh little in the slow ones.

    Returns:
        Modes of ascending frequency omega, shape (M, M - 1); variance of the sum per squared coefficient,
        1 / (2 M sin^2(omega/2)), shape (M - 1,), the mean over phases of a wave's sum; and the number of slow ones.
    """
    centred = torch.eye(count, dtype=torch.float64) - 1 / count
    ones = torch.ones(count - 1, dtype=torch.float64)
    difference = 2 * torch.eye(count, dtype=torch.float64) - ones.diag(1) - ones.diag(-1)
    curvature, modes = torch.linalg.eigh(centred @ difference @ centred)  # 4 sin^2(omega/2); the first is 0
    return modes[:, 1:], 2 / count / curvature[1:], min(count - 1, max(FEWEST, round(count / BAND)))


def _visible(covariance: Tensor) -> Tensor:
    """Return the share of the variance of a sum that `PIECES` parts show, from covariances (G, M), shape (G,)."""
    count = covariance.shape[1]
    sums = torch.zeros(len(covariance), count + 1, dtype=torch.float64)  # variance of a sum over so many numbers
    sums[:, 1:] = covariance[:, :1] + 2 * (covariance.cumsum(dim=1) - covariance[:, :1])
    sums = sums.cumsum(dim=1)
    part = count / PIECES
    below = int(part)
    piece = torch.lerp(sums[:, below], sums[:, min(below + 1, count)], part - below)
    return (PIECES * piece / sums[:, -1]).clamp(max=1)


def _prior() -> Tensor:
    """Return prior probabilities of the shapes, shape (G,).

    Values of phi near 1 are less likely, by a density (1 - phi)^(1/2). Values of theta are alike, and `STILL` is set
    aside for theta = -1. Chosen by coverage, see benchmarks/coverage.py.
    """
    phi, theta = _float(PERSISTENCES), _float(ECHOES)
    row = _cells(phi) * (1 - phi).sqrt()
    column = (1 - STILL) * _cells(theta) / _cells(theta).sum()
    column[ECHOES.index(-1.0)] += STILL
    return torch.outer(row / row.sum(), column).flatten()


@lru_cache(maxsize=256)
def _tails(freedom: int) -> Tensor:
    """Return the probability beyond t of Student's t distribution, on a fine grid of log t."""
    t = torch.arange(SMALLEST_LOG * FINENESS, LARGEST_LOG * FINENESS) / FINENESS
    return torch.from_numpy(stdtr(freedom, -t.double().exp().numpy()))


def _cells(points: Tensor) -> Tensor:
    """Return the length of the neighbourhood of each of ascending points."""
    bounds = torch.cat((points[:1], (points[1:] + points[:-1]) / 2, points[-1:]))
    return bounds.diff()


def _float(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
