"""The exponential rate of a gradient and its error."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def growth_rate(log_norm: Tensor) -> tuple[Tensor, Tensor]:
    """Slope of log |dL/dx_t| per step back in time, by least squares, with an autocorrelation-robust error.

    The error is that of Newey & West (1987) with Bartlett weights and their rule of thumb of 4 (n/100)^(2/9) lags:
    neighbouring residuals of a gradient profile are strongly correlated, and the textbook error would be far too small.

    Args:
        log_norm: log norms at t = 1, ..., T, shape (..., T); steps where they are -inf are left out.

    Returns:
        The slope d log |dL/dx_t| / d(T - t) and its standard error, shape (...). A gradient that is zero at all
        steps but the last has slope -inf. From one or two steps no error can be told: it is inf, and so is nothing
        known of the slope of one step, which is reported as 0.
    """
    flat = log_norm.reshape(-1, log_norm.shape[-1])
    slopes, errors = zip(*(_fit(row) for row in flat), strict=True)
    shape = log_norm.shape[:-1]
    return torch.stack(slopes).reshape(shape), torch.stack(errors).reshape(shape)


def _fit(row: Tensor) -> tuple[Tensor, Tensor]:
    kept = torch.isfinite(row)
    values = row[kept]
    count = values.numel()
    if count < 2 and row.numel() > 1:
        return row.new_full((), -math.inf), row.new_zeros(())
    if count < 3:
        slope = (values[0] - values[-1]) / max(count - 1, 1) if count else row.new_zeros(())
        return slope, row.new_full((), math.inf)
    back = (row.shape[0] - 1 - torch.arange(row.shape[0], dtype=row.dtype, device=row.device))[kept]
    centred = back - back.mean()
    spread = (centred**2).sum()
    slope = (centred * values).sum() / spread
    residual = values - values.mean() - slope * centred
    score = centred * residual
    lags = min(count - 1, int(4 * (count / 100) ** (2 / 9)))
    variance = (score**2).sum()
    for lag in range(1, lags + 1):
        variance = variance + 2 * (1 - lag / (lags + 1)) * (score[lag:] * score[:-lag]).sum()
    return slope, (variance.clamp(min=0) * count / (count - 2)).sqrt() / spread
