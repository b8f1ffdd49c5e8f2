"""Compute the variables of a Lyapunov spectrum from the growth that Algorithm 1 has collected."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.lyapunov.dimensions import (
    entropy_gradient,
    entropy_rate,
    kaplan_yorke_dimension,
    kaplan_yorke_gradient,
    memory_timescale,
)
from lyapkit.lyapunov.growth import Growth
from lyapkit.lyapunov.stopping import compare_halves, errors_reached
from lyapkit.lyapunov.uncertainty import TOO_SHORT, MeanGrowth, probability_positive


def values_of_lengths(
    growth: Growth, state_size: int, dt: float, transient: int, lengths: Tensor, series: bool
) -> tuple[dict[str, Tensor], int]:
    """Return the variables of a `lyapunov_spectrum` Dataset of sequences that end at different steps.

    Each sequence is evaluated by itself, on its own windows. After its end, its running exponents stay constant and its
    local growth is 0.

    Args:
        growth: Growth in W windows of B trajectories and k directions.
        state_size: State size N.
        dt: Duration of a step.
        transient: Steps before the first window.
        lengths: Steps of each sequence, including the transient, shape (B,).
        series: Also return the variables over time, ``running_exponent`` and ``local_growth``.

    Returns:
        The same as `spectrum_values`. The degrees of freedom are the fewest of any sequence with standard errors.
    """
    stop = transient + growth.window.cumsum(0)
    parts, freedoms = [], []
    for trajectory, length in enumerate(lengths.tolist()):
        window = (growth.window - (stop - length).clamp(min=0)).clamp(min=0)
        kept = int((window > 0).sum())
        alone = Growth(
            growth.log_growth[:kept, trajectory : trajectory + 1],
            window[:kept],
            growth.log_volume_residual[trajectory : trajectory + 1],
            growth.condition[trajectory : trajectory + 1],
            growth.state[trajectory : trajectory + 1],
            growth.frame[trajectory : trajectory + 1],
            growth.unresolved[trajectory : trajectory + 1],
            growth.order[trajectory : trajectory + 1],
            kept,
        )
        values, freedom = spectrum_values(alone, state_size, dt, None, series)
        if series:
            missing = growth.window.numel() - kept
            running, local = values["running_exponent"], values["local_growth"]
            values["running_exponent"] = torch.cat((running, running[:, -1:].expand(-1, missing, -1)), dim=1)
            values["local_growth"] = torch.cat((local, torch.zeros_like(local[:, :1]).expand(-1, missing, -1)), dim=1)
        parts.append(values)
        freedoms.append(freedom)
    told = [freedom for freedom in freedoms if freedom > 0]  # the errors of the others are infinite
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, min(told, default=0)


def spectrum_values(
    growth: Growth, state_size: int, dt: float, until: tuple[float, str] | None, series: bool
) -> tuple[dict[str, Tensor], int]:
    """Return the variables of a `lyapunov_spectrum` Dataset.

    Args:
        growth: Growth in W windows of B trajectories and k directions.
        state_size: State size N.
        dt: Duration of a step.
        until: Target standard error of the stop rule and the exponents that it is for, if there was one.
        series: Also return the variables over time, ``running_exponent`` and ``local_growth``.

    Returns:
        Tensors by variable name, and the degrees of freedom of the standard errors.
    """
    brief = growth.joined()
    order = (brief.log_growth.sum(dim=0)).argsort(dim=-1, descending=True, stable=True)  # (B, k)
    log_growth, window = brief.log_growth.gather(-1, order.expand_as(brief.log_growth)) / dt, brief.window  # (W, B, k)
    means = MeanGrowth.of(log_growth, window)
    exponents = means.mean
    error, hidden = means.errors(kaplan_yorke_gradient(exponents, state_size), entropy_gradient(exponents))
    error, dimension_error, entropy_error = error[:, :-2], error[:, -2], error[:, -1]
    hidden = hidden[:, :-2]
    drift, halves_agree = compare_halves(log_growth, window)
    dimension, is_bound = kaplan_yorke_dimension(exponents, state_size)
    if until is None:
        by_chance = 1 - (1 - TOO_SHORT) / hidden.shape[-1]  # for all exponents together (Bonferroni)
        converged = halves_agree & ((hidden < by_chance) | torch.isneginf(exponents)).all(dim=-1)
    else:
        converged = errors_reached(growth, until[0] * dt, until[1] == "leading")
    gone = torch.isneginf(exponents)
    positive = probability_positive(exponents[:, 0], error[:, 0], means.degrees_of_freedom)
    frame = growth.frame.gather(-1, order.unsqueeze(1).expand_as(growth.frame))  # columns by rank
    values = {
        "lyapunov_exponent": exponents,
        "standard_error": error.masked_fill(gone, torch.nan),
        "below_resolution": growth.unresolved.gather(-1, order).to(torch.int8).cummax(dim=-1).values,
        "error_degrees_of_freedom": torch.full_like(growth.condition, means.degrees_of_freedom),
        "error_reliable": (hidden < TOO_SHORT).to(torch.int8),
        "memory_timescale": memory_timescale(exponents),
        **(_over_time(growth, order, dt) if series else {}),
        "half_difference": drift,
        "converged": converged.to(torch.int8),
        "probability_positive": positive.masked_fill(gone[:, 0], 0.0),
        "kaplan_yorke_dimension": dimension,
        "kaplan_yorke_dimension_error": dimension_error,
        "kaplan_yorke_is_lower_bound": is_bound.to(torch.int8),
        "entropy_rate": entropy_rate(exponents),
        "entropy_rate_error": entropy_error,
        "log_volume_residual": growth.log_volume_residual / dt,
        "frame_condition": growth.condition,
        "final_state": growth.state,
        "final_frame": frame,
        "frame_order": order,
    }
    return values, means.degrees_of_freedom


def _over_time(growth: Growth, order: Tensor, dt: float) -> dict[str, Tensor]:
    """Return running exponents and local growth of the columns in an order, (B, W, k) each."""
    log_growth = growth.log_growth.gather(-1, order.expand_as(growth.log_growth)) / dt  # (W, B, k)
    window = growth.window.reshape(-1, 1, 1)
    return {
        "running_exponent": (log_growth.cumsum(dim=0) / window.cumsum(dim=0)).movedim(0, 1),
        "local_growth": (log_growth / window).movedim(0, 1),
    }
