"""The exponential rate of a gradient: numbers worked out by hand, coverage of its error, and robustness."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyapkit.gradients.line_error import line_error
from lyapkit.gradients.rate import TUNING, growth_rate

INF = math.inf
SLOPE = -0.3


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def autoregressive(phi: float, shocks: torch.Tensor) -> torch.Tensor:
    """u_t = phi u_{t-1} + shock along the last dimension, stationary from the start."""
    series = [shocks[:, 0] / math.sqrt(1 - phi**2)]
    for shock in shocks[:, 1:].unbind(-1):
        series.append(phi * series[-1] + shock)
    return torch.stack(series, dim=-1)


def residuals(kind: str, trials: int, steps: int) -> torch.Tensor:
    shocks = gaussian(trials, steps, seed=7)
    if kind == "random walk":
        return shocks.cumsum(-1)
    if kind == "random walk of correlated steps":
        return autoregressive(0.8, shocks).cumsum(-1)
    if kind == "random walk of alternating steps":
        return autoregressive(-0.8, shocks).cumsum(-1)
    if kind == "random walk under noise":
        return 0.1 * shocks.cumsum(-1) + 0.5 * gaussian(trials, steps, seed=8)
    if kind == "oscillation":
        return torch.cos(0.3 * torch.arange(steps).double() + 6.28 * torch.arange(trials)[:, None] / trials)
    return autoregressive(float(kind), shocks)


def rows(residual: torch.Tensor, slope: float = SLOPE) -> torch.Tensor:
    """Log norms over time, of which the residuals run back in time."""
    return (residual + slope * torch.arange(residual.shape[-1])).flip(-1)


@pytest.mark.parametrize("slope", [-0.7, 0.0, 0.3])
def test_an_exact_line_gives_its_slope_back_in_time(slope: float) -> None:
    back = torch.arange(49, -1, -1).double()  # T - t
    line = growth_rate((-3 + slope * back).expand(2, 4, 50))
    for found, expected in ((line.rate, slope), (line.offset, -3.0), (line.error, 0.0)):
        torch.testing.assert_close(found, torch.full((2, 4), expected, dtype=torch.float64), rtol=0, atol=1e-14)
    assert (line.steps == 50).all()


def test_steps_without_gradient_are_skipped_but_keep_their_place() -> None:
    line = 2 - 0.25 * torch.arange(20, -1, -1).double()
    line[[0, 1, 2, 7, 20]] = -INF
    found = growth_rate(line)
    assert float(found.rate) == pytest.approx(-0.25, abs=1e-14)
    assert float(found.offset) == pytest.approx(2.0, abs=1e-14)
    assert float(found.error) < 1e-14
    assert int(found.steps) == 16


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_with_fewer_than_three_steps_nothing_is_fitted(kept: int) -> None:
    row = torch.full((10,), -INF).double()
    row[5 : 5 + kept] = torch.arange(kept).double()
    found = growth_rate(torch.stack((row, torch.arange(10).double())))
    # a gradient that dies at once has slope -inf; two steps have a slope but no error
    assert found.rate.tolist() == pytest.approx([-1.0 if kept == 2 else -INF, -1.0])
    assert found.error[0] == INF if kept == 2 else found.error[0].isnan()
    assert found.error.tolist()[1] < 1e-14
    assert found.offset.tolist() == pytest.approx([(-INF, 0.0, 4.0)[kept], 9.0])
    assert found.steps.tolist() == [kept, 10]


def test_one_step_has_no_slope() -> None:
    found = growth_rate(torch.zeros(1, dtype=torch.float64))
    assert (float(found.rate), float(found.error)) == (0.0, INF)


def test_four_points_by_hand() -> None:
    """Residuals 1, -1, -1, 1 of a line, none of them beyond 1.345 * 1 / 0.6745.

    So few count as a random walk with steps -2, 0, 2 of variance 8 / 2 = 4, one of the three having gone into the
    slope. With leverages (-3, -1, 1, 3) / 10, each step moves the slope by the sum of the leverages behind
    it, 0.3, 0.4 and 0.3. Newey & West's variance is smaller: scores (-3, 1, -1, 3) / 10, (0.2 - 0.07) * 4 / 2.
    """
    found = growth_rate(torch.tensor([1 + 3 * 0.5, -1 + 2 * 0.5, -1 + 0.5, 1.0], dtype=torch.float64))
    assert float(found.rate) == pytest.approx(0.5, abs=1e-14)
    assert float(found.offset) == pytest.approx(0.0, abs=1e-14)
    assert float(found.error) == pytest.approx(math.sqrt(4 * (0.09 + 0.16 + 0.09)), abs=1e-14)


@pytest.mark.parametrize("steps", [150, 400])
@pytest.mark.parametrize(
    "kind",
    [
        "0.0", "0.5", "-0.5", "0.9", "0.97", "random walk", "random walk of correlated steps",
        "random walk of alternating steps", "random walk under noise",
    ],
)  # fmt: skip
def test_the_error_covers_the_truth(kind: str, steps: int) -> None:
    """In 95 % of cases if the residuals were known; the sampling error of this check is 1.3 %."""
    found = growth_rate(rows(residuals(kind, 300, steps)))
    missed = (found.rate - SLOPE).abs()
    covered = float((missed < 1.96 * found.error).double().mean())
    assert 0.88 < covered < 1.0
    assert abs(float((found.rate - SLOPE).mean())) < 4 * float(found.rate.std()) / math.sqrt(300)
    if kind not in ("0.9", "0.97", "random walk under noise"):  # hard to tell from walks: errors on the safe side
        assert float(found.error.median()) == pytest.approx(float(found.rate.std()), rel=0.3)


def test_oscillating_residuals_are_covered() -> None:
    found = growth_rate(rows(residuals("oscillation", 100, 400)))
    assert ((found.rate - SLOPE).abs() < 2 * found.error).all()
    assert float(found.error.max()) < 1e-3  # the oscillation has the amplitude 1 over 400 steps


def test_a_huber_estimate_balances_the_clipped_residuals() -> None:
    """What defines the estimate: the residuals, clipped at 1.345 times their scale, are orthogonal to 1 and to time."""
    series = autoregressive(0.5, gaussian(5, 200)) ** 3  # heavy tails
    found = growth_rate(rows(series))
    back = torch.arange(200).double()
    residual = series + SLOPE * back - found.rate[:, None] * back - found.offset[:, None]
    limit = TUNING * residual.abs().median(dim=-1, keepdim=True).values / 0.6745
    assert float((residual.abs() > limit).double().mean()) > 0.1
    clipped = residual.clamp(-limit, limit) / limit
    assert float(clipped.mean(-1).abs().max()) < 1e-5
    assert float((clipped * (back - back.mean())).mean(-1).abs().max()) < 1e-3


@pytest.mark.parametrize("tau", [5.0, 20.0])
def test_a_transient_at_the_end_tilts_the_line_less_than_least_squares(tau: float) -> None:
    series = 0.05 * gaussian(20, 784) + 2 * torch.exp(-torch.arange(784) / tau)
    back = torch.arange(784).double() - 391.5
    least_squares = (series * back).sum(-1) / back.square().sum() + SLOPE
    bias = float((growth_rate(rows(series)).rate - SLOPE).mean())
    assert abs(bias) < 0.3 * abs(float((least_squares - SLOPE).mean()))
    apart = growth_rate(rows(series), window=(int(8 * tau), 784))  # what the window is for
    assert float((apart.rate - SLOPE).mean().abs()) < 1e-5


def test_the_window_is_in_steps_back() -> None:
    back = torch.arange(29, -1, -1).double()
    kinked = torch.where(back < 10, 1.0 - back, -9 + 0.5 * (back - 10))
    for window, rate, offset in (((0, 10), -1.0, 1.0), ((10, 30), 0.5, -14.0), ((12, 15), 0.5, -14.0)):
        found = growth_rate(kinked, window)
        assert float(found.rate) == pytest.approx(rate, abs=1e-13)
        assert float(found.offset) == pytest.approx(offset, abs=1e-12)
        assert int(found.steps) == window[1] - window[0]
    assert float(growth_rate(kinked, (3, 4)).error) == INF


@given(
    shift=st.floats(-100, 100), slope=st.floats(-2, 2), scale=st.floats(0.01, 100), steps=st.integers(3, 60),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_equivariance(shift: float, slope: float, scale: float, steps: int, seed: int) -> None:
    series = gaussian(2, steps, seed=seed).cumsum(-1)
    plain = growth_rate(rows(series, 0.0))
    moved = growth_rate(rows(scale * series + shift, slope))
    tolerance = 1e-9 * (1 + abs(shift) + scale + abs(slope) * steps)
    torch.testing.assert_close(moved.rate, scale * plain.rate + slope, rtol=1e-6, atol=tolerance)
    torch.testing.assert_close(moved.error, scale * plain.error, rtol=1e-4, atol=tolerance)
    torch.testing.assert_close(moved.offset, scale * plain.offset + shift, rtol=1e-6, atol=60 * tolerance)


def test_rows_do_not_see_each_other() -> None:
    table = rows(residuals("0.5", 6, 90))
    table[2, :5] = -INF
    table[4] = -INF
    together = growth_rate(table.reshape(2, 3, 90))
    for index, row in enumerate(table):
        alone = growth_rate(row)
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole.flatten()[index], part, rtol=1e-10, atol=0, equal_nan=True)


def test_residuals_that_vanish_have_no_error() -> None:
    assert line_error(torch.arange(40).double(), torch.zeros(2, 40).double()).tolist() == [0.0, 0.0]
