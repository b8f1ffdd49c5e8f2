"""Maps of tori: area preserving ones, and coupled expanding ones."""

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
def cat_map() -> ReferenceSystem:
    """Return Arnold's cat map of matrix [[2, 1], [1, 1]]; the exponents are plus and minus log((3 + sqrt 5)/2) exactly.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 6) for value in systems.cat_map().exponents]
        [0.962424, -0.962424]
    """
    matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64, device="cpu")
    growth = math.log((3 + math.sqrt(5)) / 2)
    return ReferenceSystem(
        "cat map",
        as_map(
            lambda x: (matrix @ x).remainder(1.0), state=torch.tensor([0.1, 0.2], dtype=torch.float64, device="cpu")
        ),
        (growth, -growth),
        (0.0, 0.0),
        "exact: the Jacobian is constant",
        steps=500,
        tolerance=1e-12,
        exponent_sum=0.0,
    )


@named_arguments()
@checked_kinds
def standard_map(kick: float = 10.0) -> ReferenceSystem:
    """Return the standard map of Chirikov: p' = p + K sin q, q' = q + p', both mod 2 pi.

    Areas are kept at every step. The leading exponent is near log(K/2) for strong kicks.

    Args:
        kick: Kick strength K; 10.

    Raises:
        ValueError: If the kick strength is not K = 10; exponents of others are not known here. (At small K chaotic
            trajectories stick to islands, and no run is long enough.)

    Example:
        >>> from lyapkit import systems
        >>> systems.standard_map().exponents
        (1.61992, -1.61992)
    """
    if kick != 10:
        raise ValueError(f"reference exponents are known for kick=10, got {kick}.")

    def step(x: Tensor) -> Tensor:
        momentum = x[0] + kick * torch.sin(x[1])
        return torch.stack((momentum, x[1] + momentum)).remainder(2 * math.pi)

    return ReferenceSystem(
        "standard map, K = 10",
        as_map(step, state=torch.tensor([0.5, 1.0], dtype=torch.float64, device="cpu")),
        (1.61992, -1.61992),
        (7e-5, 7e-5),
        "QR over long runs in C; near log(K/2) = 1.6094: Chirikov, Physics Reports 52, 263 (1979)",
        trajectories=256,
        spread=1e-1,
        exponent_sum=0.0,
    )


@named_arguments()
@checked_kinds
def coupled_ring(size: int = 6, coupling: float = 0.2) -> ReferenceSystem:
    r"""Return tripling maps f(x) = 3 x mod 1 on a ring, coupled to their neighbours.

    .. math::

        x_i' &= (1 - \varepsilon) f(x_i) + \tfrac{\varepsilon}{2} \left(f(x_{i-1}) + f(x_{i+1})\right), \\
        \lambda_k &= \log \left|3 (1 - \varepsilon + \varepsilon \cos(2 \pi k / N))\right|, \qquad k = 0, \dots, N - 1.

    All but one or two exponents come in exactly equal pairs. Doubling maps, the usual choice, lose one binary digit at
    each step and collapse to 0 after 53; tripling maps keep them, and their exponents are as exact.

    Args:
        size: Number N of maps, at least 3.
        coupling: Coupling :math:`\varepsilon`, between 0 and 1/2.

    Raises:
        ValueError: If size or coupling is out of range.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 4) for value in systems.coupled_ring(4, 0.2).exponents]
        [1.0986, 0.8755, 0.8755, 0.5878]
    """
    if size < 3:
        raise ValueError(f"size must be at least 3, where each map has two neighbours, got {size}.")
    if not 0 < coupling < 0.5:
        raise ValueError(f"coupling must lie between 0 and 1/2, both excluded, got {coupling}.")

    def step(x: Tensor) -> Tensor:
        tripled = (3 * x).remainder(1.0)
        return (1 - coupling) * tripled + coupling / 2 * (tripled.roll(1) + tripled.roll(-1))

    start = torch.sin(torch.arange(1, size + 1, dtype=torch.float64, device="cpu")).remainder(1.0)
    wave = [math.cos(2 * math.pi * index / size) for index in range(size)]
    exponents = sorted((math.log(3 * (1 - coupling + coupling * cosine)) for cosine in wave), reverse=True)
    return ReferenceSystem(
        f"ring of {size} tripling maps, coupling = {coupling:g}",
        as_map(step, state=start),
        tuple(exponents),
        (0.0,) * size,
        "exact: the Jacobian is a constant circulant matrix",
        "tripling instead of doubling, which collapses in binary; equal exponents in pairs",
        steps=800,
        transient=300,
        tolerance=1e-12,
        exponent_sum=sum(exponents),
    )
