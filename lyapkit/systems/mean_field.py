"""Mean-field theory of infinitely large random tanh networks: their exponents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.kinds import checked_kinds


@dataclass(frozen=True)
class MeanField:
    """Results of the theory for x' = J tanh x + input, with J_ij ~ N(0, g^2/N) and N to infinity.

    Attributes:
        variance: Variance q of each component of the state.
        leading_exponent: Largest exponent lambda_1, in nats per step.
        mean_exponent: Mean of all N exponents.
    """

    variance: float
    leading_exponent: float
    mean_exponent: float


@named_arguments()
@checked_kinds
def tanh_mean_field(gain: float, input_variance: float = 0.0) -> MeanField:
    r"""Solve the self-consistency of a random tanh network, and return its exponents.

    States are Gaussian with a variance q that reproduces itself, and tangent vectors grow by random slopes:

    .. math::

        q &= g^2 \langle \tanh^2 x \rangle + \sigma^2, \qquad x \sim N(0, q), \\
        \lambda_1 &= \tfrac12 \log\left(g^2 \langle \operatorname{sech}^4 x \rangle\right), \\
        \bar\lambda &= \log g - \tfrac12 + \langle \log \operatorname{sech}^2 x \rangle

    (Molgedey, Schuchhardt & Schuster, Phys. Rev. Lett. 69, 3717, 1992). The averages are taken by the trapezoidal rule,
    which converges exponentially for such integrands.

    Args:
        gain: Gain g.
        input_variance: Variance :math:`\sigma^2` of an input drawn anew for each component at each step.

    Raises:
        ValueError: If the gain is outside 0 to 1,000 or the input variance outside 0 to 1,000,000, the range
            of the quadrature.

    Example:
        >>> from lyapkit.systems import tanh_mean_field
        >>> theory = tanh_mean_field(3.0)
        >>> round(theory.leading_exponent, 6), round(theory.mean_exponent, 6)
        (0.310249, -2.272805)
    """
    from scipy.optimize import brentq  # imported here, since the import adds a global filter of warnings

    if not 0 < gain <= 1e3:
        raise ValueError(f"gain must be positive and at most 1,000, got {gain}.")
    if not 0 <= input_variance <= 1e6:
        raise ValueError(f"input_variance must be between 0 and 1,000,000, got {input_variance}.")

    def excess(variance: float) -> float:
        return gain**2 * _gaussian_mean(lambda x: np.tanh(x) ** 2, variance) + input_variance - variance

    if input_variance == 0 and gain <= 1:
        variance = 0.0  # the only solution: activity dies out
    else:
        # without input, 0 is a solution too, an unstable one; the other grows from it like g - 1
        smallest = input_variance if input_variance > 0 else 1e-3 * min(1.0, gain - 1)
        variance = float(brentq(excess, smallest, gain**2 + input_variance, xtol=1e-15, rtol=1e-14))
    return MeanField(
        variance,
        0.5 * math.log(gain**2 * _gaussian_mean(lambda x: (1 - np.tanh(x) ** 2) ** 2, variance)),
        math.log(gain) - 0.5 - 2 * _gaussian_mean(lambda x: np.logaddexp(x, -x) - math.log(2), variance),
    )


def _gaussian_mean(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], variance: float) -> float:
    """Return <f(x)> for x ~ N(0, variance), with f analytic within pi/2 of the real axis, as tanh is."""
    # the rule's error is exp(-2 pi a/h), a = pi/2 / sqrt(q) being the width of that strip in z = x / sqrt(q): below
    # exp(-61) here; weights beyond |z| = 12 are below exp(-72)
    deviation = math.sqrt(variance)
    points = 2 * math.ceil(12 / min(0.1, 0.16 / max(deviation, 1.0))) + 1
    z = np.linspace(-12.0, 12.0, points)
    weight = np.exp(-(z**2) / 2)
    return float((weight * function(deviation * z)).sum() / weight.sum())
