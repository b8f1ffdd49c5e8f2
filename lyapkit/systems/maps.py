"""Quadratic maps."""

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
def henon(a: float = 1.4, b: float = 0.3) -> ReferenceSystem:
    """Return the Hénon map (x, y) -> (1 - a x^2 + y, b x); the exponents sum to log |b| exactly.

    Args:
        a: Coefficient of x^2; 1.4.
        b: Coefficient of x; 0.3.

    Raises:
        ValueError: If the parameters are not the classical ones; exponents of others are not known here.

    Example:
        >>> from lyapkit import systems
        >>> systems.henon().exponents
        (0.419222, -1.623195)
    """
    if (a, b) != (1.4, 0.3):
        raise ValueError(f"reference exponents are known for a=1.4, b=0.3, got a={a}, b={b}.")

    def step(x: Tensor) -> Tensor:
        return torch.stack((1 - a * x[0] ** 2 + x[1], b * x[0]))

    return ReferenceSystem(
        "Hénon",
        as_map(step, state=torch.tensor([0.1, 0.1], dtype=torch.float64, device="cpu")),
        (0.419222, -1.623195),
        (1.1e-5, 1.1e-5),
        "QR over 1e9 steps; agrees with Sprott, Chaos and Time-Series Analysis (2003): 0.41922, -1.62319",
        trajectories=256,
        spread=1e-2,
        exponent_sum=math.log(b),
    )


@named_arguments()
@checked_kinds
def logistic() -> ReferenceSystem:
    """Return the logistic map x -> 4 x (1 - x), conjugate to the tent map: log 2 exactly.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.logistic().exponents[0], 6)
        0.693147
    """
    return ReferenceSystem(
        "logistic, r = 4",
        as_map(lambda x: 4 * x * (1 - x), state=torch.tensor([0.3], dtype=torch.float64, device="cpu")),
        (math.log(2),),
        (0.0,),
        "exact: conjugate to the tent map of slope 2",
        trajectories=256,
        spread=1e-2,
    )


@named_arguments()
@checked_kinds
def kaplan_yorke_map(contraction: float = 0.2) -> ReferenceSystem:
    r"""Return the Kaplan-Yorke map (x, y) -> (2 x mod 1, alpha y + cos 4 pi x): log 2 and log |alpha| exactly.

    In binary arithmetic the doubling loses one digit at each step and ends in 0 after 53. The map is therefore stepped
    in :math:`u = \sin^2 \pi x`, for which 2 x mod 1 is the logistic map and :math:`\cos 4 \pi x = 1 - 2 u'`:

    .. math:: u' = 4 u (1 - u), \qquad y' = \alpha y + 1 - 2 u'.

    Args:
        contraction: Contraction :math:`\alpha`, of magnitude below 1.

    Raises:
        ValueError: If contraction is 0 or at least 1 in magnitude.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 6) for value in systems.kaplan_yorke_map().exponents]
        [0.693147, -1.609438]
    """
    if not 0 < abs(contraction) < 1:
        raise ValueError(f"contraction must be of magnitude between 0 and 1, both excluded, got {contraction}.")

    def step(x: Tensor) -> Tensor:
        u = 4 * x[0] * (1 - x[0])
        return torch.stack((u, contraction * x[1] + 1 - 2 * u))

    return ReferenceSystem(
        f"Kaplan-Yorke, alpha = {contraction:g}",
        as_map(step, state=torch.tensor([0.3, 0.0], dtype=torch.float64, device="cpu")),
        (math.log(2), math.log(abs(contraction))),
        (0.0, 0.0),
        "exact: Kaplan & Yorke, Lecture Notes in Mathematics 730, 204 (1979)",
        "stepped in u = sin^2(pi x): doubling collapses in binary",
        trajectories=256,
        spread=1e-2,
    )
