"""Mean-field theory of random tanh networks, against tabulated values, adaptive quadrature, and finite networks."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from lyapkit import lyapunov_spectrum
from lyapkit.systems import gaussian_product_exponents, random_network, tanh_mean_field, tanh_network

TABULATED = {  # (g, input variance): leading exponent, mean
    (1.2, 0): (0.016476, -0.543100),
    (1.5, 0): (0.065217, -0.714346),
    (2, 0): (0.154724, -1.149023),
    (3, 0): (0.310249, -2.272805),
    (5, 0): (0.532428, -4.906771),
    (10, 0): (0.856435, -12.160966),
    (1.5, 0.25): (-0.016728, None),
    (2, 1): (0.045975, None),
    (3, 0.25): (0.298940, None),
    (3, 1): (0.268516, None),
}


def average(function, variance: float) -> float:
    """<f(x)> by adaptive quadrature in x, an independent rule."""
    deviation = math.sqrt(variance)
    breaks = [0.0, 1.0, 3.0] if deviation > 1 else [0.0]
    weight = lambda x: math.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)  # noqa: E731
    edge = 10 * deviation
    points = [-edge, *(-value for value in reversed(breaks[1:])), *breaks, edge]
    return sum(
        quad(lambda x: weight(x) * function(x), low, high, epsabs=1e-13, limit=200)[0]
        for low, high in itertools.pairwise(points)
    )


@pytest.mark.parametrize(("gain", "variance"), TABULATED)
def test_tabulated_values(gain: float, variance: float) -> None:
    leading, mean = TABULATED[gain, variance]
    theory = tanh_mean_field(gain, variance)
    assert theory.leading_exponent == pytest.approx(leading, abs=1e-6)
    if mean is not None:
        assert theory.mean_exponent == pytest.approx(mean, abs=1e-6)


@given(gain=st.floats(0.2, 20), variance=st.sampled_from([0.0, 1e-3, 0.3, 2.0, 30.0]))
def test_solution_against_adaptive_quadrature(gain: float, variance: float) -> None:
    if variance == 0 and gain < 1.01:
        gain += 1
    theory = tanh_mean_field(gain, variance)
    q = theory.variance
    assert gain**2 * average(lambda x: math.tanh(x) ** 2, q) + variance == pytest.approx(q, rel=1e-9)
    leading = 0.5 * math.log(gain**2 * average(lambda x: (1 - math.tanh(x) ** 2) ** 2, q))
    assert theory.leading_exponent == pytest.approx(leading, abs=1e-8)
    slope = average(lambda x: -2 * (abs(x) + math.log1p(math.exp(-2 * abs(x))) - math.log(2)), q)
    assert theory.mean_exponent == pytest.approx(math.log(gain) - 0.5 + slope, abs=1e-8)


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_a_weak_network_dies_out(gain: float) -> None:
    theory = tanh_mean_field(gain)
    assert theory.variance == 0
    assert theory.leading_exponent == pytest.approx(math.log(gain), abs=1e-15)
    assert theory.mean_exponent == pytest.approx(math.log(gain) - 0.5, abs=1e-15)


def test_onset_of_chaos() -> None:
    """Close to g = 1, q = (1 - 1/g^2)/2 to leading order (<tanh^2> = q - 2 q^2); the exponent is small but positive."""
    theory = tanh_mean_field(1.001)
    assert theory.variance == pytest.approx((1 - 1 / 1.001**2) / 2, rel=5e-3)
    assert 0 < theory.leading_exponent < 1e-6


def test_strong_gain_needs_no_special_care() -> None:
    """For large g, tanh is a sign: q tends to g^2 + sigma^2, and <sech^4> to (4/3) / sqrt(2 pi q)."""
    theory = tanh_mean_field(1000.0, 1e6)
    assert theory.variance == pytest.approx(2e6, rel=1e-3)
    expected = 0.5 * math.log(1e6 * (4 / 3) / math.sqrt(2 * math.pi * theory.variance))
    assert theory.leading_exponent == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gain", [0.0, -1.0, math.inf, math.nan, 2000.0])
def test_gains_out_of_range_are_refused(gain: float) -> None:
    with pytest.raises(ValueError, match=r"gain must be (finite|positive and at most 1,000), got"):
        tanh_mean_field(gain)


@pytest.mark.parametrize("variance", [-0.1, math.inf, math.nan])
def test_variances_out_of_range_are_refused(variance: float) -> None:
    with pytest.raises(ValueError, match=r"input_variance must be (finite|between 0 and 1,000,000), got"):
        tanh_mean_field(2.0, variance)


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "variance"), [(3.0, 0.0), (3.0, 1.0), (5.0, 0.0)])
def test_finite_networks_tend_to_the_theory(gain: float, variance: float) -> None:
    """2 lambda(2N) - lambda(N), which takes the 1/N correction away, within the scatter between networks."""
    networks, theory = 8, tanh_mean_field(gain, variance).leading_exponent
    leading = {}
    for size in (100, 200):
        values = []
        for seed in range(networks):
            system = random_network(gain, variance, size=size, seed=seed)
            ds = lyapunov_spectrum(system.map, **system.run(seed), check=False)
            values.append(float(ds.lyapunov_exponent.mean()))
        leading[size] = np.array(values)
    shortfall = theory - leading[100].mean()
    assert 1 / 100 < shortfall < 6 / 100  # the allowance of a reference network is 5/N
    estimates = 2 * leading[200] - leading[100]
    error = estimates.std(ddof=1) / math.sqrt(networks)
    assert error < 0.007
    assert estimates.mean() == pytest.approx(theory, abs=4 * error)


@pytest.mark.slow
def test_mean_exponent_of_finite_networks() -> None:
    """At N = 100, with log |det J| / N replaced by its exact mean for Gaussian matrices of that size."""
    size, gain, seeds = 100, 3.0, 6
    exact = np.mean(gaussian_product_exponents(size, gain**2 / size))  # tends to log g - 1/2
    correction = exact - (math.log(gain) - 0.5)
    assert abs(correction) < 0.02
    found = []
    for seed in range(seeds):
        weight = gain * np.random.RandomState(seed).randn(size, size) / math.sqrt(size)
        ds = lyapunov_spectrum(tanh_network(torch.tensor(weight)), steps=600, transient=100, rng=seed)
        found.append(float(ds.lyapunov_exponent.mean()))
    error = np.std(found, ddof=1) / math.sqrt(seeds)
    assert error < 0.03
    expected = tanh_mean_field(gain).mean_exponent + correction
    assert np.mean(found) == pytest.approx(expected, abs=4 * error)
