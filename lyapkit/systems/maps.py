"""Low-dimensional maps with known exponents."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.systems.reference import ReferenceSystem


def henon(a: float = 1.4, b: float = 0.3) -> ReferenceSystem:
    """The Hénon map (x, y) -> (1 - a x^2 + y, b x); the exponents sum to log |b| exactly.

    Raises:
        ValueError: other parameters than the classical ones, whose exponents are the only ones known here.

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
        as_map(step, state=torch.tensor([0.1, 0.1], dtype=torch.float64)),
        (0.419222, -1.623195),
        (1.1e-5, 1.1e-5),
        "QR over 1e9 steps; agrees with Sprott, Chaos and Time-Series Analysis (2003): 0.41922, -1.62319",
    )


def logistic() -> ReferenceSystem:
    """The logistic map x -> 4 x (1 - x), conjugate to the tent map: log 2 exactly.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.logistic().exponents[0], 6)
        0.693147
    """
    return ReferenceSystem(
        "logistic, r = 4",
        as_map(lambda x: 4 * x * (1 - x), state=torch.tensor([0.3], dtype=torch.float64)),
        (math.log(2),),
        (0.0,),
        "exact: conjugate to the tent map of slope 2",
    )


def cat_map() -> ReferenceSystem:
    """Arnold's cat map on the torus, of matrix [[2, 1], [1, 1]]: plus and minus log((3 + sqrt 5)/2) exactly.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 6) for value in systems.cat_map().exponents]
        [0.962424, -0.962424]
    """
    matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    growth = math.log((3 + math.sqrt(5)) / 2)
    return ReferenceSystem(
        "cat map",
        as_map(lambda x: (matrix @ x).remainder(1.0), state=torch.tensor([0.1, 0.2], dtype=torch.float64)),
        (growth, -growth),
        (0.0, 0.0),
        "exact: the Jacobian is constant",
    )
