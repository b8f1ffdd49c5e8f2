"""Random tanh networks: large ones against mean-field theory, a small one, and one at rest."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lyapkit.adapters import as_map
from lyapkit.checks.arguments import check_fraction
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.mean_field import tanh_mean_field
from lyapkit.systems.reference import ReferenceSystem


@named_arguments()
@checked_kinds
def tanh_network(weight: Tensor, rate: float = 1.0, driven: bool = False) -> RecurrentMap:
    """Return the map x' = (1 - d) x + d (J tanh x + input).

    Args:
        weight: Weights J, shape (N, N).
        rate: Rate d, between 0 and 1.
        driven: Whether the map takes an input of N components; it is autonomous otherwise.

    Raises:
        TypeError: If the rate is not a number.
        ValueError: If it is outside [0, 1].

    Example:
        >>> import torch
        >>> from lyapkit.systems import tanh_network
        >>> tanh_network(torch.eye(3), driven=True).input_size
        3
    """
    rate = check_fraction("rate", rate)
    if driven:
        start = torch.ones_like(weight[0])
        return as_map(
            lambda x, s: (1 - rate) * x + rate * (weight @ torch.tanh(x) + s),
            state=start,
            input=torch.zeros_like(start),
        )
    return as_map(lambda x: (1 - rate) * x + rate * (weight @ torch.tanh(x)), state=torch.ones_like(weight[0]))


@named_arguments()
@checked_kinds
def random_network(gain: float = 3.0, input_variance: float = 0.0, size: int = 512, seed: int = 0) -> ReferenceSystem:
    r"""Return a large random network x' = J tanh x + input, J_ij ~ N(0, g^2/N), against `tanh_mean_field`.

    A finite network falls short of the theory: by 2.7/N for g = 3, 4.4/N for g = 5 and 1.5/N for g = 3/2 with an input
    variance of 1/4, measured at N = 100, 200 and 400 on 4 to 16 networks each. The uncertainty given is 5/N.

    Args:
        gain: Gain g.
        input_variance: Variance :math:`\sigma^2` of the input, drawn anew for each unit at each step.
        size: Number of units N.
        seed: Seed of weights and inputs.

    Raises:
        ValueError: If there is no input and g is at most 1, where the network is at rest (see `resting_network`), or
            below 2, where finite networks are far from the theory.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.random_network(3.0, size=64).exponents[0], 6)
        0.310249
    """
    if input_variance == 0 and gain < 2:
        raise ValueError(
            f"without input the theory describes finite networks from a gain of 2 only, got {gain}; "
            "give input_variance, or take resting_network for a gain below 1."
        )
    theory = tanh_mean_field(gain, input_variance)
    random = np.random.RandomState(seed)
    weight = torch.tensor(gain * random.randn(size, size) / math.sqrt(size), device="cpu")
    steps, trajectories = 1500, 4
    inputs = None
    if input_variance:
        inputs = torch.tensor(math.sqrt(input_variance) * random.randn(steps, trajectories, size), device="cpu")
    return ReferenceSystem(
        f"random tanh network, N = {size}, g = {gain:g}, input variance = {input_variance:g}",
        tanh_network(weight, driven=inputs is not None),
        (theory.leading_exponent,),
        (5 / size,),
        "mean-field theory: Molgedey, Schuchhardt & Schuster, Phys. Rev. Lett. 69, 3717 (1992)",
        "holds for an infinite network; the uncertainty is the allowance for this one, 5/N",
        inputs=inputs,
        steps=steps,
        transient=200,
        trajectories=trajectories,
        spread=0.1,
    )


@named_arguments()
@checked_kinds
def leaky_random_network(size: int = 512, seed: int = 0) -> ReferenceSystem:
    """Return a large leaky random network, x' = x/2 + (J tanh x)/2 with g = 3; exponents are per unit time, two steps.

    Args:
        size: Number of units N.
        seed: Seed of the weights.

    Example:
        >>> from lyapkit import systems
        >>> systems.leaky_random_network(size=64).exponents
        (0.2145,)
    """
    weight = torch.tensor(3 * np.random.RandomState(seed).randn(size, size) / math.sqrt(size), device="cpu")
    return ReferenceSystem(
        f"random tanh network, N = {size}, g = 3, rate = 1/2",
        tanh_network(weight, rate=0.5),
        (0.2145,),
        (10 / size,),
        "Clark's data of a network of N = 4096 (repository davidclark1/rnn-lyapunov)",
        "the uncertainty is the allowance for a smaller network, 10/N",
        dt=0.5,
        steps=2000,
        transient=400,
        trajectories=4,
        spread=0.1,
    )


@named_arguments()
@checked_kinds
def small_network() -> ReferenceSystem:
    """Return the chaotic network x' = J tanh x with N = 64, g = 3 and weights that anyone can draw again.

    ``J = 3 * numpy.random.RandomState(0).randn(64, 64) / 8``; the start is the next ``randn(64)``.

    Example:
        >>> from lyapkit import systems
        >>> systems.small_network().exponents
        (0.2679, 0.2416, 0.2145)
    """
    random = np.random.RandomState(0)
    weight = torch.tensor(3 * random.randn(64, 64) / 8, device="cpu")
    start = torch.tensor(random.randn(64), device="cpu")
    return ReferenceSystem(
        "random tanh network, N = 64, g = 3, seed 0",
        as_map(lambda x: weight @ torch.tanh(x), state=start),
        (0.2679, 0.2416, 0.2145),
        (1.0e-3, 0.9e-3, 0.9e-3),
        "QR over 6e4 steps with a hand-written Jacobian, in NumPy",
        "the three leading exponents of 64",
        transient=300,
        trajectories=16,
        spread=0.1,
    )


@named_arguments()
@checked_kinds
def resting_network(size: int = 8, gain: float = 0.9, rate: float = 0.5, seed: int = 0) -> ReferenceSystem:
    r"""Return a random network x' = (1 - d) x + d J tanh x at its fixed point 0, whose exponents are known exactly.

    With the eigenvalues :math:`\mu_i` of J, :math:`\lambda_i = \log|1 - d + d \mu_i| / d`, whether or not the fixed
    point is stable. Exponents are per unit time, 1/d steps.

    Args:
        size: Number of units N.
        gain: Gain g, of J_ij ~ N(0, g^2/N).
        rate: Rate d.
        seed: Seed of the weights.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 3) for value in systems.resting_network().exponents[:4]]  # two complex pairs
        [-0.376, -0.376, -0.602, -0.602]
    """
    weight = torch.tensor(gain * np.random.RandomState(seed).randn(size, size) / math.sqrt(size), device="cpu")
    multipliers = (1 - rate + rate * torch.linalg.eigvals(weight)).abs()
    exponents = (multipliers.log() / rate).sort(descending=True).values.tolist()

    def step(x: Tensor) -> Tensor:
        return (1 - rate) * x + rate * (weight @ torch.tanh(x))

    return ReferenceSystem(
        f"random tanh network at rest, N = {size}, g = {gain:g}, rate = {rate:g}",
        as_map(step, state=torch.zeros(size, dtype=torch.float64, device="cpu")),
        tuple(exponents),
        (0.0,) * size,
        "exact: eigenvalues of the Jacobian at the fixed point",
        "complex pairs of eigenvalues turn the frame, which fades like 1/T",
        dt=rate,
        steps=4000,
        transient=500,
        tolerance=2e-3,
        exponent_sum=sum(exponents),
    )
