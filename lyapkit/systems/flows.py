"""Flows, stepped by the classical Runge-Kutta method; their exponents are per unit time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_dt
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.reference import ReferenceSystem

_LORENZ = {
    (10.0, 28.0, 8 / 3): (
        (0.90565, 0.0, -14.57231),
        (5e-5, 1e-6, 5e-5),
        "QR over T = 8e6; agrees with Sprott, Chaos and Time-Series Analysis (2003): 0.9056, 0, -14.5723",
    ),
    (16.0, 45.92, 4.0): (
        (1.5025, 0.0, -22.5025),
        (3e-4, 1e-5, 3e-4),
        "QR over T = 1e6; agrees with Wolf et al., Physica D 16, 285 (1985): 2.16 bits, 0, -32.4 bits",
    ),
}

_LORENZ96 = {
    6: (
        (0.9552, 0.0, -0.1530, -0.7564, -1.4105, -4.6353),
        (5e-4, 1e-5, 4e-4, 4e-4, 5e-4, 6e-4),
        "Gram-Schmidt over T = 3e6 at steps of 0.02, with a hand-written Jacobian, in C",
    ),
    8: (
        (1.5983, 0.3891, 0.0, -0.4533, -0.9600, -1.5157, -2.4506, -4.6077),
        (8e-4, 8e-4, 1e-5, 6e-4, 6e-4, 8e-4, 1.2e-3, 1.3e-3),
        "Gram-Schmidt over T = 1.5e6 at steps of 0.02, with a hand-written Jacobian, in C",
    ),
}


@named_arguments()
@checked_kinds
def runge_kutta_step(field: Callable[[Tensor], Tensor], dt: float) -> Callable[[Tensor], Tensor]:
    """Make a step of the classical fourth-order Runge-Kutta method for x' = field(x).

    The step is a map of its own; its exponents differ from the flow's by :math:`O(dt^4)`.

    Args:
        field: Function from a state (N,) to its time derivative (N,).
        dt: Duration of the step.

    Raises:
        TypeError: If the field cannot be called, or the duration is not a number.
        ValueError: If the duration is not positive and finite.

    Example:
        >>> import torch
        >>> from lyapkit.systems.flows import runge_kutta_step
        >>> decay = runge_kutta_step(lambda x: -x, 0.1)
        >>> round(float(decay(torch.ones(1, dtype=torch.float64))), 9)  # exp(-0.1) = 0.904837418
        0.9048375
    """
    if not callable(field):
        raise TypeError(f"field must be callable, from a state to its time derivative, got {field!r}.")
    dt = check_dt(dt)

    def step(x: Tensor) -> Tensor:
        start = field(x)
        middle = field(x + dt / 2 * start)
        again = field(x + dt / 2 * middle)
        end = field(x + dt * again)
        return x + dt / 6 * (start + 2 * middle + 2 * again + end)

    return step


@named_arguments()
@checked_kinds
def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3, dt: float = 0.01) -> ReferenceSystem:
    """Return Lorenz's flow of 1963; its exponents sum to -(sigma + 1 + beta) exactly, and one is 0.

    Args:
        sigma: Prandtl number.
        rho: Rayleigh number over its critical value.
        beta: Geometric factor.
        dt: Duration of a step, at most 0.01; up to there its exponents equal the flow's within the given tolerances.

    Raises:
        ValueError: If the exponents for these parameters are not known here, or the step is longer.

    Example:
        >>> from lyapkit import systems
        >>> systems.lorenz().exponents
        (0.90565, 0.0, -14.57231)
        >>> systems.lorenz(16, 45.92, 4).exponents  # Wolf's 2.16 is in bits
        (1.5025, 0.0, -22.5025)
    """
    parameters = (float(sigma), float(rho), float(beta))
    if parameters not in _LORENZ:
        raise ValueError(f"reference exponents are known for {sorted(_LORENZ)}, got {parameters}.")
    _check_dt(dt, 0.01)
    exponents, uncertainty, source = _LORENZ[parameters]

    def field(x: Tensor) -> Tensor:
        return torch.stack((sigma * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - beta * x[2]))

    return ReferenceSystem(
        f"Lorenz {sigma:g}, {rho:g}, {beta:.3g}",
        as_map(runge_kutta_step(field, dt), state=torch.tensor([5.0, 5.0, 25.0], dtype=torch.float64, device="cpu")),
        exponents,
        uncertainty,
        source,
        "per unit time; the sum is the flow's up to the error of the Runge-Kutta step",
        dt=dt,
        steps=round(60 / dt),
        transient=round(20 / dt),
        trajectories=256,
        spread=1.0,
        exponent_sum=-(sigma + 1 + beta),
        sum_tolerance=2e-3 if sigma == 16 else 2e-4,
    )


@named_arguments()
@checked_kinds
def rossler(dt: float = 0.02) -> ReferenceSystem:
    """Return Roessler's flow x' = -y - z, y' = x + y/5, z' = 1/5 + z (x - 5.7).

    Args:
        dt: Duration of a step, at most 0.02.

    Raises:
        ValueError: If the step is longer.

    Example:
        >>> from lyapkit import systems
        >>> systems.rossler().exponents
        (0.0714, 0.0, -5.3942)
    """
    _check_dt(dt, 0.02)

    def field(x: Tensor) -> Tensor:
        return torch.stack((-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)))

    return ReferenceSystem(
        "Rössler 0.2, 0.2, 5.7",
        as_map(runge_kutta_step(field, dt), state=torch.zeros(3, dtype=torch.float64, device="cpu")),
        (0.0714, 0.0, -5.3942),
        (1e-4, 1e-5, 1e-4),
        "QR over T = 2e6; agrees with Sprott, Chaos and Time-Series Analysis (2003): 0.0714, 0, -5.3943",
        "per unit time; trajectories start around the unstable focus, at any phase, which this flow hardly forgets",
        dt=dt,
        steps=round(400 / dt),
        transient=round(150 / dt),
        trajectories=256,
        spread=0.5,
    )


@named_arguments()
@checked_kinds
def lorenz96(size: int = 6, dt: float = 0.02) -> ReferenceSystem:
    r"""Return Lorenz's flow of 1996 on a ring; the exponents sum to -N exactly.

    .. math:: x_i' = (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + 8

    Args:
        size: Size N of the ring, 6 or 8.
        dt: Duration of a step, at most 0.02.

    Raises:
        ValueError: If the exponents for this size are not known here, or the step is longer.

    Example:
        >>> from lyapkit import systems
        >>> systems.lorenz96().exponents
        (0.9552, 0.0, -0.153, -0.7564, -1.4105, -4.6353)
    """
    if size not in _LORENZ96:
        raise ValueError(f"reference exponents are known for sizes {sorted(_LORENZ96)}, got {size}.")
    _check_dt(dt, 0.02)
    exponents, uncertainty, source = _LORENZ96[size]

    def field(x: Tensor) -> Tensor:
        return (x.roll(-1) - x.roll(2)) * x.roll(1) - x + 8

    return ReferenceSystem(
        f"Lorenz-96, N = {size}, F = 8",
        as_map(runge_kutta_step(field, dt), state=torch.cos(torch.arange(size, dtype=torch.float64, device="cpu"))),
        exponents,
        uncertainty,
        source,
        "per unit time; the sum is the flow's up to the error of the Runge-Kutta step",
        dt=dt,
        steps=round(160 / dt),
        transient=round(80 / dt),
        trajectories=256,
        spread=1.0,
        exponent_sum=-float(size),
        sum_tolerance=2e-4,
    )


def _check_dt(dt: float, largest: float) -> None:
    if not 0 < dt <= largest:
        raise ValueError(
            f"dt must be positive and at most {largest}, where the exponents of a step are those of the flow; got {dt}."
        )
