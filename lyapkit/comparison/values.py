"""The variables of a comparison, from exponents, states and angles."""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from torch import Tensor

from lyapkit.comparison.growth import Exponents, difference
from lyapkit.comparison.intervals import Estimate, groups, jackknife, over_time, over_trajectories
from lyapkit.comparison.procrustes import Alignment, shape_distance
from lyapkit.comparison.subspaces import SubspaceAngles

SUFFIXES = {"value": "", "error": "_error", "low": "_low", "high": "_high"}


def exponent_values(found: tuple[Exponents, Exponents], dt: float) -> dict[str, Tensor]:
    """Return the variables of the exponents of both networks, and of their differences.

    Args:
        found: Exponents of a and b.
        dt: Duration of a step.
    """
    return {
        **_with_interval("exponent_difference", difference(*found, dt)),
        "lyapunov_exponent": torch.stack([each.exponent for each in found]) / dt,
    }


def shape_values(
    alignment: Alignment | None, states: tuple[Tensor, Tensor], active: Tensor, eps: float
) -> dict[str, Tensor]:
    """Return the variables of the Procrustes alignment; NaN where nothing is aligned.

    Args:
        alignment: The alignment of all states that count; None where those of a network do not vary.
        states: States of a, (S, N), and of b, (S, M), in the order of ``x[active]``.
        active: Steps that count, shape (W, B).
        eps: Resolution of the type that the networks compute in.
    """
    x, y = states
    if alignment is None:
        nothing = x.new_tensor(math.nan)
        return {
            **_with_interval("procrustes_distance", Estimate(nothing, nothing, nothing, nothing)),
            "procrustes_bias": nothing,
            "rotation": x.new_full((x.shape[1], y.shape[1]), math.nan),
            "scale": nothing,
            "aligned_dimensions": torch.tensor(0, device="cpu"),
        }
    group, independent = groups(active)
    distance, bias = jackknife(lambda kept: shape_distance(x[kept], y[kept], eps), group, independent)
    return {
        **_with_interval("procrustes_distance", distance.within(0.0, math.pi / 2)),
        "procrustes_bias": bias,
        "rotation": alignment.rotation,
        "scale": alignment.scale,
        "aligned_dimensions": torch.tensor(alignment.dimensions, device="cpu"),
    }


def angle_values(found: SubspaceAngles | None, active: Tensor, subspaces: int) -> dict[str, Tensor]:
    """Return the variables of the subspaces; NaN where there are no angles.

    Args:
        found: Angles of the d leading subspaces that can be followed; None where there is none.
        active: Steps that count, shape (W, B).
        subspaces: Number of subspaces asked for, at least d.
    """
    nothing = torch.full((subspaces, subspaces), math.nan, dtype=torch.float64, device="cpu")
    estimate = Estimate(*(nothing.clone() for _ in fields(Estimate)))
    settled, ambiguous = nothing[:1].repeat(2, 1), nothing[0].clone()
    if found is not None:
        d = found.angles.shape[-1]
        exists = torch.ones(d, d, dtype=torch.bool, device=active.device).tril()
        mean = _mean_angles(found.angles, active).within(0.0, math.pi / 2).where(exists)
        for name in SUFFIXES:
            getattr(estimate, name)[:d, :d] = getattr(mean, name)
        settled[:, :d] = found.settled.amax(dim=1)
        ambiguous[:d] = found.open[active].mean(dim=0)
    return {
        **_with_interval("principal_angle", estimate),
        "forward_difference": settled,
        "alignment_open": ambiguous,
    }


def _mean_angles(angles: Tensor, active: Tensor) -> Estimate:
    """Return mean angles over the steps that count, (W, B, d, d) -> (d, d)."""
    if active.shape[1] == 1:
        series = angles[active]
        return over_time(series, torch.ones_like(series[:, 0, 0]))
    share = active.to(angles) / active.sum(dim=0)
    return over_trajectories((angles * share[..., None, None]).sum(dim=0))


def _with_interval(name: str, estimate: Estimate) -> dict[str, Tensor]:
    return {f"{name}{suffix}": getattr(estimate, part) for part, suffix in SUFFIXES.items()}
