"""The rate of gradients beside the leading exponent of the same Jacobians, and beside what the map predicts."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import as_map, gradient_propagation, lyapunov_spectrum, systems
from lyapkit.lyapunov.uncertainty import MeanGrowth
from references import dense_jacobians, matrix_with_spectrum, random_orthogonal
from steps import Steps


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * targets).sum()


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error_of(growth: list[Tensor]) -> float:
    """Return the error of the mean of the growth at single steps."""
    if not growth:
        return math.inf
    return float(MeanGrowth.of(torch.stack(growth), torch.ones(len(growth), dtype=torch.float64)).errors().standard)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.5, 1.0, 1.02])
def test_a_scaled_orthogonal_network_has_slope_and_exponent_log_r(rate: float, dtype: torch.dtype) -> None:
    matrix = (rate * random_orthogonal(6, 2)).to(dtype)
    map = as_map(lambda x: matrix @ x, state=torch.ones(6, dtype=dtype))
    ds = gradient_propagation(map, None, gaussian(1, 6).to(dtype), weighted, readout=nn.Identity(), steps=700, rng=0)
    precision = 1e-13 if dtype == torch.float64 else 2e-7  # of the matrix
    for found in (ds.growth_rate.sel(norm="2"), ds.leading_exponent):
        assert found.item() == pytest.approx(math.log(rate), abs=precision)
    for error in (ds.growth_rate_error.sel(norm="2"), ds.leading_exponent_error):
        assert error.item() < precision
    back = np.arange(699, -1, -1)
    log_norm = ds.log_gradient_norm.sel(norm="2", trajectory=0)
    np.testing.assert_allclose(log_norm - log_norm[-1], back * math.log(rate), atol=1e-11 if precision < 1e-9 else 2e-4)


@pytest.mark.parametrize("window", [(0, 601), (0, 301), (300, 601), (30, 331)])
def test_a_periodic_product_has_both_at_the_leading_floquet_exponent(window: tuple[int, int]) -> None:
    period = [matrix_with_spectrum([1.2, 0.5, 0.3], [], seed=seed, skew=20.0) for seed in (1, 2, 3)]
    expected = float(torch.linalg.eigvals(period[2] @ period[1] @ period[0]).abs().max().log()) / 3
    inputs = torch.stack(period * 300).reshape(900, 1, 9)
    ds = gradient_propagation(
        systems.MatrixProduct(3), inputs, torch.ones(1, 3), weighted, readout=nn.Identity(), fit=window, rng=0,
        initial_state=torch.full((3,), 1e-3, dtype=torch.float64),
    )  # fmt: skip
    # whole periods between the first and the last state; the tangent is settled by then
    assert ds.leading_exponent.item() == pytest.approx(expected, abs=1e-12)
    assert abs(ds.growth_rate.sel(norm="2").item() - expected) < 1e-4
    assert (ds.fitted_steps == window[1] - window[0]).all()


@pytest.mark.parametrize("window", [None, (0, 20), (15, None), (7, 8), (7, 9)])
def test_the_exponent_is_that_of_the_jacobians_between_the_states_of_the_window(window) -> None:
    torch.manual_seed(0)
    cell, inputs, steps, batch = nn.GRUCell(2, 4).double(), gaussian(40, 3, 2, seed=1), 40, 3
    ds = gradient_propagation(cell, inputs, torch.zeros(batch, 4), weighted, readout=nn.Identity(), fit=window, rng=5)
    start, stop = (0, steps) if window is None else (window[0], window[1] or steps)
    first, last = steps - stop + 1, steps - start  # states of the window
    tangent_of_seed = torch.linalg.qr(gaussian(1, 4, 1, seed=5)).Q[0, :, 0]  # the same for all, as if they were alone
    for index in range(batch):
        states = [torch.zeros(4).double()]
        for input in inputs[:, index]:
            states.append(cell(input[None], states[-1][None])[0].detach())
        jacobians = dense_jacobians(lambda x, s: cell(s[None], x[None])[0], torch.stack(states[:-1]), inputs[:, index])
        tangent, before = tangent_of_seed, 1.0
        growth = []
        for t, jacobian in enumerate(jacobians[:last]):
            if t == first:
                before = float(tangent.norm())
            further = jacobian.detach() @ tangent
            growth += [(further.norm() / tangent.norm()).log()] if t >= first else []
            tangent = further
        expected = math.log(float(tangent.norm()) / before) / max(1, last - first) if last > first else 0.0
        assert ds.leading_exponent[index].item() == pytest.approx(expected, abs=1e-12)
        assert ds.leading_exponent_error[index].item() == pytest.approx(error_of(growth), rel=1e-6)


@pytest.mark.slow
def test_in_random_networks_rate_and_exponent_agree_within_their_errors() -> None:
    """A driven, a chaotic network, and many trajectories: the truth is the exponent of a run ten times as long."""
    size, batch, steps = 20, 100, 200
    weight, drive = gaussian(size, size, seed=1) / size**0.5, gaussian(size, 2, seed=2)
    state, input = torch.zeros(size).double(), torch.zeros(2).double()
    for gain, strength in ((0.9, 1.0), (2.0, 1.0)):
        map = as_map(
            lambda x, s, gain=gain, strength=strength: torch.tanh(gain * x @ weight.T + strength * s @ drive.T),
            state=state,
            input=input,
        )
        ds = gradient_propagation(
            map, gaussian(steps, batch, 2, seed=3), gaussian(batch, size, seed=4), weighted, readout=nn.Identity(),
            initial_state=gaussian(batch, size, seed=5), fit=(10, None), norms=2, rng=0,
        )  # fmt: skip
        truth = lyapunov_spectrum(map, gaussian(20 * steps, 10, 2, seed=6), k=1, transient=100, rng=0)
        exact = float(truth.lyapunov_exponent.mean())
        rate, error = ds.growth_rate.values[0], ds.growth_rate_error.values[0]
        covered = (np.abs(rate - exact) < 1.96 * error).mean()
        assert 0.85 < covered <= 1.0
        assert np.median(error) == pytest.approx(rate.std(), rel=0.35)
        together = np.hypot(error, ds.leading_exponent_error.values)
        assert (np.abs(rate - ds.leading_exponent.values) < 1.96 * together).mean() > 0.9


def test_a_nilpotent_map_has_the_exponent_minus_infinity_and_a_rate_nobody_knows() -> None:
    """The gradient lives for two steps, from which a rate has no error."""
    nilpotent = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double()
    map = as_map(lambda x: nilpotent @ x, state=torch.ones(2).double())
    ds = gradient_propagation(map, None, torch.ones(1, 2), weighted, readout=nn.Identity(), steps=20)
    assert (ds.growth_rate_error == math.inf).all()
    assert ds.leading_exponent.item() == -math.inf
    assert math.isnan(ds.leading_exponent_error.item())
    assert ds.fitted_steps.values.tolist() == [[2], [2]]


def test_a_single_step_has_no_exponent() -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.ones(2).double())
    ds = gradient_propagation(map, None, torch.ones(1, 2), weighted, readout=nn.Identity(), steps=1)
    assert (ds.leading_exponent.item(), ds.leading_exponent_error.item()) == (0.0, math.inf)


def test_the_exponent_can_be_left_out_and_repeats_with_its_seed() -> None:
    weight = gaussian(5, 5)
    map = as_map(lambda x: torch.tanh(weight @ x), state=torch.ones(5).double())
    options = dict(readout=nn.Identity(), steps=30)
    without = gradient_propagation(map, None, torch.ones(1, 5), weighted, exponent=False, **options)
    assert not {"leading_exponent", "leading_exponent_error", "predicted_rate"} & set(without)
    one, two, other = (
        gradient_propagation(map, None, torch.ones(1, 5), weighted, rng=rng, **options) for rng in (3, 3, 4)
    )
    assert one.leading_exponent.item() == two.leading_exponent.item() != other.leading_exponent.item()
    assert one.drop_vars(["leading_exponent", "leading_exponent_error"]).equals(without)


class Predicting(Steps):
    predicted_gradient_rate = -0.5


def test_what_the_map_predicts_is_recorded() -> None:
    options = dict(readout=nn.Identity(), steps=9, initial_state=torch.ones(2).double())
    ds = gradient_propagation(Predicting(lambda x: 0.6 * x), None, torch.ones(1, 2), weighted, **options)
    assert ds.predicted_rate.item() == -0.5
    assert ds.predicted_rate.dims == ()
    map = Predicting(lambda x: 0.6 * x)
    map.predicted_gradient_rate = math.nan
    with pytest.raises(ValueError, match=r"predicted_gradient_rate is NaN\. Return None"):
        gradient_propagation(map, None, torch.ones(1, 2), weighted, **options)


REFUSALS = {
    "a number": (dict(fit=3), TypeError, r"fit must be a pair \(start, stop\) of steps back in time, got 3"),
    "three": (dict(fit=(1, 2, 3)), TypeError, r"fit must be a pair .* got \(1, 2, 3\)"),
    "a fraction": (dict(fit=(0.5, 2)), TypeError, "the start of fit must be an integer, got 0.5"),
    "a text": (dict(fit=(0, "end")), TypeError, "the stop of fit must be an integer or None, got 'end'"),
    "too long": (dict(fit=(0, 10)), ValueError, r"0 <= start < stop <= 9, the number of steps; got \(0, 10\)"),
    "negative": (dict(fit=(-1, 5)), ValueError, r"got \(-1, 5\)"),
    "empty": (dict(fit=(4, 4)), ValueError, r"got \(4, 4\)"),
    "beyond the start": (dict(fit=(9, None)), ValueError, r"got \(9, 9\)"),
    "recording nothing": (dict(record_every=2), TypeError, "record_every thins out the derivatives of per_unit=True"),
    "record_every": (dict(per_unit=True, record_every=0), ValueError, "record_every must be at least 1, got 0"),
    "no parameters": (dict(parameter_gradients=True), ValueError, "no parameters that require gradients"),
    "rng": (dict(rng="seed"), TypeError, "rng must be a torch.Generator"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    options, error, message = REFUSALS[name]
    map = as_map(lambda x: 0.5 * x, state=torch.ones(2).double())
    with pytest.raises(error, match=message):
        gradient_propagation(map, None, torch.ones(1, 2), weighted, readout=nn.Identity(), steps=9, **options)
