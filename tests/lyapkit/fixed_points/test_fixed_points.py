"""`fixed_points` against closed forms: small maps, Hopfield-like networks, cells, kinks, continua, maps without any."""

import itertools
import json
import math
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from flip_flop import pulses, trained
from torch import nn

import lyapkit
from lyapkit import as_map, fixed_points, states, systems
from references import matrix_with_spectrum, random_orthogonal
from resting import autonomous, columns, fixed_cell, magnitudes


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_linear_map_has_one_point_whatever_the_units(dtype: torch.dtype, scale: float) -> None:
    matrix = matrix_with_spectrum([1.5, 0.5], [(0.8, 0.3)], seed=1).to(dtype)
    size = len(matrix)
    shift = scale * torch.arange(1, size + 1).to(dtype)
    exact = torch.linalg.solve(torch.eye(size).double() - matrix.double(), shift.double()).numpy()
    starts = scale * torch.randn(20, size, generator=torch.Generator().manual_seed(0)).to(dtype)
    ds = fixed_points(autonomous(lambda x: matrix @ x + shift, size, dtype), starts=starts)
    single = dtype == torch.float32
    np.testing.assert_allclose(ds.state[0], exact, rtol=1e-4 if single else 1e-11)
    np.testing.assert_allclose(magnitudes(ds)[0], [1.5, 0.8, 0.8, 0.5], rtol=1e-5)
    assert columns(ds, "starts", "unstable_dimensions", "stable", "slow", "continuum_dimension") == [
        [20],
        [1],
        [0],
        [0],
        [0],
    ]
    assert ds.state.dtype == np.dtype("float32" if single else "float64")
    assert float(ds.residual[0]) < (1e-5 if single else 1e-13)
    assert float(ds.state_error[0]) < (1e-4 if single else 1e-12) * scale
    assert np.linalg.norm(ds.state[0] - exact) < 10 * float(ds.state_error[0])


def test_a_scalar_tanh_map_has_three_points() -> None:
    ds = fixed_points(autonomous(lambda x: torch.tanh(2 * x)), rng=0)
    m = 1.0
    for _ in range(200):
        m = math.tanh(2 * m)
    np.testing.assert_allclose(ds.state[:, 0], [-m, m, 0], atol=1e-14)
    slope = 2 * (1 - m * m)
    np.testing.assert_allclose(ds.eigenvalue_real[:, 0], [slope, slope, 2], rtol=1e-12)
    assert columns(ds, "stable", "unstable_dimensions") == [[1, 1, 0], [0, 0, 1]]
    assert ds.starts.sum() == 512 == ds.attrs["starts_arrived"]


def periodic(count: int) -> np.ndarray:
    """All points of x -> 4 x (1 - x) that return after p steps: sin^2 of multiples of pi / (2^p +- 1)."""
    angles = [math.pi * k / (2**count + sign) for sign in (-1, 1) for k in range((2**count + sign) // 2 + 1)]
    return np.unique(np.sin(angles).round(14) ** 2)


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_periodic_points_of_the_logistic_map_are_all_found(period: int) -> None:
    starts = torch.linspace(0.001, 0.999, 400, dtype=torch.float64).unsqueeze(-1)
    ds = fixed_points(systems.logistic().map, starts=starts, period=period)
    found = np.sort(ds.state.values[:, 0])
    np.testing.assert_allclose(found, periodic(period), atol=1e-13)
    assert len(found) == 2**period
    inner = ds.state.values[:, 0] > 1e-6
    np.testing.assert_allclose(magnitudes(ds)[inner], 2.0**period, rtol=1e-10)  # exponent log 2
    np.testing.assert_allclose(magnitudes(ds)[~inner], 4.0**period, rtol=1e-10)
    for number, orbit in ds.groupby("orbit"):
        length = int(orbit.minimal_period[0])
        assert len(orbit.fixed_point) == length, number  # complete
        x = orbit.state.values[:, 0]
        np.testing.assert_allclose(np.sort(4 * x * (1 - x)), np.sort(x), atol=1e-12)
        assert period % length == 0


def test_henons_points_and_its_orbit_of_period_two() -> None:
    ds = fixed_points(systems.henon().map, rng=0, period=2)
    x = (-0.7 + np.array([-1, 1]) * math.sqrt(0.49 + 5.6)) / 2.8
    # x1 + x2 = (1 - b) / a, x1 x2 = (1 - b)^2 / a^2 - 1 / a
    total, product = 0.7 / 1.4, (0.7 / 1.4) ** 2 - 1 / 1.4
    pair = total / 2 + np.array([-1, 1]) * math.sqrt(total**2 / 4 - product)
    np.testing.assert_allclose(ds.state[:2, 0], x, rtol=1e-13)
    np.testing.assert_allclose(ds.state[:2, 1], 0.3 * x, rtol=1e-13)
    np.testing.assert_allclose(ds.state[2:, 0], pair, rtol=1e-13)
    np.testing.assert_allclose(ds.state[2:, 1], 0.3 * pair[::-1], rtol=1e-13)
    roots = ds.eigenvalue_real.values + 1j * ds.eigenvalue_imag.values
    np.testing.assert_allclose(roots.prod(axis=1), 0.09, rtol=1e-10)  # b^2
    np.testing.assert_allclose(roots[2:].sum(axis=1), 4 * 1.4**2 * product + 2 * 0.3, rtol=1e-10)
    assert columns(ds, "minimal_period", "orbit", "unstable_dimensions") == [[1, 1, 2, 2], [1, 2, 3, 3], [1, 1, 1, 1]]


def test_all_points_of_independent_units_are_found_and_counted() -> None:
    turn = random_orthogonal(4, 0)
    ds = fixed_points(autonomous(lambda y: turn @ torch.tanh(2 * (turn.T @ y)), 4), rng=0, n_starts=4000)
    m = 1.0
    for _ in range(200):
        m = math.tanh(2 * m)
    exact = np.array(list(itertools.product([-m, 0, m], repeat=4)))
    found = ds.state.values @ turn.numpy()
    assert len(found) == 81
    away = np.abs(found[:, None] - exact).max(axis=-1)
    assert (away.min(axis=0) < 1e-12).all()
    np.testing.assert_array_equal(ds.unstable_dimensions, (np.abs(found) < 0.5).sum(axis=1))
    assert int(ds.stable.sum()) == 16
    assert (np.diff(ds.unstable_dimensions) >= 0).all()


def test_memories_of_a_hopfield_network_are_its_stable_points() -> None:
    patterns = torch.tensor(
        [[1, 1, 1, 1, -1, -1, -1, -1], [1, 1, -1, -1, 1, 1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]]
    ).double()  # orthogonal
    weight = patterns.T @ patterns / 8
    ds = fixed_points(autonomous(lambda x: torch.tanh(3 * weight @ x), 8), rng=0, n_starts=1000)
    m = 1.0
    for _ in range(200):
        m = math.tanh(3 * m)
    memories = m * torch.cat((patterns, -patterns)).numpy()
    away = np.abs(ds.state.values[:, None] - memories).max(axis=-1)
    assert (away.min(axis=0) < 1e-12).all()
    assert ds.stable.values[away.argmin(axis=0)].tolist() == [1] * 6
    (origin,) = np.flatnonzero(np.abs(ds.state.values).max(axis=1) < 1e-9)
    np.testing.assert_allclose(magnitudes(ds)[origin], [3, 3, 3, 0, 0, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("bias", [1e-2, 1e-4])
def test_a_ghost_is_a_slow_point(bias: float) -> None:
    map = autonomous(lambda x: torch.stack((x[0] + x[0] ** 2 + bias, x[1] / 2)), 2)
    with pytest.warns(UserWarning, match="No fixed point was found from 512 starts"):
        ds = fixed_points(map, rng=0)
    assert columns(ds, "slow", "stable", "continuum_dimension") == [[1], [0], [0]]
    np.testing.assert_allclose(ds.state[0], [0, 0], atol=1e-3)
    np.testing.assert_allclose(ds.speed[0], bias, rtol=1e-4)
    assert math.isinf(ds.state_error[0])


def test_slow_points_and_fixed_points_are_told_apart() -> None:
    # x' = x + p(x) with a double minimum: zeros of p at 2, a slow point near -1
    map = autonomous(lambda x: x - 0.05 * ((x + 1) ** 2 + 0.01) * (x - 2))
    ds = fixed_points(map, starts=torch.linspace(-3, 3, 60, dtype=torch.float64).unsqueeze(-1))
    assert columns(ds, "slow") == [[0, 1]]
    np.testing.assert_allclose(ds.state[0, 0], 2, rtol=1e-12)
    fine = np.linspace(-1.5, -0.5, 1_000_001)
    speed = np.abs(0.05 * ((fine + 1) ** 2 + 0.01) * (fine - 2))
    np.testing.assert_allclose(ds.state[1, 0], fine[speed.argmin()], atol=2e-3)
    np.testing.assert_allclose(ds.speed[1], speed.min(), rtol=1e-4)


@pytest.mark.parametrize(
    "step", [lambda x: x + 1, torch.exp, lambda x: x + 1 / (1 + x * x)], ids=["shift", "exp", "creep"]
)
def test_maps_without_fixed_points_have_none(step) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ds = fixed_points(autonomous(step), rng=0)
    assert any("No fixed point was found from 512 starts" in str(each.message) for each in caught)
    assert not (ds.slow == 0).any()
    counts = [ds.attrs[f"starts_{name}"] for name in ("arrived", "slow", "lost", "unfinished")]
    assert counts[0] == 0
    assert sum(counts) == 512


def test_rectifiers_off_their_kink_are_exact_and_on_it_undecided() -> None:
    weight, bias = torch.tensor([[0.5, -1.0], [0.5, 0.2]]).double(), torch.tensor([1.0, 0.3]).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = fixed_points(autonomous(lambda x: torch.relu(weight @ x + bias), 2), rng=0)
    exact = np.linalg.solve(np.eye(2) - weight.numpy(), bias.numpy())
    assert (exact > 0).all()
    np.testing.assert_allclose(ds.state[0], exact, rtol=1e-13)
    np.testing.assert_allclose(magnitudes(ds)[0], np.sort(abs(np.linalg.eigvals(weight.numpy())))[::-1], rtol=1e-12)
    assert columns(ds, "on_kink", "stable") == [[0], [1]]
    with pytest.warns(UserWarning, match="1 of the points lie on a kink"):
        ds = fixed_points(autonomous(lambda x: torch.relu(weight @ x), 2), rng=0)
    assert columns(ds, "on_kink", "stable") == [[1], [0]]
    np.testing.assert_allclose(ds.state[0], [0, 0], atol=1e-12)


def test_outliers_are_flagged() -> None:
    map = autonomous(lambda x: x + 0.01 * x * (x - 100) * (x - 1) / 100)
    starts = torch.cat((torch.linspace(-1, 2, 50), torch.tensor([2.0]))).double().unsqueeze(-1)
    ds = fixed_points(map, starts=starts)
    far = torch.cat((starts, torch.tensor([[95.0]]).double()))
    assert not fixed_points(map, starts=far).outlier.any()
    close = fixed_points(map, starts=torch.linspace(70, 72, 9, dtype=torch.float64).unsqueeze(-1))  # right of the turn
    assert ds.outlier.values.tolist() == [0] * len(ds.fixed_point)
    np.testing.assert_allclose(close.state[:, 0], [100], rtol=1e-12)
    assert close.outlier.values.tolist() == [1]


def test_results_are_starts() -> None:
    cell, input = fixed_cell(nn.GRUCell, torch.float64, 4.0), torch.zeros(2).double()
    first = fixed_points(cell, input, rng=0)
    again = fixed_points(cell, input, starts=first)
    np.testing.assert_allclose(again.state, first.state, atol=1e-12)
    run = states(cell, torch.randn(40, 30, 2, generator=torch.Generator().manual_seed(0)).double())
    some = fixed_points(cell, input, starts=run, n_starts=100, rng=0)
    assert json.loads(some.attrs["config_json"])["n_starts"] == 100
    assert some.starts.sum() == some.attrs["starts_arrived"]
    xr.testing.assert_equal(some, fixed_points(cell, input, starts=run, n_starts=100, rng=0))
    xr.testing.assert_equal(some, fixed_points(cell, input, starts=xr.DataTree(run), n_starts=100, rng=0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_maps_that_move_little_in_a_step_have_isolated_points(dtype: torch.dtype) -> None:
    rate = 1e-5 if dtype == torch.float64 else 1e-3
    ds = fixed_points(autonomous(lambda x: x + rate * (torch.tanh(2 * x) - x), 1, dtype), rng=0)
    m = 1.0
    for _ in range(200):
        m = math.tanh(2 * m)
    np.testing.assert_allclose(ds.state[:, 0], [-m, m, 0], atol=1e-3 if dtype == torch.float32 else 1e-9)
    assert columns(ds, "continuum_dimension", "slow", "unstable_dimensions") == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_one_start_reaches_a_point_however_far_it_is_and_calls_nothing_an_outlier() -> None:
    map = autonomous(lambda x: x + 1e-4 * (5 - x))
    ds = fixed_points(map, starts=torch.zeros(1).double())  # 10,000 steps away
    np.testing.assert_allclose(ds.state, [[5]], rtol=1e-12)
    assert columns(ds, "outlier", "stable") == [[0], [1]]


def test_a_single_start_and_a_flat_one_are_enough() -> None:
    map = autonomous(lambda x: torch.stack((torch.tanh(2 * x[0]), x[1] / 2 + 3)), 2)
    for starts in (torch.tensor([0.5, 0.0]), torch.tensor([[0.5, 0.0]]), np.array([[0.5, 0.0], [0.4, 0.0]])):
        given = torch.as_tensor(starts).double()
        ds = fixed_points(map, starts=given)
        np.testing.assert_allclose(ds.state[:, 1], 6, rtol=1e-12)


def test_without_checks_the_points_are_the_same() -> None:
    checked, unchecked = (fixed_points(systems.henon().map, rng=0, check=check) for check in (True, False))
    xr.testing.assert_equal(checked, unchecked)


def test_maps_that_take_one_state_at_a_time_have_points() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(2 * x) if float(x.detach().sum()) > -10 else x

    map = as_map(step, state=torch.zeros(1).double())
    assert map.batching == "loop"
    ds = fixed_points(map, rng=0, n_starts=40)
    expected = fixed_points(autonomous(lambda x: torch.tanh(2 * x)), rng=0, n_starts=40)
    np.testing.assert_allclose(ds.state, expected.state, atol=1e-14)


def test_gradients_may_be_off_and_weights_may_need_them() -> None:
    cell, input = fixed_cell(nn.GRUCell, torch.float64, 1.0), torch.zeros(2).double()
    assert cell.weight_hh.requires_grad
    expected = fixed_points(cell, input, rng=0)
    with torch.no_grad():
        xr.testing.assert_equal(fixed_points(cell, input, rng=0), expected)
    assert cell.weight_hh.grad is None


def test_closed_loops_have_points_of_their_own() -> None:
    torch.manual_seed(1)
    cell, readout = nn.RNNCell(2, 3).double(), nn.Linear(3, 2).double()
    ds = fixed_points(cell, feedback=readout, rng=0)
    point = torch.from_numpy(ds.state.values)
    with torch.no_grad():
        torch.testing.assert_close(cell(readout(point), point), point, rtol=0, atol=1e-13)


class Backwards(torch.autograd.Function):
    """tanh without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


def test_every_way_of_derivatives_finds_the_same() -> None:
    expected = fixed_points(autonomous(lambda x: torch.tanh(2 * x)), rng=0)
    found = fixed_points(as_map(lambda x: Backwards.apply(2 * x), state=torch.zeros(1).double()), rng=0)
    np.testing.assert_allclose(found.state, expected.state, atol=1e-14)
    np.testing.assert_allclose(found.eigenvalue_real, expected.eigenvalue_real, atol=1e-12)


@pytest.mark.slow
def test_a_trained_flip_flop_keeps_its_bits_at_stable_points_between_saddles() -> None:
    network, readout, loss = trained()
    assert loss < 0.03
    inputs, _ = pulses(torch.Generator().manual_seed(9))
    run = states(network, inputs.double())
    ds = fixed_points(network, torch.zeros(3).double(), starts=run, rng=0, eigenvectors=1)
    stable = ds.isel(fixed_point=np.flatnonzero(ds.stable))
    bits = readout(torch.from_numpy(stable.state.values)).sign().int().tolist()
    assert sorted(bits) == sorted(list(each) for each in itertools.product([-1, 1], repeat=3))
    saddles = ds.isel(fixed_point=np.flatnonzero(ds.unstable_dimensions == 1))
    assert len(saddles.fixed_point) >= 6
    for index in range(len(saddles.fixed_point)):  # each is on the border of two of them
        middle = torch.from_numpy(saddles.state.values[index])
        way = torch.from_numpy(saddles.eigenvector_real.values[index, :, 0])
        starts = torch.stack((middle + 1e-3 * way, middle - 1e-3 * way))
        end = states(network, torch.zeros(600, 3).double(), initial_state=starts).state.values[:, -1]
        away = np.abs(end[:, None] - stable.state.values).max(axis=-1)
        assert (away.min(axis=1) < 1e-2).all()
        assert len(set(away.argmin(axis=1))) == 2
    assert ds.attrs["starts_unfinished"] == 0


def gru() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(2, 3).double()


ZERO = torch.zeros(2).double()
BAD = {
    "no input": (dict(), TypeError, r"driven, .* give input= of shape \(2,\), such as torch.zeros\(2\)"),
    "many inputs": (
        dict(input=torch.zeros(5, 2).double()),
        ValueError,
        r"must be one input .* got \(5, 2\); call once",
    ),
    "integer input": (dict(input=torch.zeros(2, dtype=torch.long)), TypeError, "input must be floating point"),
    "infinite input": (
        dict(input=torch.tensor([0, math.inf]).double()),
        ValueError,
        "input holds a value that is not finite",
    ),
    "NaN": (
        dict(input=ZERO, starts=torch.tensor([[0, 0, 0], [0, math.nan, 0]]).double()),
        ValueError,
        "1 of 2 starts hold a value that is not finite, the first at index 1",
    ),
    "wrong size": (
        dict(input=ZERO, starts=torch.zeros(4, 5).double()),
        ValueError,
        r"starts must have shape \(3,\) or \(S, 3\), got \(4, 5\)",
    ),
    "layers": (dict(input=ZERO, starts=torch.zeros(1, 4, 3).double()), ValueError, r"got \(1, 4, 3\); a flat state"),
    "none": (dict(input=ZERO, starts=torch.zeros(0, 3).double()), ValueError, "starts holds no state"),
    "other type": (dict(input=ZERO, starts=torch.zeros(4, 3)), ValueError, r"convert with \.to\(torch\.float64\)"),
    "another result": (
        dict(input=ZERO, starts=xr.Dataset(attrs={"analysis": "lyapunov_spectrum"})),
        TypeError,
        "got lyapunov_spectrum; pass",
    ),
    "text": (dict(input=ZERO, starts="run"), TypeError, "starts must be a tensor or an array, got str"),
    "period": (dict(input=ZERO, period=0), ValueError, "period must be at least 1"),
    "half a period": (dict(input=ZERO, period=1.5), TypeError, "period must be an integer"),
    "tolerance": (dict(input=ZERO, tolerance=-1), ValueError, "tolerance must be positive"),
    "eigenvectors": (dict(input=ZERO, eigenvectors=4), ValueError, "between 0 and the state size 3, got 4"),
    "n_starts": (dict(input=ZERO, n_starts=0), ValueError, "n_starts must be at least 1"),
    "iterations": (dict(input=ZERO, max_iterations=0), ValueError, "max_iterations must be at least 1"),
    "check": (dict(input=ZERO, check=1), TypeError, "check must be True or False"),
    "rng": (dict(input=ZERO, rng="seed"), TypeError, "rng must be"),
    "inputs": (dict(inputs=ZERO), TypeError, "write input="),
    "initial states": (dict(input=ZERO, initial_states=ZERO), TypeError, "write starts="),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name: str) -> None:
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        fixed_points(gru(), **options)


def test_an_autonomous_map_takes_no_input() -> None:
    with pytest.raises(TypeError, match=r"the map is autonomous \(input_size 0\), so that it takes no input"):
        fixed_points(systems.henon().map, ZERO)
    with pytest.raises(TypeError, match="feedback= runs the map on its own outputs"):
        fixed_points(gru(), ZERO, feedback=nn.Linear(3, 2).double())


def test_wrong_derivatives_are_refused() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 0.5 * x

        @staticmethod
        def backward(ctx, gradient):
            return 0.7 * gradient

    with pytest.raises(ValueError, match="derivative of the map disagrees"):
        fixed_points(as_map(lambda x: Wrong.apply(x), state=torch.ones(2).double()), rng=0)


def test_steps_that_run_out_are_told() -> None:
    with pytest.warns(UserWarning, match="searches had not ended when their steps ran out; raise max_iterations="):
        ds = fixed_points(autonomous(lambda x: x + x**3, 1), rng=0, max_iterations=3)
    assert ds.attrs["starts_unfinished"] > 100


def test_a_result_is_saved(tmp_path) -> None:
    ds = fixed_points(gru(), ZERO, rng=0, eigenvectors=2)
    assert (lyapkit.load(lyapkit.save(ds, tmp_path / "points.nc")) == ds).all()
    config = json.loads(ds.attrs["config_json"])
    assert (config["period"], config["tolerance"], config["input"], config["rng_seed"]) == (1, 1e-10, [0, 0], 0)
    assert config["derivatives"] == "checked"


def test_starts_on_another_device_are_refused() -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.zeros(2))
    with pytest.raises(ValueError, match=r"starts is on meta but the map on cpu; move one with \.to\(\)\."):
        fixed_points(map, starts=torch.zeros(3, 2, device="meta"))
