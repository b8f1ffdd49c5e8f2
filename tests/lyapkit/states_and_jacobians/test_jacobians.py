"""`jacobians` against closed forms, and against the analyses that multiply Jacobians."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit
from lyapkit import as_map, jacobians, states, systems
from lyapkit.states_and_jacobians.step_jacobian import sorted_eigenvalues

INPUTS = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def elman(dtype: torch.dtype = torch.float64) -> nn.RNN:
    torch.manual_seed(0)
    return nn.RNN(2, 5).to(dtype)


def gru() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(2, 4).double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_jacobians_of_a_tanh_network_are_those_by_hand(dtype: torch.dtype) -> None:
    network, inputs = elman(dtype), INPUTS.to(dtype)
    ds = jacobians(network, inputs, towards_input=True)
    after = torch.from_numpy(states(network, inputs).state.values)
    slope = (1 - after**2).unsqueeze(-1)
    tolerance = dict(rtol=1e-4, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ds.jacobian, slope * network.weight_hh_l0.detach(), **tolerance)
    np.testing.assert_allclose(ds.input_jacobian, slope * network.weight_ih_l0.detach(), **tolerance)
    assert ds.jacobian.dims == ("trajectory", "step", "unit", "from_unit")
    assert ds.input_jacobian.dims == ("trajectory", "step", "unit", "input")
    assert ds.jacobian.dtype == ds.input_jacobian.dtype == after.numpy().dtype


def test_henons_jacobians_are_those_by_hand() -> None:
    map = systems.henon().map
    ds = jacobians(map, steps=600, transient=100)
    x = np.concatenate(
        (states(map, steps=100).state[0, -1:, 0], states(map, steps=600, transient=100).state[0, :-1, 0])
    )
    expected = np.zeros((500, 2, 2))
    expected[:, 0, 0], expected[:, 0, 1], expected[:, 1, 0] = -2.8 * x, 1.0, 0.3
    np.testing.assert_allclose(ds.jacobian[0], expected, rtol=1e-13)
    root = np.sqrt((1.4 * x) ** 2 + 0.3 + 0j)
    pairs = np.stack((-1.4 * x + root, -1.4 * x - root), axis=1)
    pairs = np.take_along_axis(pairs, np.argsort(-abs(pairs), axis=1), axis=1)
    np.testing.assert_allclose(ds.eigenvalue_real[0] + 1j * ds.eigenvalue_imag[0], pairs, rtol=1e-12)


def test_their_product_is_the_variational_term() -> None:
    ds = jacobians(gru(), INPUTS, eigenvalues=False)
    assert "eigenvalue_real" not in ds
    term = lyapkit.variational_term(gru(), INPUTS)
    for trajectory in range(3):
        product = np.eye(4)
        for matrix in ds.jacobian[trajectory].values:
            product = matrix @ product
        values = np.log(np.linalg.svd(product, compute_uv=False))
        np.testing.assert_allclose(term.log_singular_value[trajectory, -1], values, rtol=1e-7)


def test_jacobians_of_a_closed_loop_are_those_of_the_loop() -> None:
    torch.manual_seed(1)
    cell, readout = nn.RNNCell(2, 3).double(), nn.Linear(3, 2).double()
    ds = jacobians(cell, steps=4, feedback=readout)
    after = torch.from_numpy(states(cell, steps=4, feedback=readout).state.values)
    loop = cell.weight_hh + cell.weight_ih @ readout.weight
    np.testing.assert_allclose(ds.jacobian, (1 - after**2).unsqueeze(-1) * loop.detach(), rtol=1e-12)


def test_recorded_steps_are_a_selection() -> None:
    whole, ds = jacobians(gru(), INPUTS), jacobians(gru(), INPUTS, transient=3, record_every=4, towards_input=True)
    assert ds.step.values.tolist() == [7, 10]
    np.testing.assert_array_equal(ds.jacobian, whole.jacobian.sel(step=[7, 10]))
    np.testing.assert_array_equal(ds.eigenvalue_real, whole.eigenvalue_real.sel(step=[7, 10]))


def test_behind_the_end_of_a_sequence_no_step_is_done() -> None:
    padded = INPUTS.clone()
    padded[4:, 1] = torch.nan
    ds, whole = jacobians(gru(), padded, lengths=[10, 4, 10], towards_input=True), jacobians(gru(), INPUTS)
    np.testing.assert_array_equal(ds.jacobian[1, :4], whole.jacobian[1, :4])
    np.testing.assert_array_equal(ds.jacobian[1, 4:], np.broadcast_to(np.eye(4), (6, 4, 4)))
    np.testing.assert_array_equal(ds.jacobian[[0, 2]], whole.jacobian[[0, 2]])
    assert not ds.input_jacobian[1, 4:].any()
    assert ds.input_jacobian[1, 3].any()
    assert ds.last_step.values.tolist() == [10, 4, 10]


class Doubling(torch.autograd.Function):
    """2 x and 3 s, without forward-mode derivatives."""

    @staticmethod
    def forward(ctx, x, s):
        return 2 * x + 3 * s

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient, 3 * gradient


def test_maps_with_derivatives_backwards_only_have_jacobians() -> None:
    map = as_map(lambda x, s: Doubling.apply(x, s), state=torch.zeros(2), input=torch.zeros(2))
    ds = jacobians(map, torch.ones(3, 2), towards_input=True)
    np.testing.assert_array_equal(ds.jacobian[0], np.broadcast_to(2 * np.eye(2), (3, 2, 2)))
    np.testing.assert_array_equal(ds.input_jacobian[0], np.broadcast_to(3 * np.eye(2), (3, 2, 2)))


def test_an_input_that_changes_nothing_has_a_jacobian_of_zero() -> None:
    map = as_map(lambda x, s: x / 2, state=torch.zeros(2), input=torch.zeros(3))
    ds = jacobians(map, torch.ones(2, 3), towards_input=True)
    assert ds.input_jacobian.shape == (1, 2, 2, 3)
    assert not ds.input_jacobian.any()


def test_eigenvalues_are_ordered_by_magnitude_with_pairs_together() -> None:
    turn = torch.zeros(5, 5, dtype=torch.float64)
    turn[0, 0], turn[1, 1] = 0.5, -2.0
    turn[2:4, 2:4] = torch.tensor([[0.0, -0.75], [0.75, 0.0]])
    roots = sorted_eigenvalues(turn.expand(3, 5, 5))
    expected = torch.tensor([-2.0, 0.75j, -0.75j, 0.5, 0.0], dtype=torch.complex128)
    torch.testing.assert_close(roots, expected.expand(3, 5), rtol=0, atol=1e-15)


def test_jacobians_at_a_fixed_point_have_its_eigenvalues() -> None:
    x = (-0.7 + math.sqrt(0.49 + 5.6)) / 2.8
    point = torch.tensor([[x, 0.3 * x]], dtype=torch.float64)
    ds = jacobians(systems.henon().map, steps=1, initial_state=point)
    root = math.sqrt(1.96 * x**2 + 0.3)
    np.testing.assert_allclose(ds.eigenvalue_real[0, 0], [-1.4 * x - root, -1.4 * x + root], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(towards_input=1), TypeError, "towards_input must be True or False"),
        (dict(eigenvalues="yes"), TypeError, "eigenvalues must be True or False"),
        (dict(record_every=0), ValueError, "record_every must be at least 1"),
        (dict(rng=0), TypeError, "nothing is drawn at random here"),
    ],
)
def test_bad_arguments_are_refused(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        jacobians(gru(), INPUTS, **options)


def test_an_autonomous_map_has_no_jacobian_towards_an_input() -> None:
    with pytest.raises(TypeError, match=r"the map is autonomous .* leave it out"):
        jacobians(systems.henon().map, steps=3, towards_input=True)


@pytest.mark.parametrize("check", [True, False])
def test_derivatives_that_are_not_finite_are_refused(check: bool) -> None:
    map = as_map(lambda x: torch.sqrt(x), state=torch.zeros(1, dtype=torch.float64))
    with pytest.raises((ValueError, FloatingPointError), match=r"derivative of .*step.* is not finite"):
        jacobians(map, steps=3, check=check)


def test_a_result_is_saved(tmp_path) -> None:
    ds = jacobians(gru(), INPUTS, towards_input=True)
    assert (lyapkit.load(lyapkit.save(ds, tmp_path / "jacobians.nc")) == ds).all()
