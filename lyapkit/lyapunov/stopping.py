"""Run Algorithm 1 until the standard errors are small enough."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Refill
from lyapkit.lyapunov.growth import Growth
from lyapkit.lyapunov.long_run import LongRun
from lyapkit.lyapunov.one_step import Effort
from lyapkit.lyapunov.qr import qr_growth
from lyapkit.lyapunov.uncertainty import AT_ONCE, ROUNDING, SMALLEST_SAMPLE, Batches, MeanGrowth, transient
from lyapkit.tangents.along import TangentRun

FIRST_BLOCK = 1024
"""Number of counted steps before the errors are checked for the first time. Each further block doubles the run, so that
the bias of stopping at a lucky moment stays small."""

FALSE_ALARM = 0.0075
"""Share of stationary Gaussian runs whose halves are said to disagree. With heavy tails, the share stays below 2 %,
too."""


def grow_until(
    run: TangentRun,
    frame: Tensor,
    *,
    interval: int | None,
    refill: Refill,
    reached: Callable[[Growth], bool] | None,
    before: Growth | None = None,
    join: bool = False,
    on_steps: Callable[[int], object] = lambda steps: None,
) -> Growth:
    """Run `qr_growth` in blocks, which double the run each time, until ``reached`` or to the end of the drive.

    Args:
        run: The trajectory. All of its steps are done at most.
        frame: Frame at the start, shape (B, N, k).
        interval: Number of steps between decompositions; None for an automatic interval.
        refill: Generator of the directions that replace annihilated ones.
        reached: Function that tells whether a run is good enough; None to run the whole drive in one block.
        before: Growth of earlier steps, which the new ones continue.
        join: True to join windows on the way; see `qr_growth`.
        on_steps: Function called with the number of steps done since the last call (progress).
    """
    growth, drive, state, start, effort = before, run.drive, run.drive.state, 0, Effort()
    while start < drive.steps:
        counted = 0 if growth is None else growth.steps
        block = drive.steps if reached is None else max(counted, FIRST_BLOCK) + max(0, drive.transient - start)
        block = min(block, drive.steps - start)
        part = qr_growth(
            run,
            frame,
            interval=interval,
            refill=refill,
            drive=drive.part(start, block, state),
            earlier=growth,
            effort=effort,
            join=join,
            on_steps=on_steps,
        )
        growth = part if growth is None else growth.followed_by(part)
        growth = growth.joined() if join else growth
        state, frame, start = part.state, part.frame, start + block
        if reached is not None and reached(growth):
            break
    assert growth is not None, "a drive has at least one step"
    return growth


def errors_reached(growth: Growth, target: float, leading: bool) -> Tensor:
    """Return true where the standard errors of the leading or of all exponents are at most ``target``, shape (B,).

    An exponent of -inf has no error, and does not count. If the leading one is -inf, the target is not reached.
    """
    growth = growth.joined()
    means = MeanGrowth.of(growth.log_growth, growth.window)
    error = means.errors().standard  # (B, k)
    gone = torch.isneginf(means.mean)
    if leading:
        error = error.gather(-1, means.mean.argmax(dim=-1, keepdim=True))
    else:
        error = error.masked_fill(gone, 0.0)
    return (error <= target).all(dim=-1) & ~gone.all(dim=-1)


def compare_halves(growth: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Return the difference of the two halves of a run, and true if chance can explain it.

    The difference is compared with the interval of `LongRun`, with a mean of its own for each half, so that a drift
    does not hide itself. The errors allow for a transient at the start, and so does this test. It raises a false alarm
    in `FALSE_ALARM` of stationary runs, for any number of exponents (Bonferroni).

    Args:
        growth: Log growth of each window, shape (W, B, k).
        window: Steps in each window, shape (W,).

    Returns:
        The second half's growth per step minus the first's, shape (B, k), NaN where both are -inf; and the verdict,
        shape (B,). It is False if there are too few windows to tell, if a direction is annihilated in only one half, or
        if all directions are annihilated.
    """
    verdict = torch.zeros(growth.shape[1], dtype=torch.bool, device=growth.device)
    if len(window) < 2:
        return torch.where(torch.isneginf(growth[0]), torch.nan, torch.zeros_like(growth[0])), verdict
    done = window.cumsum(0)
    middle = int((done <= done[-1] / 2).sum().clamp(min=1, max=len(window) - 1))
    first = growth[:middle].sum(dim=0) / done[middle - 1]
    second = growth[middle:].sum(dim=0) / (done[-1] - done[middle - 1])
    difference = second - first  # -inf - (-inf) is NaN
    gone = difference.isnan()
    batches = Batches.of(growth, window)
    count = len(batches.steps)
    if count < 2 * SMALLEST_SAMPLE:
        return difference, verdict
    series = batches.growth - batches.steps.reshape(-1, 1, 1) * growth.sum(dim=0) / done[-1]
    series = torch.where(torch.isfinite(difference), series, torch.zeros_like(series)).reshape(count, -1).double().cpu()
    tail = FALSE_ALARM / 2 / growth.shape[-1]
    parts = torch.split(series, AT_ONCE, dim=1)
    share = float(done[-1]) / count
    reach = share * (difference.abs() - ROUNDING).clamp(min=0).flatten().double().cpu()
    allowed = 2 / count * transient(series)
    rest = (reach.square() - allowed.square()).clamp(min=0).sqrt()  # what a transient does not explain
    chance = torch.cat(
        [
            LongRun.of(part, halves=True).beyond(some.log())
            for part, some in zip(parts, torch.split(rest, AT_ONCE), strict=True)
        ]
    )
    alike = ((rest == 0) | (chance >= tail)).reshape(difference.shape).to(difference.device)
    return difference, (alike | gone).all(dim=-1) & ~gone.all(dim=-1)
