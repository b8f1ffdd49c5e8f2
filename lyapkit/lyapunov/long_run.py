"""Estimate how far the sum of autocorrelated numbers may be from its expectation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from scipy.linalg import block_diag
from scipy.special import stdtr, stdtrit
from scipy.stats import t as student
from torch import Tensor

PERSISTENCES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.94, 0.98)
r"""Coefficients :math:`\phi` of the autoregression that are tried."""

ECHOES = (-1.0, -0.96, -0.88, -0.75, -0.55, -0.3, 0.0, 0.3, 0.6, 1.0)
r"""Coefficients :math:`\theta` of the moving average that are tried. With -1, sums do not wander at all."""

STILL = 0.15
"""Prior probability that sums do not wander, as when growth is a difference of a function of the state."""

BAND = 3
FEWEST = 12
"""The slowest third of the modes shows how far the sum wanders, or the slowest 12 if a third is fewer."""

PIECES = 20
"""A run is long enough if its 20 parts, taken as independent, show most of the variance of its sum."""

VISIBLE = 0.6
"""The share that `PIECES` calls "most". Growth with correlation exp(-|t|/tau) reaches it in runs of 43 tau."""

PRECISION = 5e-4
"""Relative precision of quantiles, the distance of points of the table."""

MOST_TRIALS = 40
"""Trials of a quantile at most; half a dozen are usual, and a bracket that is only halved takes 15."""

STEEPEST, FLATTEST = -100.0, -0.1
"""Bounds on the slope of log P over log w that a secant is trusted with."""

SMALLEST_LOG, LARGEST_LOG, FINENESS = -8, 8, 2000
"""Range of log t in which tails of Student's t distribution are tabulated, and points per unit."""


@dataclass(frozen=True)
class LongRun:
    r"""Distribution of the deviation of a sum, estimated from its series: a mixture of Student's t distributions.

    Take sums of a stationary series over stretches. If stretches are long against its correlation time, only
    neighbouring sums are correlated (Tiao 1972, Biometrika 59, 525). If stretches are shorter, correlations decay about
    exponentially. One model covers both:

    .. math:: u_j = \phi\, u_{j-1} + e_j + \theta\, e_{j-1}.

    With :math:`\theta = -1` the series is a difference of a stationary series, and its sum does not grow with its
    length. :math:`\phi`, :math:`\theta` and the variance of e are unknown. All pairs of a grid are weighted by a prior
    and by the likelihood of the series' slow modes; the variance of e is integrated out. The likelihood uses only slow
    modes (as in Müller & Watson 2008, Econometrica 76, 979). So the spectrum needs this form only there, and the series
    may ring or alternate faster in any way. Fast modes contribute to the sum at its two ends; this contribution is used
    as measured.

    Attributes:
        weight: Posterior probability of each spectral shape (pair phi, theta), shape (G, n).
        variance: Variance of the sum under each shape, shape (G, n).
        freedom: Degrees of freedom of each component.
        hidden: Posterior probability that the run is too short for its correlation time, shape (n,). It uses all modes,
            because slow modes alone detect a long correlation time too late.
    """

    weight: Tensor
    variance: Tensor
    freedom: int
    hidden: Tensor

    @classmethod
    def of(cls, series: Tensor, halves: bool = False) -> LongRun:
        """Compute the probability of each spectral shape, and the variance of the sum under it.

        Args:
            series: Numbers in their order, shape (M, n), M >= 4. Only their deviations from the mean count.
            halves: True if the "sum" is the second half's mean minus the first's, with deviations from the mean of each
                half; M >= 8.
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
        unit = -float(stdtrit(self.freedom, tail))
        kept = self.weight > tail * 1e-4
        low = math.log(unit) + torch.where(kept, self._scale, torch.inf).amin(dim=0)
        high = math.log(unit) + torch.where(kept, self._scale, -torch.inf).amax(dim=0)
        trial = torch.clamp(math.log(unit) + (self.weight * self.variance).sum(dim=0).sqrt().log(), low, high)
        slope = torch.full_like(trial, -unit * float(student.pdf(unit, self.freedom)) / tail)
        before = excess = torch.full_like(trial, torch.nan)
        moves = torch.ones_like(trial, dtype=torch.bool)
        for _ in range(MOST_TRIALS):  # secants of log P over log w, within a bracket
            here = (self.beyond(trial) / tail).log()
            secant = (here - excess) / (trial - before)
            slope = torch.where((secant < FLATTEST) & (secant > STEEPEST), secant, slope)
            low, high = torch.where(here > 0, trial, low), torch.where(here > 0, high, trial)
            following = trial - here / slope
            following = torch.where((following >= low) & (following <= high), following, (low + high) / 2)
            before, excess, trial = trial, here, torch.where(moves, following, trial)
            moves &= (trial - before).abs() > PRECISION  # a series stays what it is alone, whatever is beside it
            if not bool(moves.any()):
                break
        return trial.exp()

    def beyond(self, logarithm: Tensor) -> Tensor:
        """Return the probability of a larger deviation on either side, shape (n,).

        Args:
            logarithm: Logarithm of the deviation, shape (n,).
        """
        table = _tails(self.freedom)
        place = (FINENESS * logarithm - self._place).nan_to_num_(nan=0.0).clamp_(0, len(table) - 1)
        return (self.weight * table[place.long()]).sum(dim=0)

    @cached_property
    def _scale(self) -> Tensor:
        return self.variance.sqrt().log()

    @cached_property
    def _place(self) -> Tensor:
        return FINENESS * (SMALLEST_LOG + self._scale)


@dataclass(frozen=True)
class _Shapes:
    """The spectral shapes that are tried, for series of M numbers.

    Attributes:
        modes: Orthonormal modes of zero mean, slow ones first, shape (M, M - 1), or (M, M - 2) for halves.
        slow: Number of slow modes.
        spectrum: Variance of each mode's coefficient, for e of variance 1, shape (G, M - 1 or M - 2).
        slow_part: Variance of the sum that the slow modes explain, shape (G,).
        fast_part: Variance of the sum per squared coefficient of each fast mode.
        visible: Share of the variance of the sum that `PIECES` parts show, at most 1, shape (G,).
        log_prior: Logarithms of the prior probabilities, shape (G,).
    """

    modes: Tensor
    slow: int
    spectrum: Tensor
    slow_part: Tensor
    fast_part: Tensor
    visible: Tensor
    log_prior: Tensor

    def posterior(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of each shape, and the sum of squares in units of its spectrum, shape (G, n) each.

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
    lags = torch.arange(count, dtype=torch.float64, device="cpu")
    covariance = neighbours.unsqueeze(-1) * phi.unsqueeze(-1) ** (lags - 1).clamp(min=0)
    covariance[:, 0] = (1 + 2 * phi * theta + theta**2) / (1 - phi**2)
    lengths = (count // 2, count - count // 2) if halves else (count,)
    factors = [-1 / lengths[0], 1 / lengths[-1]] if halves else [1.0]
    parts = [_modes(length) for length in lengths]
    slow = torch.from_numpy(block_diag(*(modes[:, :few].numpy() for modes, _, few in parts)))
    fast = torch.from_numpy(block_diag(*(modes[:, few:].numpy() for modes, _, few in parts)))
    fast_part = torch.cat([factor**2 * reach[few:] for factor, (_, reach, few) in zip(factors, parts, strict=True)])
    contrast = _float(tuple(factors)).repeat_interleave(torch.tensor(lengths, device="cpu")).unsqueeze(-1)
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
    """Return modes of a series, the contribution of each to the sum through its ends, and the number of slow ones.

    The modes are the eigenvectors of the second difference among series of mean 0, with zeros beyond both ends. Their
    coefficients are exactly uncorrelated under every moving average of two terms. At the ends of the series, the terms
    of a sum do not cancel; these ends weigh little in the slow modes.

    Returns:
        Modes of ascending frequency omega, shape (M, M - 1); the variance of the sum per squared coefficient, 1 / (2 M
        sin^2(omega/2)), shape (M - 1,), which is the mean over phases of a wave's sum; and the number of slow modes.
    """
    centred = torch.eye(count, dtype=torch.float64, device="cpu") - 1 / count
    ones = torch.ones(count - 1, dtype=torch.float64, device="cpu")
    difference = 2 * torch.eye(count, dtype=torch.float64, device="cpu") - ones.diag(1) - ones.diag(-1)
    curvature, modes = torch.linalg.eigh(centred @ difference @ centred)  # 4 sin^2(omega/2); the first is 0
    return modes[:, 1:], 2 / count / curvature[1:], min(count - 1, max(FEWEST, round(count / BAND)))


def _visible(covariance: Tensor) -> Tensor:
    """Return the share of the variance of a sum that `PIECES` parts show, from covariances (G, M), shape (G,)."""
    count = covariance.shape[1]
    # variance of a sum of so many numbers
    sums = torch.zeros(len(covariance), count + 1, dtype=torch.float64, device="cpu")
    sums[:, 1:] = covariance[:, :1] + 2 * (covariance.cumsum(dim=1) - covariance[:, :1])
    sums = sums.cumsum(dim=1)
    part = count / PIECES
    below = int(part)
    piece = torch.lerp(sums[:, below], sums[:, min(below + 1, count)], part - below)
    return (PIECES * piece / sums[:, -1]).clamp(max=1)


def _prior() -> Tensor:
    """Return prior probabilities of the shapes, shape (G,).

    The density of phi is proportional to (1 - phi)^(1/2), so that values near 1 are less likely. The density of theta
    is uniform, and theta = -1 has the extra probability `STILL`. Chosen by coverage, see benchmarks/coverage.py.
    """
    phi, theta = _float(PERSISTENCES), _float(ECHOES)
    row = _cells(phi) * (1 - phi).sqrt()
    column = (1 - STILL) * _cells(theta) / _cells(theta).sum()
    column[ECHOES.index(-1.0)] += STILL
    return torch.outer(row / row.sum(), column).flatten()


@lru_cache(maxsize=256)
def _tails(freedom: int) -> Tensor:
    """Return the probability beyond t of Student's t distribution, on a fine grid of log t."""
    t = torch.arange(SMALLEST_LOG * FINENESS, LARGEST_LOG * FINENESS, device="cpu") / FINENESS
    return torch.from_numpy(stdtr(freedom, -t.double().exp().numpy()))


def _cells(points: Tensor) -> Tensor:
    """Return the length of the interval that is nearest to each of ascending points."""
    bounds = torch.cat((points[:1], (points[1:] + points[:-1]) / 2, points[-1:]))
    return bounds.diff()


def _float(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")
