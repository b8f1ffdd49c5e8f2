"""Compute quantities of a spectrum: Kaplan-Yorke dimension, entropy rate, memory time scales."""

from __future__ import annotations

import torch
from torch import Tensor


def kaplan_yorke_dimension(exponents: Tensor, state_size: int) -> tuple[Tensor, Tensor]:
    r"""Compute the Kaplan-Yorke dimension, and tell whether it is only a lower bound.

    With j the last index for which the sum is not negative (Kaplan & Yorke 1979),

    .. math:: D = j + \frac{\lambda_1 + \cdots + \lambda_j}{|\lambda_{j+1}|}.

    D = 0 when :math:`\lambda_1 < 0`, and N when the sum over the full spectrum is not negative.

    Args:
        exponents: Exponents, sorted descending, shape (B, k).
        state_size: State size N.

    Returns:
        The dimension, shape (B,), and whether it is only a lower bound, shape (B,): with k < N the sum of all computed
        exponents may still be non-negative, and then only D >= k is known.
    """
    sums = exponents.cumsum(dim=-1)  # (B, k)
    count = (sums >= 0).sum(dim=-1)  # j: sums of a descending sequence cross zero once
    k = exponents.shape[-1]
    at = (count - 1).clamp(min=0).unsqueeze(-1)
    kept = torch.where(count > 0, sums.gather(-1, at).squeeze(-1), torch.zeros_like(sums[:, 0]))
    following = exponents.gather(-1, count.clamp(max=k - 1).unsqueeze(-1)).squeeze(-1)
    fraction = torch.where(count < k, kept / following.abs(), torch.zeros_like(kept))
    return count + fraction, (count == k) & (k < state_size)


def entropy_rate(exponents: Tensor) -> Tensor:
    """Sum the positive exponents, shape (..., k) -> (...): Pesin's upper bound of the entropy rate."""
    return exponents.clamp(min=0).sum(dim=-1)


def memory_timescale(exponents: Tensor) -> Tensor:
    """Compute -1/lambda, the time over which a perturbation fades to 1/e; inf if it does not fade."""
    return torch.where(exponents < 0, -1 / exponents.clamp(max=-torch.finfo(exponents.dtype).tiny), torch.inf)


def kaplan_yorke_gradient(exponents: Tensor, state_size: int) -> Tensor:
    r"""Compute the gradient dD/d lambda_i of the Kaplan-Yorke dimension at fixed j, shape (B, k).

    It is :math:`1 / |\lambda_{j+1}|` for :math:`i \le j`, :math:`(\lambda_1 + \cdots + \lambda_j) / \lambda_{j+1}^2`
    for :math:`i = j + 1`, and 0 beyond. All are 0 if the dimension is 0, N or only a lower bound.

    Args:
        exponents: Exponents, sorted descending, shape (B, k).
        state_size: State size N.
    """
    k = exponents.shape[-1]
    sums = exponents.cumsum(dim=-1)
    count = (sums >= 0).sum(dim=-1, keepdim=True)  # (B, 1)
    rank = torch.arange(k, device=exponents.device)
    following = exponents.gather(-1, count.clamp(max=k - 1))
    kept = torch.where(count > 0, sums.gather(-1, (count - 1).clamp(min=0)), torch.zeros_like(following))
    slope = torch.where(rank < count, 1 / following.abs(), torch.zeros_like(exponents))
    slope = torch.where(rank == count, kept / following**2, slope)
    defined = (count > 0) & (count < k) & torch.isfinite(following)
    return torch.where(defined, slope, torch.zeros_like(slope))


def entropy_gradient(exponents: Tensor) -> Tensor:
    """Compute the derivative of the sum of the positive exponents, shape (B, k): 1 where positive, else 0."""
    return (exponents > 0).to(exponents)
