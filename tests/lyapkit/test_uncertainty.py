"""Error bars and derived quantities, against numbers worked out by hand or known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from lyapkit.lyapunov.dimensions import entropy_rate, kaplan_yorke_dimension, memory_timescale
from lyapkit.lyapunov.uncertainty import batch_means_error

INF = math.inf


def autoregressive(phi: float, steps: int, trials: int, seed: int = 0) -> Tensor:
    """Stationary x_t = phi x_{t-1} + noise of unit variance, shape (steps, trials)."""
    noise = torch.randn(steps, trials, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    series = [noise[0] / math.sqrt(1 - phi**2)]
    for row in noise[1:]:
        series.append(phi * series[-1] + row)
    return torch.stack(series)


@pytest.mark.parametrize(("phi", "steps"), [(0.0, 400), (0.5, 2500), (0.8, 10000), (-0.5, 2500)])
def test_batch_means_respect_autocorrelation(phi: float, steps: int) -> None:
    """sigma / ((1 - phi) sqrt(T)) in the limit; the textbook error is sqrt((1 + phi) / (1 - phi)) off."""
    growth = autoregressive(phi, steps, 400)
    estimated = batch_means_error(growth, torch.ones(steps).double())
    exact = 1 / (1 - phi) / math.sqrt(steps)
    assert float(estimated.mean()) == pytest.approx(exact, rel=0.15)
    assert float(growth.mean(dim=0).std()) == pytest.approx(exact, rel=0.15)  # what it is an estimate of
    if phi:
        textbook = float((growth.std(dim=0) / math.sqrt(steps)).mean())
        assert abs(textbook / exact - 1) > 0.4


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_constant_growth_has_no_error(value: float) -> None:
    assert (
        batch_means_error(torch.full((9, 2, 3), value, dtype=torch.float64), torch.ones(9).double()).tolist()
        == [[0.0] * 3] * 2
    )


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_with_fewer_than_four_windows_nothing_is_known(windows: int) -> None:
    assert batch_means_error(torch.randn(windows, 2).double(), torch.ones(windows).double()).tolist() == [INF, INF]


def test_annihilated_directions_have_no_error() -> None:
    growth = torch.tensor([[-INF, -INF, 1.0], [-INF, 0.0, 2.0], [-INF, 1.0, 1.0], [-INF, 2.0, 2.0]]).double()
    assert batch_means_error(growth, torch.ones(4).double()).tolist() == [0.0, 0.0, 0.0]


def test_batches_are_weighted_by_their_steps() -> None:
    """Two batches of 2 and 3 steps grow by 3 and 9: mean 12/5, residuals -1.8 and 1.8, variance 2 * 6.48 / 25."""
    growth, window = torch.tensor([[1.0], [2.0], [3.0], [6.0]]).double(), torch.tensor([1.0, 1.0, 2.0, 1.0]).double()
    assert batch_means_error(growth, window).item() == pytest.approx(0.72, abs=1e-15)
    # a constant rate has no error, however the steps are cut into windows
    assert batch_means_error(-0.25 * window.unsqueeze(-1), window).item() == 0
    # and one long window with the same rate weighs more than a short one
    equal = batch_means_error(growth, torch.ones(4).double()).item()
    assert equal == pytest.approx(0.5 * math.sqrt(2 * 2 * 9) / 2, abs=1e-15)


def test_equal_windows_give_the_standard_deviation_of_batch_means() -> None:
    growth = torch.randn(36, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    means = growth.reshape(6, 6).mean(dim=1)
    assert batch_means_error(growth.unsqueeze(-1), torch.ones(36).double()).item() == pytest.approx(
        float(means.std(correction=1)) / math.sqrt(6), rel=1e-13
    )


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
