"""Piecewise expanding maps of an interval or a square."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.reference import ReferenceSystem


@named_arguments()
@checked_kinds
def skew_tent(cut: float = 0.3) -> ReferenceSystem:
    """Return the skew tent map: x/a below the cut a, (1 - x)/(1 - a) above it.

    The uniform density is invariant, so the exponent is -a log a - (1 - a) log(1 - a) exactly. (A cut of 1/2 is the
    tent map, which collapses in binary arithmetic.)

    Args:
        cut: Cut a, between 0 and 1 and not 1/2.

    Raises:
        ValueError: If the cut is outside of this range.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.skew_tent(0.3).exponents[0], 6)
        0.610864
    """
    _check_cut(cut)
    return ReferenceSystem(
        f"skew tent, cut = {cut:g}",
        as_map(
            lambda x: torch.where(x < cut, x / cut, (1 - x) / (1 - cut)),
            state=torch.tensor([0.2], dtype=torch.float64, device="cpu"),
        ),
        (_entropy(cut),),
        (0.0,),
        "exact: the uniform density is invariant",
        "its slopes are not powers of 2, under which digits run out in binary",
        trajectories=256,
        spread=1e-2,
    )


@named_arguments()
@checked_kinds
def skew_baker(cut: float = 0.3) -> ReferenceSystem:
    """Return the skew baker's map: (x/a, a y) where x < a, ((x - a)/(1 - a), a + (1 - a) y) elsewhere.

    Areas are kept at every step, and the exponents are plus and minus -a log a - (1 - a) log(1 - a) exactly.

    Args:
        cut: Cut a, between 0 and 1 and not 1/2.

    Raises:
        ValueError: If the cut is outside of this range.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 6) for value in systems.skew_baker(0.3).exponents]
        [0.610864, -0.610864]
    """
    _check_cut(cut)

    def step(x: Tensor) -> Tensor:
        left = torch.stack((x[0] / cut, cut * x[1]))
        right = torch.stack(((x[0] - cut) / (1 - cut), cut + (1 - cut) * x[1]))
        return torch.where(x[0] < cut, left, right)

    growth = _entropy(cut)
    return ReferenceSystem(
        f"skew baker, cut = {cut:g}",
        as_map(step, state=torch.tensor([0.2, 0.4], dtype=torch.float64, device="cpu")),
        (growth, -growth),
        (0.0, 0.0),
        "exact: the uniform density is invariant",
        trajectories=256,
        spread=1e-2,
        exponent_sum=0.0,
    )


@named_arguments()
@checked_kinds
def gauss_map() -> ReferenceSystem:
    r"""Return the Gauss map of continued fractions, x -> 1/x mod 1: pi^2 / (6 log 2) exactly.

    Its invariant density is :math:`1 / ((1 + x) \log 2)`; under it, :math:`-2 \log x` has that mean.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.gauss_map().exponents[0], 6)
        2.373138
    """
    return ReferenceSystem(
        "Gauss (continued fractions)",
        as_map(lambda x: (1 / x).remainder(1.0), state=torch.tensor([0.38], dtype=torch.float64, device="cpu")),
        (math.pi**2 / (6 * math.log(2)),),
        (0.0,),
        "exact: Khinchin, Continued Fractions (1935); Levy (1936)",
        trajectories=256,
        spread=1e-3,
    )


def _entropy(cut: float) -> float:
    return -cut * math.log(cut) - (1 - cut) * math.log(1 - cut)


def _check_cut(cut: float) -> None:
    if not 0 < cut < 1 or cut == 0.5:
        raise ValueError(
            f"cut must lie between 0 and 1, both excluded, and not be 1/2, where the map doubles and its digits run "
            f"out in binary arithmetic; got {cut}."
        )
