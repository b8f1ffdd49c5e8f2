"""Error bars whose coverage is measured, and what is carried from them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import polygamma
from scipy.stats import t as student

from lyapkit import lyapunov_spectrum, systems
from lyapkit.lyapunov.dimensions import entropy_gradient, kaplan_yorke_dimension, kaplan_yorke_gradient
from lyapkit.lyapunov.uncertainty import MeanGrowth, probability_positive

SIZE, STEPS, TRIALS = 3, 400, 1500
SCALE = 0.75  # of the matrix entries: lambda_1 > 0 > lambda_1 + lambda_2, both by several errors


@pytest.fixture(scope="module")
def products():
    """Spectra of 1,500 products of 400 i.i.d. Gaussian matrices, whose exponents and variances are exact."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(STEPS, TRIALS, SIZE**2, generator=generator, dtype=torch.float64)
    return lyapunov_spectrum(systems.MatrixProduct(SIZE), SCALE * inputs, qr_interval=1)


def exact() -> np.ndarray:
    return np.array(systems.gaussian_product_exponents(SIZE, SCALE**2))


def covered(estimate: np.ndarray, error: np.ndarray, truth: float, freedom: int) -> float:
    return float((np.abs(estimate - truth) <= student.ppf(0.975, freedom) * error).mean())


@pytest.mark.parametrize("rank", range(SIZE))
def test_nominal_95_percent_intervals_cover_95_percent(products, rank: int) -> None:
    estimate, error = products.lyapunov_exponent.values[:, rank], products.standard_error.values[:, rank]
    freedom = products.attrs["error_degrees_of_freedom"]
    assert freedom == 13  # 1 and an eighth of 100 batches of 4 steps
    assert 0.93 <= covered(estimate, error, exact()[rank], freedom) <= 0.97
    # and their widths are right, not merely large: T Var(lambda_i) = trigamma((N - i + 1)/2) / 4
    variance = float(polygamma(1, (SIZE - rank) / 2)) / 4 / STEPS
    told = np.isfinite(error)
    assert told.mean() > 0.99
    assert np.median(error[told]) == pytest.approx(math.sqrt(variance), rel=0.03)
    # errors of the few runs that are nearly too short have no bound, so that their mean square says little
    assert error[told].mean() == pytest.approx(math.sqrt(variance), rel=0.05)
    assert estimate.var(ddof=1) == pytest.approx(variance, rel=0.12)


def test_intervals_of_derived_quantities_cover_too(products) -> None:
    freedom = products.attrs["error_degrees_of_freedom"]
    truth, is_bound = kaplan_yorke_dimension(torch.tensor(exact())[None], SIZE)
    assert 1 < truth.item() < SIZE
    assert not is_bound.item()
    dimension = covered(
        products.kaplan_yorke_dimension.values, products.kaplan_yorke_dimension_error.values, truth.item(), freedom
    )
    assert 0.93 <= dimension <= 0.97
    entropy = covered(
        products.entropy_rate.values, products.entropy_rate_error.values, exact().clip(min=0).sum(), freedom
    )
    assert 0.93 <= entropy <= 0.97


def test_probabilities_are_calibrated() -> None:
    """Of leading exponents that are truly positive and negative alike, those said positive with 80 to 100 % are so."""
    generator = torch.Generator().manual_seed(3)
    scale = math.exp(-systems.gaussian_product_exponents(2, 1.0)[0])  # lambda_1 = 0 exactly
    shift = 0.06 * torch.randn(
        1500, generator=generator, dtype=torch.float64
    )  # true exponents, about as wide as the errors
    inputs = scale * torch.randn(144, 1500, 4, generator=generator, dtype=torch.float64) * shift.exp()[None, :, None]
    ds = lyapunov_spectrum(systems.MatrixProduct(2), inputs, k=1, rng=0, qr_interval=1)
    said, true = ds.probability_positive.values, shift.numpy() > 0
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1.0)):
        chosen = (said >= low) & (said <= high)
        assert chosen.sum() > 80
        assert true[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.12)


def test_probability_of_what_is_certain_or_unknown() -> None:
    mean = torch.tensor([0.5, -0.5, 0.0, 0.5, -math.inf], dtype=torch.float64)
    error = torch.tensor([0.0, 0.0, 0.0, math.inf, math.nan], dtype=torch.float64)
    assert probability_positive(mean, error, 19).tolist() == [1.0, 0.0, 0.5, 0.5, 0.0]
    found = probability_positive(torch.tensor([0.2]).double(), torch.tensor([0.1]).double(), 9)
    assert found.item() == pytest.approx(student.cdf(2.0, 9), abs=1e-7)


@pytest.mark.parametrize(
    "exponents",
    [[0.4, 0.1, -0.2, -0.9], [0.4, 0.1, -0.6, -0.9], [0.4, -0.1, -0.2, -0.05], [0.3, 0.0, -0.31, -2.0]],
)
def test_gradients_of_derived_quantities_are_their_derivatives(exponents: list[float]) -> None:
    values = torch.tensor([sorted(exponents, reverse=True)], dtype=torch.float64)
    step = 1e-7
    numerical = []
    for index in range(4):
        shift = torch.zeros_like(values)
        shift[0, index] = step
        ahead, _ = kaplan_yorke_dimension(values + shift, 4)
        behind, _ = kaplan_yorke_dimension(values - shift, 4)
        numerical.append(float(ahead - behind) / (2 * step))
    np.testing.assert_allclose(kaplan_yorke_gradient(values, 4)[0], numerical, atol=1e-6)
    assert entropy_gradient(values)[0].tolist() == [float(value > 0) for value in values[0]]


@pytest.mark.parametrize(
    "exponents", [[-0.1, -0.2], [0.3, 0.1], [0.5, -math.inf]], ids=["all negative", "all positive", "annihilated"]
)
def test_dimensions_without_a_slope_have_no_error(exponents: list[float]) -> None:
    assert kaplan_yorke_gradient(torch.tensor([exponents], dtype=torch.float64), 2).tolist() == [[0.0, 0.0]]


def test_correlated_growth_widens_the_error() -> None:
    """An AR(1) growth with coefficient a has (1 + a)/(1 - a) times the naive variance."""
    generator = torch.Generator().manual_seed(0)
    a, steps, trials = 0.6, 4096, 300
    noise = torch.randn(steps, trials, generator=generator, dtype=torch.float64)
    series = torch.zeros_like(noise)
    for step in range(1, steps):
        series[step] = a * series[step - 1] + noise[step]
    error = MeanGrowth.of(series, torch.ones(steps, dtype=torch.float64)).errors().standard
    expected = 1 / (1 - a) ** 2 / steps
    assert float((error**2).mean()) == pytest.approx(expected, rel=0.08)
