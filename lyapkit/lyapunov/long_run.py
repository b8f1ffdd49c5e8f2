"""How far a weighted sum of autocorrelated numbers may be from its expectation, from the numbers themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

PERSISTENCES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.94, 0.98)
"""Coefficients phi of the autoregression that are tried."""

ECHOES = (-1.0, -0.96, -0.88, -0.75, -0.55, -0.3, 0.0, 0.3, 0.6, 1.0)
"""Coefficients theta of the moving average that are tried; -1 are numbers whose sums do not wander at all."""

STILL = 0.06
"""Prior probability that sums do not wander: so it is for growth that is a difference of a function of the state."""

PIECES = 20
"""A run is long enough where its 20 parts, taken as independent, show most of the variance of its sum."""

VISIBLE = 0.6
"""What is "most" in `PIECES`: this share. Growth of correlation exp(-|t|/tau) has it in runs of 33 tau."""

AT_ONCE = 256
"""Series that are looked at side by side: what is kept of them stays in the processor's cache."""

BISECTIONS = 13
"""Halvings of the logarithmic bracket of a quantile: to less than 1e-3 of its value."""

SMALLEST_LOG, LARGEST_LOG, FINENESS = -8, 8, 2000
"""Range of log t in which tails of Student's t distribution are tabulated, and points per unit."""


@dataclass(frozen=True)
class LongRun:
    """What a series says of the deviation of a sum over it: a mixture of Student's t distributions.

    Attributes:
        weight: Posterior probability of each spectral shape, shape (G, n).
        variance: Variance of the sum under each shape, shape (G, n).
        freedom: Degrees of freedom of each component.
        hidden: Posterior probability that the run is too short for its correlation time, shape (n,).
    """

    weight: Tensor
    variance: Tensor
    freedom: int
    hidden: Tensor

    @classmethod
    def of(cls, series: Tensor, columns: Tensor, contrast: Tensor) -> LongRun:
        r"""Fit the spectrum of a series.

        Sums of a stationary series over stretches that are long against its correlation time have correlations
        between neighbours only (Tiao 1972); over shorter ones, they decay about exponentially. Both are

        .. math:: u_j = \phi\, u_{j-1} + e_j + \theta\, e_{j-1},

        of which :math:`\theta = -1` are differences of a stationary series, whose sum does not grow with its length.
        Which :math:`\phi`, :math:`\theta` and variance of e hold is uncertain. All of a grid are weighted by their
        restricted likelihood (Harville 1977), exact by the innovations algorithm (Brockwell & Davis 1991, section 5.3),
        times a prior, and the variance of e is integrated out.

        Args:
            series: Numbers in their order, shape (M, n).
            columns: What may be added to them, such as a mean, shape (M, p), p < M.
            contrast: The sum is contrast^T series, shape (M,).
        """
        count, terms = columns.shape
        shapes = _shapes(count)
        theirs = torch.stack([errors.clone() for errors in _innovations(columns)])  # (M, G, p)
        root = torch.linalg.cholesky(torch.einsum("mgp,mgq->gpq", theirs, theirs))
        basis = torch.linalg.solve_triangular(root, theirs.permute(1, 2, 0), upper=False).movedim(2, 0).unsqueeze(-1)
        size = series.abs().amax(dim=0)
        scaled = series / torch.where(size == 0, torch.ones_like(size), size)
        rests = []
        for part in torch.split(scaled, AT_ONCE, dim=1):
            rest = torch.zeros(len(shapes.phi), part.shape[1], dtype=torch.float64)
            fitted = [torch.zeros_like(rest) for _ in range(terms)]
            for step, ours in enumerate(_innovations(part)):
                rest.addcmul_(ours, ours)
                for term in range(terms):
                    fitted[term].addcmul_(basis[step, :, term], ours)
            for projection in fitted:
                rest.addcmul_(projection, projection, value=-1)
            rests.append(rest)
        rest = torch.cat(rests, dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        freedom = count - terms
        volume = 0.5 * shapes.spread.log().sum(dim=0) + root.diagonal(dim1=1, dim2=2).log().sum(dim=-1)
        weight = torch.softmax((shapes.log_prior - volume).unsqueeze(-1) - freedom / 2 * rest.log(), dim=0)
        overlap = torch.stack([(contrast[lag:] * contrast[: count - lag]).sum() for lag in range(count)])
        overlap[1:] *= 2
        variance = (shapes.covariance @ overlap).unsqueeze(-1) * rest / freedom * size.square()
        hidden = (weight * (shapes.visible < VISIBLE).unsqueeze(-1)).sum(dim=0)
        return cls(weight, variance, freedom, hidden)

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


def _innovations(series: Tensor) -> Iterator[Tensor]:
    """Yield, step by step, errors of prediction over their deviation, (G, n) each; the tensor is used again.

    Args:
        series: Shape (M, n).
    """
    shapes = _shapes(len(series))
    scale = shapes.spread.rsqrt().unsqueeze(-1)  # (M, G, 1)
    errors = scale[0] * series[0]
    yield errors
    echo = -shapes.theta.unsqueeze(-1) * scale[1:] * scale[:-1]
    past = -shapes.phi.unsqueeze(-1) * scale
    for step in range(1, len(series)):
        errors.mul_(echo[step - 1]).addcmul_(scale[step], series[step]).addcmul_(past[step], series[step - 1])
        yield errors


@dataclass(frozen=True)
class _Shapes:
    """The spectral shapes that are tried, for series of M numbers.

    Attributes:
        phi: Coefficients of the autoregression, shape (G,).
        theta: Coefficients of the moving average, shape (G,).
        spread: Variances of the errors of prediction, for e of variance 1, shape (M, G).
        covariance: Of numbers 0, ..., M - 1 apart, shape (G, M).
        visible: Share of the variance of the sum that `PIECES` parts show, at most 1, shape (G,).
        log_prior: Shape (G,).
    """

    phi: Tensor
    theta: Tensor
    spread: Tensor
    covariance: Tensor
    visible: Tensor
    log_prior: Tensor


@lru_cache(maxsize=256)
def _shapes(count: int) -> _Shapes:
    phi, theta = (part.flatten() for part in torch.meshgrid(_float(PERSISTENCES), _float(ECHOES), indexing="ij"))
    variance = (1 + 2 * phi * theta + theta**2) / (1 - phi**2)
    neighbours = (1 + phi * theta) * (phi + theta) / (1 - phi**2)
    spread = [variance]
    for _ in range(count - 1):
        spread.append(1 + theta**2 - theta**2 / spread[-1])
    lags = torch.arange(count, dtype=torch.float64)
    covariance = neighbours.unsqueeze(-1) * phi.unsqueeze(-1) ** (lags - 1).clamp(min=0)
    covariance[:, 0] = variance
    sums = torch.zeros(len(phi), count + 1, dtype=torch.float64)  # variance of a sum over so many numbers
    sums[:, 1:] = covariance[:, :1] + 2 * (covariance.cumsum(dim=1) - covariance[:, :1])
    sums = sums.cumsum(dim=1)
    part = count / PIECES
    below = int(part)
    piece = torch.lerp(sums[:, below], sums[:, min(below + 1, count)], part - below)
    return _Shapes(
        phi,
        theta,
        torch.stack(spread),
        covariance,
        (PIECES * piece / sums[:, -1]).clamp(max=1),
        _prior().log(),
    )


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
