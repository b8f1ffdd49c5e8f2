"""Lyapunov exponents of two networks, and their differences trajectory by trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.comparison.intervals import Estimate, over_time, over_trajectories
from lyapkit.lyapunov.decomposition import Refill
from lyapkit.lyapunov.qr import qr_growth
from lyapkit.tangents.along import TangentRun


@dataclass(frozen=True)
class Exponents:
    """Growth per step of W steps, with exponents sorted descending.

    Attributes:
        exponent: Shape (B, k).
        growth: The growth at each step in the same order, shape (W, B, k); 0 behind the end of a sequence.
    """

    exponent: Tensor
    growth: Tensor


def exponents(
    run: TangentRun, frame: Tensor, refill: Refill, on_steps: Callable[[int], object] = lambda steps: None
) -> Exponents:
    """Compute exponents with a decomposition at every step.

    Args:
        run: The trajectories; transient steps settle state and frame.
        frame: Orthonormal frame to start from, shape (B, N, k).
        refill: Generator of the directions that replace annihilated ones.
        on_steps: Called with the number of steps done since the last call (progress).
    """
    drive = run.drive
    growth = qr_growth(run, frame, interval=1, refill=refill, on_steps=on_steps).log_growth
    active = drive.active_over(drive.transient, len(growth))
    if active is not None:
        growth = growth.where(active.to(growth.device).unsqueeze(-1), 0.0)
    counted = (drive.last_steps - drive.transient).to(growth).unsqueeze(-1)
    exponent, order = (growth.sum(dim=0) / counted).sort(dim=-1, descending=True, stable=True)
    return Exponents(exponent, growth.gather(-1, order.expand_as(growth)))


def difference(first: Exponents, second: Exponents, dt: float) -> Estimate:
    """Return the exponents of the first minus those of the second, shape (k,), on the same inputs.

    Directions that both annihilate do not differ. With several trajectories, the interval comes from the differences of
    each; with a single one, from the difference of both series of growth.

    Args:
        first: Exponents of the first.
        second: Exponents of the second, as many.
        dt: Duration of a step.
    """
    gone = torch.isneginf(first.exponent) & torch.isneginf(second.exponent)  # (B, k)
    if len(gone) > 1:
        return over_trajectories((first.exponent - second.exponent).masked_fill(gone, 0.0) / dt)
    series = (first.growth - second.growth)[:, 0].masked_fill(gone, 0.0) / dt
    return over_time(series, torch.ones_like(series[:, 0]))


def resolved(*networks: Exponents) -> int:
    """Return how many leading exponents are finite in all trajectories of all networks."""
    finite = torch.stack([torch.isfinite(each.exponent).all(dim=0) for each in networks]).all(dim=0)
    return int(finite.to(torch.int8).cumprod(dim=0).sum())
