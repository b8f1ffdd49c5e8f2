"""Error bars and derived quantities, against numbers worked out by hand or known in closed form."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from scipy.stats import t as student
from torch import Tensor

from lyapkit.lyapunov.dimensions import entropy_rate, kaplan_yorke_dimension, memory_timescale
from lyapkit.lyapunov.long_run import ECHOES, PERSISTENCES, LongRun, _prior
from lyapkit.lyapunov.stopping import FALSE_ALARM, compare_halves
from lyapkit.lyapunov.uncertainty import Batches, MeanGrowth

INF = math.inf
SHAPES = (
    [phi for phi in PERSISTENCES for _ in ECHOES],
    [theta for _ in PERSISTENCES for theta in ECHOES],
    _prior().tolist(),
)


def autoregressive(phi: float, steps: int, trials: int, seed: int = 0) -> Tensor:
    """Stationary x_t = phi x_{t-1} + noise of unit variance, shape (steps, trials)."""
    noise = torch.randn(steps, trials, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    series = [noise[0] / math.sqrt(1 - phi**2)]
    for row in noise[1:]:
        series.append(phi * series[-1] + row)
    return torch.stack(series)


def errors(growth: Tensor, window: Tensor | None = None) -> Tensor:
    window = torch.ones(len(growth)).double() if window is None else window
    return MeanGrowth.of(growth, window).errors().standard


def modes(count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Orthonormal modes of mean 0 of the second difference, their curvatures, and how many are slow."""
    plane = scipy.linalg.null_space(np.ones((1, count)))
    difference = 2 * np.eye(count) - np.eye(count, k=1) - np.eye(count, k=-1)
    curvature, vectors = np.linalg.eigh(plane.T @ difference @ plane)
    return plane @ vectors, curvature, min(count - 1, max(12, round(count / 3)))


def reference(growth: np.ndarray, halves: bool = False) -> list[tuple[float, float, float]]:
    """Weight, variance of the sum, and degrees of freedom under each shape, by dense covariances of float64.

    With halves, the sum is the difference of the means of the second and the first half, which have modes of their own.
    """
    count = len(growth)
    bounds = [0, count // 2, count] if halves else [0, count]
    contrast, slow, fast, reach = np.zeros(count), [], [], []
    for sign, begin, end in zip((-1, 1), bounds[:-1], bounds[1:], strict=False):
        size = end - begin
        factor = sign / size if halves else 1.0
        contrast[begin:end] = factor
        vectors, curvature, few = modes(size)
        for index in range(size - 1):
            (slow if index < few else fast).append(np.pad(vectors[:, index], (begin, count - end)))
            if index >= few:  # a wave of amplitude a: squares of coefficient a^2 M/2, of sum a^2 / curvature
                reach.append(factor**2 * 2 / size / curvature[index])
    ends = sum(share * (growth @ mode) ** 2 for share, mode in zip(reach, fast, strict=True))
    found = []
    for phi, theta, prior in zip(*SHAPES, strict=True):
        impulse = [1.0, *((phi + theta) * phi**lag for lag in range(4000))]  # of the moving average of infinite order
        covariance = scipy.linalg.toeplitz([np.dot(impulse[: 4001 - lag], impulse[lag:]) for lag in range(count)])
        spectrum = [mode @ covariance @ mode for mode in slow]
        rest = sum((growth @ mode) ** 2 / variance for mode, variance in zip(slow, spectrum, strict=True))
        logarithm = np.log(spectrum).sum() + len(slow) * math.log(rest)
        wander = contrast @ covariance @ contrast
        wander -= sum(share * (mode @ covariance @ mode) for share, mode in zip(reach, fast, strict=True))
        variance = max(wander, 0) * rest / len(slow) + ends
        found.append((math.log(prior) - logarithm / 2, variance, len(slow)))
    largest = max(weight for weight, _, _ in found)
    return [(math.exp(weight - largest), variance, freedom) for weight, variance, freedom in found]


def half_width(shapes: list[tuple[float, float, float]], tail: float) -> float:
    weights, variances, freedoms = (np.array(column) for column in zip(*shapes, strict=True))

    def beyond(x: float) -> float:
        return float((weights * student.sf(x / np.sqrt(variances), freedoms)).sum() / weights.sum()) - tail

    return float(scipy.optimize.brentq(beyond, 1e-9, 1e9))


@pytest.mark.parametrize(("count", "phi"), [(12, 0.0), (40, 0.7), (40, -0.5)])
def test_the_error_is_that_of_dense_covariances(count: int, phi: float) -> None:
    """Likelihood, posterior mixture and its 95 % interval, each written out in NumPy."""
    growth = autoregressive(phi, count, 3)
    means = MeanGrowth.of(growth, torch.ones(count).double())
    quantile = student.isf(0.025, means.degrees_of_freedom)
    for column in range(3):
        expected = half_width(reference(growth[:, column].numpy()), 0.025) / count / quantile
        found = means.errors()
        assert means.degrees_of_freedom == {12: 2, 40: 6}[count]
        expected /= max(0.0, 1 - (2 * float(found.hidden[column])) ** 1.5) or math.nan
        if found.hidden[column] < 0.5:
            assert float(found.standard[column]) == pytest.approx(expected, rel=2e-3)
        else:
            assert float(found.standard[column]) == INF


def test_the_limit_of_half_differences_is_that_of_dense_covariances() -> None:
    growth = autoregressive(0.3, 24, 1)
    width = half_width(reference(growth[:, 0].numpy(), halves=True), FALSE_ALARM / 2)
    difference, _ = compare_halves(growth.unsqueeze(-1), torch.ones(24).double())
    for scale, agrees in ((0.99, True), (1.01, False)):  # the width depends on the rest, not on the step
        step = (scale * width - float(difference)) * (torch.arange(24) >= 12).double()
        shifted, verdict = compare_halves((growth[:, 0] + step).reshape(24, 1, 1), torch.ones(24).double())
        assert float(shifted) == pytest.approx(scale * width, rel=1e-9)
        assert verdict.tolist() == [agrees]


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.95])
def test_the_probability_of_being_too_short_rests_on_all_modes(phi: float) -> None:
    """The posterior of all 29 modes of 30 numbers, of shapes of which 20 parts show less than 60 % of the variance."""
    series = autoregressive(phi, 30, 1)
    vectors, _, _ = modes(30)
    total = hidden = 0.0
    for persistence, echo, prior in zip(*SHAPES, strict=True):
        impulse = [1.0, *((persistence + echo) * persistence**lag for lag in range(4000))]
        lags = [np.dot(impulse[: 4001 - lag], impulse[lag:]) for lag in range(31)]
        covariance = scipy.linalg.toeplitz(lags[:30])
        spectrum = np.array([mode @ covariance @ mode for mode in vectors.T])
        rest = ((vectors.T @ series[:, 0].numpy()) ** 2 / spectrum).sum()
        weight = prior * np.exp(-0.5 * np.log(spectrum).sum() - 14.5 * np.log(rest / 100))
        one, two = covariance[0, 0], covariance[:2, :2].sum()
        visible = 20 * (one + two) / 2 / covariance.sum()  # a part has 1.5 numbers
        total, hidden = total + weight, hidden + weight * (visible < 0.6)
    assert float(LongRun.of(series).hidden) == pytest.approx(hidden / total, rel=1e-6)


@pytest.mark.parametrize(("count", "halves"), [(5, False), (17, False), (128, False), (9, True), (128, True)])
def test_many_series_at_once_are_treated_as_one_by_one(count: int, halves: bool) -> None:
    series = autoregressive(0.5, count, 4200)
    together, few = LongRun.of(series, halves), LongRun.of(series[:, :3], halves)
    torch.testing.assert_close(together.variance[:, :3], few.variance, rtol=1e-9, atol=0)
    torch.testing.assert_close(together.weight[:, :3], few.weight, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(together.half_width(0.01)[:3], few.half_width(0.01), rtol=1e-6, atol=0)
    for tail in (0.2, 0.025, 1e-4):
        chance = together.beyond(together.half_width(tail).log())
        torch.testing.assert_close(chance, torch.full_like(chance, tail), rtol=0.01, atol=0)
    torch.testing.assert_close(errors(series)[-3:], errors(series[:, -3:]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("phi", "steps"), [(0.0, 400), (0.5, 2500), (0.8, 10000), (-0.5, 2500)])
def test_errors_respect_autocorrelation(phi: float, steps: int) -> None:
    """sigma / ((1 - phi) sqrt(T)) in the limit; the textbook error is sqrt((1 + phi) / (1 - phi)) off."""
    growth = autoregressive(phi, steps, 400)
    estimated = errors(growth)
    exact = 1 / (1 - phi) / math.sqrt(steps)
    assert float(estimated.median()) == pytest.approx(exact, rel=0.15)
    assert float(growth.mean(dim=0).std()) == pytest.approx(exact, rel=0.15)  # what it is an estimate of
    if phi:
        textbook = float((growth.std(dim=0) / math.sqrt(steps)).mean())
        assert abs(textbook / exact - 1) > 0.4


@pytest.mark.parametrize("steps", [64, 500, 5000])
def test_sums_that_do_not_wander_have_errors_that_fall_as_one_over_t(steps: int) -> None:
    """Differences of independent numbers: the sum is the last minus the first, of variance 2."""
    level = torch.randn(steps + 1, 300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    estimated = errors(level.diff(dim=0))
    assert float(estimated.mean()) == pytest.approx(math.sqrt(2) / steps, rel=0.25)


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_constant_growth_has_no_error(value: float) -> None:
    found = MeanGrowth.of(torch.full((9, 2, 3), value, dtype=torch.float64), torch.ones(9).double()).errors()
    assert found.standard.tolist() == [[0.0] * 3] * 2
    assert found.hidden.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_with_fewer_than_four_windows_nothing_is_known(windows: int) -> None:
    found = MeanGrowth.of(torch.randn(windows, 2).double(), torch.ones(windows).double()).errors()
    assert (found.standard.tolist(), found.hidden.tolist()) == ([INF, INF], [1.0, 1.0])


@pytest.mark.parametrize("windows", [2, 12])
def test_annihilated_directions_have_no_error(windows: int) -> None:
    """Nor do they spoil those of others, or of functions that do not depend on them."""
    growth = torch.randn(windows, 3, generator=torch.Generator().manual_seed(1)).double()
    growth[:, 0] = -INF
    growth[0, 1] = -INF
    means = MeanGrowth.of(growth, torch.ones(windows).double())
    found = means.errors(torch.tensor([0.0, 0.0, 2.0]).double())
    assert torch.isnan(found.standard).tolist() == [True, True, False, False]
    assert found.hidden[:2].tolist() == [1.0, 1.0]
    alone = errors(growth[:, 2:])
    torch.testing.assert_close(found.standard[2:], torch.cat((alone, 2 * alone)), rtol=1e-9, atol=0)


def test_batches_have_about_as_many_steps_each() -> None:
    growth = torch.arange(1000).double().unsqueeze(-1)
    batches = Batches.of(growth, torch.ones(1000).double())
    assert sorted(set(batches.steps.tolist())) == [8.0]
    assert len(batches.steps) == 1000 // 8
    assert sorted(set(Batches.of(growth[:990], torch.ones(990).double()).steps.tolist())) == [8.0, 9.0]
    assert float(batches.growth.sum()) == 1000 * 999 / 2
    assert float(batches.growth[0]) == sum(range(int(batches.steps[0])))
    few = Batches.of(growth[:128], torch.ones(128).double())
    assert torch.equal(few.growth, growth[:128])


def test_windows_of_unequal_length_are_joined_by_their_steps() -> None:
    """Windows of 1, ..., 8, 8, ... steps: 40 batches of 8, with the short ones joined."""
    window = torch.tensor([1.0, 1.0, 2.0, 4.0, *[8.0] * 39]).double()
    batches = Batches.of(window.unsqueeze(-1), window)
    assert batches.steps.tolist() == [8.0] * 40
    assert batches.growth[:, 0].tolist() == [8.0] * 40
    # a constant rate has no error, however the steps are cut into windows
    assert float(errors(-0.25 * window.unsqueeze(-1), window)) == 0
    # and independent steps have the same error, however they are cut
    noise = autoregressive(0.0, 320, 200)
    cut = torch.repeat_interleave(torch.arange(len(window)), window.long())
    joined = torch.zeros(len(window), 200, dtype=torch.float64).index_add(0, cut, noise)
    assert float(errors(joined, window).median()) == pytest.approx(1 / math.sqrt(320), rel=0.15)


DIMENSIONS = {  # exponents, N, dimension, is it a lower bound
    "all negative": ([-0.1, -0.5], 2, 0.0, False),
    "all negative, k < N": ([-0.1, -0.5], 7, 0.0, False),
    "all positive": ([0.5, 0.1], 2, 2.0, False),
    "all positive, k < N": ([0.5, 0.1], 7, 2.0, True),
    "zero alone": ([0.0], 1, 1.0, False),
    "zero first": ([0.0, -2.0], 2, 1.0, False),
    "Henon": ([0.41922, -1.62319], 2, 1 + 0.41922 / 1.62319, False),
    "Lorenz": ([0.9056, 0.0, -14.5723], 3, 2 + 0.9056 / 14.5723, False),
    "sum exactly zero": ([0.5, -0.5, -1.0], 3, 2.0, False),
    "volume preserving": ([0.5, -0.5], 2, 2.0, False),
    "sum exactly zero, k < N": ([0.5, -0.5], 5, 2.0, True),
    "several non-negative sums": ([1.0, 0.25, -0.5, -1.5, -2.0], 5, 3.5, False),
    "closed with k < N": ([1.0, 0.25, -0.5, -1.5], 9, 3.5, False),
    "next is annihilated": ([0.7, -INF], 2, 1.0, False),
    "next is annihilated, k < N": ([0.7, 0.2, -INF], 8, 2.0, False),
    "all annihilated": ([-INF, -INF], 2, 0.0, False),
    "annihilated after negative": ([-0.7, -INF], 2, 0.0, False),
}


@pytest.mark.parametrize("name", DIMENSIONS)
def test_kaplan_yorke_dimension(name: str) -> None:
    exponents, size, dimension, bound = DIMENSIONS[name]
    found, is_bound = kaplan_yorke_dimension(torch.tensor([exponents], dtype=torch.float64), size)
    assert found.tolist() == pytest.approx([dimension], abs=1e-14)
    assert is_bound.tolist() == [bound]


def test_dimensions_of_a_batch_do_not_mix() -> None:
    table = torch.tensor([[0.5, -1.0], [-0.5, -1.0], [0.5, 0.1]]).double()
    dimension, bound = kaplan_yorke_dimension(table, 3)
    assert dimension.tolist() == [1.5, 0.0, 2.0]
    assert bound.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("exponents", "rate"),
    [([0.5, 0.25, -3.0], 0.75), ([-1.0, -2.0], 0.0), ([0.5, 0.25], 0.75), ([0.0, -INF], 0.0), ([1.5, -INF], 1.5)],
)
def test_entropy_rate_is_the_sum_of_positive_exponents(exponents: list[float], rate: float) -> None:
    assert entropy_rate(torch.tensor([exponents, [-1.0] * len(exponents)]).double()).tolist() == [rate, 0.0]


@pytest.mark.parametrize(
    ("exponent", "timescale"), [(-0.5, 2.0), (-4.0, 0.25), (0.0, INF), (-0.0, INF), (0.3, INF), (-INF, 0.0)]
)
def test_memory_timescale(exponent: float, timescale: float) -> None:
    assert memory_timescale(torch.tensor([exponent]).double()).tolist() == [timescale]
