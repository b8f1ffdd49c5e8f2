"""The exponential rate of a gradient and its error: a robust straight line through the log norms."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lyapkit.gradients.line_error import line_error

TUNING = 1.345
"""Number of standard deviations beyond which residuals get a lower weight. On Gaussian residuals, the fit keeps 95 % of
the efficiency of least squares (Huber 1964; Holland & Welsch 1977)."""

ITERATIONS = 50
ROWS_AT_ONCE = 2**19
"""Number of values in a block of rows that are fitted side by side."""


class GrowthRate(NamedTuple):
    r"""A line, :math:`\log |dL/dx_t| = \text{offset} + \text{rate} \cdot (T - t)`.

    Attributes:
        rate: Rate per step *back in time*, shape (...).
        error: Standard error of the rate, shape (...).
        offset: Value of the line at t = T, shape (...); -inf if there are no points.
        steps: Number of points of the fit, shape (...).
    """

    rate: Tensor
    error: Tensor
    offset: Tensor
    steps: Tensor


def growth_rates(log_norm: Tensor, window: tuple[int, int | None], last: Tensor) -> GrowthRate:
    """Fit the line of each sequence, where T is its own length.

    Args:
        log_norm: Log norms, shape (n, B, T).
        window: Steps back in time (start, stop); a whole sequence if ``stop`` is None.
        last: The last step of each sequence, shape (B,).
    """
    shape = log_norm.shape[:2]
    rate, error, offset = log_norm.new_zeros(3, *shape)
    whole = GrowthRate(rate, error, offset, torch.zeros(shape, dtype=torch.int64, device="cpu"))
    for length in sorted(set(last.tolist())):
        chosen = (last == length).nonzero().flatten()
        line = growth_rate(log_norm[:, chosen, :length], (window[0], window[1] or length))
        for values, found in zip(whole, line, strict=True):
            values[:, chosen] = found
    return whole


def growth_rate(log_norm: Tensor, window: tuple[int, int] | None = None) -> GrowthRate:
    """Fit the line by Huber's M-estimator.

    In the first steps back from the end, the gradient turns from the direction that the readout gives it to the one
    that survives. These steps are outliers of the line, and since they lie at its end, they tilt a least-squares line
    most. Huber's line is tilted 2 to 8 times less, with the same scatter. So is the line of Theil and Sen, which costs
    T^2 operations (measured: 784 steps, transients of 2 nats over 5 and 20 steps, white and autocorrelated residuals).

    Args:
        log_norm: Log norms at t = 1, ..., T, shape (..., T). Steps with -inf are left out.
        window: Steps back in time (start, stop) that are used, start <= T - t < stop; all by default.

    Returns:
        The line; `line_error` computes its error. If the gradient is zero at all steps of the window but one, the rate
        is -inf and the error NaN. Two steps determine no error: it is inf. One step determines no rate either: it is
        0, with the error inf.
    """
    total = log_norm.shape[-1]
    start, stop = (0, total) if window is None else window
    back = torch.arange(total - 1, -1, -1, dtype=log_norm.dtype, device=log_norm.device)[total - stop : total - start]
    rows = log_norm[..., total - stop : total - start].reshape(-1, stop - start)
    result = rows.new_zeros(4, rows.shape[0])
    finite = torch.isfinite(rows)
    for kept in torch.unique(finite, dim=0):
        chosen = (finite == kept).all(dim=-1).nonzero().flatten()
        for block in chosen.split(max(1, ROWS_AT_ONCE // max(1, int(kept.sum())))):
            result[:, block] = _fit(back[kept], rows[block][:, kept], rows.shape[1])
    rate, error, offset, steps = result.reshape(4, *log_norm.shape[:-1])
    return GrowthRate(rate, error, offset, steps.long())


def _fit(back: Tensor, values: Tensor, window: int) -> Tensor:
    """Return rate, error, offset and number of points, (4, R), of lines through values (R, n) at steps back (n,)."""
    count = back.numel()
    result = values.new_zeros(4, values.shape[0])
    result[3] = count
    if count < 2:
        if window > 1:
            result[0], result[1] = -math.inf, math.nan
        else:
            result[1] = math.inf
        result[2] = values[:, 0] if count else -math.inf
        return result
    slope, offset, residual, efficiency = _huber(back, values)
    result[0], result[2] = slope, offset
    result[1] = line_error(back, residual) / efficiency if count > 2 else math.inf
    return result


def _huber(back: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return slope, value at 0, clipped residuals, and the share of residuals that are not clipped.

    The fit is by reweighted least squares. The scale is the median absolute residual of each round. To first order, the
    error of the slope is that of least squares on the clipped residuals, divided by the share that is not clipped.
    """
    floor = 8 * torch.finfo(values.dtype).eps * (1 + values.abs().amax(dim=-1, keepdim=True))  # rounding of the values
    weight = torch.ones_like(values)
    before = torch.full_like(values[:, 0], math.inf)
    for _ in range(ITERATIONS):
        total = weight.sum(dim=-1, keepdim=True)
        middle = (weight * back).sum(dim=-1, keepdim=True) / total
        mean = (weight * values).sum(dim=-1, keepdim=True) / total
        centred = back - middle
        spread = (weight * centred**2).sum(dim=-1, keepdim=True)
        slope = (weight * centred * (values - mean)).sum(dim=-1, keepdim=True) / spread
        residual = values - mean - slope * centred
        limit = TUNING * torch.maximum(residual.abs().median(dim=-1, keepdim=True).values / 0.6745, floor)
        weight = limit / torch.maximum(residual.abs(), limit)
        if bool(((slope[:, 0] - before).abs() * len(back) <= floor[:, 0]).all()):
            break
        before = slope[:, 0]
    clipped = residual.clamp(-limit, limit)
    share = (residual.abs() <= limit).to(values.dtype).mean(dim=-1)
    return slope[:, 0], (mean - slope * middle)[:, 0], clipped, share
