"""The distribution of eigenvalues, with its errors, from quadratures under random vectors.

For v uniform on the unit sphere of n dimensions, v'f(A)v has the mean tr f(A) / n. Its variance is 2 / (n + 2) times
the variance of f over the spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.curvature.krylov.quadrature import Quadrature


def axis(threshold: float) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the functions from eigenvalues to positions on the axis, and back."""
    if threshold == 0:
        return (lambda value: value), (lambda position: position)
    return (
        lambda value: torch.asinh(value / (2 * threshold)) / math.log(10),
        lambda position: 2 * threshold * torch.sinh(position * math.log(10)),
    )


def probe_error(variance: Tensor, room: int, probes: int) -> Tensor:
    """Return the standard error of the mean of v'f(A)v over the probes, from the variance of f over the spectrum."""
    return (2 * variance / ((room + 2) * probes)).sqrt()


def cumulative_band(
    quadrature: Quadrature, grid: Tensor, exact: Tensor, atoms: Tensor, size: int, confidence: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return lower end, estimate and upper end of the cumulative distribution on a grid."""
    probes, room = quadrature.nodes.shape[0], size - atoms.numel()
    least, middle, most = (part.mean(dim=0) for part in cumulated(quadrature, grid, exact))
    z = float(torch.special.ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64, device="cpu")))
    strength = z**2 * 2 / ((room + 2) * probes)  # z^2 / n of a Wilson interval of n independent draws
    counted = (atoms <= grid[:, None]).sum(dim=1)
    ends = [
        (part + strength / 2 + sign * (strength * part * (1 - part) + strength**2 / 4).sqrt()) / (1 + strength)
        for part, sign in ((least, -1), (most, 1))
    ]
    low, high = torch.where(least > 0, ends[0], 0.0), torch.where(most < 1, ends[1], 1.0)  # to the last digit
    low, middle, high = ((room * part + counted) / size for part in (low, middle, high))
    return low, middle, high


def cumulated(quadrature: Quadrature, grid: Tensor, exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the measure below every grid point: its lower bound, its value by nodes and weights, and its upper bound.

    The measure has the moments of the quadrature. Between the j-th node and the next, it therefore lies between the sum
    of the first j - 1 weights and that of the first j + 1 (Chebyshev, Markov and Stieltjes).

    Args:
        quadrature: Nodes and weights of p start vectors.
        grid: Shape (g,).
        exact: True if the quadrature of a start vector is the measure itself, shape (p,).

    Returns:
        Shape (p, g) each.
    """
    probes, order = quadrature.nodes.shape
    sums = torch.cat(
        (torch.zeros(probes, 1, dtype=torch.float64, device="cpu"), quadrature.weights.cumsum(dim=1)), dim=1
    )
    sums[:, -1] = 1.0  # up to rounding
    below = torch.searchsorted(quadrature.nodes.contiguous(), grid.expand(probes, -1).contiguous(), right=True)
    middle = sums.gather(1, below)
    least = torch.where(exact[:, None], middle, sums.gather(1, (below - 1).clamp(min=0)))
    most = torch.where(exact[:, None], middle, sums.gather(1, (below + 1).clamp(max=order)))
    return least.clamp(0, 1), middle.clamp(0, 1), most.clamp(0, 1)


def smoothed(quadrature: Quadrature, grid: Tensor, position: Callable[[Tensor], Tensor], width: float) -> Tensor:
    """Return moments of a Gaussian kernel: sum_i w_i phi(x - theta_i)^r for r = 1, 2, averaged over start vectors.

    Args:
        quadrature: Nodes and weights of p start vectors.
        grid: Positions x, shape (g,).
        position: Function from eigenvalues to positions.
        width: Standard deviation of the kernel phi.

    Returns:
        Shape (2, g).
    """
    total = torch.zeros(2, grid.numel(), dtype=torch.float64, device="cpu")
    for nodes, weights in zip(quadrature.nodes, quadrature.weights, strict=True):
        kernel = gaussian(grid[:, None] - position(nodes), width)
        total += torch.stack((kernel @ weights, kernel**2 @ weights))
    return total / quadrature.nodes.shape[0]


def gaussian(distance: Tensor, width: float) -> Tensor:
    """Return the normal density with mean 0 and this standard deviation."""
    return torch.exp(-0.5 * (distance / width) ** 2) / (width * math.sqrt(2 * math.pi))
