"""`variational_term` over a sliding horizon, against explicit products, high-precision arithmetic and autograd."""

import json
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lyapkit import as_map, systems, variational_term
from lyapkit.lyapunov.graded import GradedProduct
from lyapkit.lyapunov.sliding import STRETCH, SlidingProduct
from references import matrix_with_spectrum, random_orthogonal


def exact_log_singular_values(matrices: torch.Tensor, digits: int) -> np.ndarray:
    """log singular values of the product of matrices, the last one leftmost, by mpmath."""
    with mpmath.workdps(digits):
        product = mpmath.eye(matrices.shape[-1])
        for matrix in matrices:
            product = mpmath.matrix(matrix.tolist()) * product
        return np.array([float(mpmath.log(value)) for value in mpmath.svd_r(product, compute_uv=False)])


def term(matrices: torch.Tensor, **options):
    """Of the product of matrices (T, N, N)."""
    size = matrices.shape[-1]
    return variational_term(systems.MatrixProduct(size), matrices.reshape(-1, size**2), **options)


def gaussian(steps: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain(steps: int, rates: list[float]) -> torch.Tensor:
    """Each matrix stretches the directions that the one before has turned to by the same rates."""
    scale = torch.diag(torch.tensor(rates, dtype=torch.float64).exp())
    turns = [random_orthogonal(len(rates), seed) for seed in range(steps + 1)]
    return torch.stack([turns[step + 1] @ scale @ turns[step].T for step in range(steps)])


PRODUCTS = {  # matrices, horizon, digits
    "narrow": (lambda: torch.stack([matrix_with_spectrum([1.1, 1.0, 0.95], [], seed=s) for s in range(40)]), 12, 60),
    "Gaussian": (lambda: gaussian(60, 5), 25, 100),
    "chain without gaps": (lambda: chain(60, [-0.4 * i for i in range(8)]), 25, 200),
    "beyond float64": (lambda: chain(190, [-1.5 * i for i in range(5)]), 150, 900),
    "growing order reversed": (
        lambda: torch.stack(
            [
                torch.diag(torch.tensor([0.3, 0.9, 1.2], dtype=torch.float64)) + 0.01 * random_orthogonal(3, s)
                for s in range(90)
            ]
        ),
        40,
        200,
    ),
    "triangular": (
        lambda: (0.3 * gaussian(50, 6)).triu(1) + torch.diag(torch.linspace(0.1, 1.0, 6, dtype=torch.float64)),
        20,
        150,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_window_against_high_precision(name: str) -> None:
    make, horizon, digits = PRODUCTS[name]
    matrices = make()
    ds = term(matrices, horizon=horizon, record_every=7)
    assert ds.step.values.tolist() == sorted({*range(horizon, len(matrices) + 1, 7), len(matrices)})
    for index, last in enumerate(ds.step.values):
        expected = exact_log_singular_values(matrices[last - horizon : last], digits)
        np.testing.assert_allclose(ds.log_singular_value.values[0, index], expected, rtol=1e-13, atol=2e-12)
        np.testing.assert_allclose(ds.running_exponent.values[0, index], expected / horizon, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("rate", [-0.4, -8.0])
def test_both_ways_of_joining_the_halves_of_a_window(rate: float) -> None:
    """In factors of the stretch, where those are fewer than the steps, and by the Jacobians."""
    rates = [0.0, rate, 2 * rate]
    fewer = [math.ceil(-rates[-1] * position / STRETCH) < position for position in range(2, 20)]
    assert all(fewer) if rate == -0.4 else not any(fewer)
    matrices = chain(45, rates)
    ds = term(matrices, horizon=20)
    condition = math.exp(-rates[-1])  # of a single Jacobian
    for index in (5, 12, 19, 24):
        expected = exact_log_singular_values(matrices[index : index + 20], 300)
        np.testing.assert_allclose(ds.log_singular_value.values[0, index], expected, atol=20 * 2e-16 * condition)


@given(
    size=st.integers(1, 4),
    horizon=st.integers(1, 12),
    extra=st.integers(0, 30),
    record_every=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_windows_equal_explicit_products(size: int, horizon: int, extra: int, record_every: int, seed: int) -> None:
    steps = horizon + extra
    turn = torch.stack([random_orthogonal(size, seed + step) for step in range(steps)])
    matrices = turn @ torch.diag(torch.linspace(0.8, 1.1, size, dtype=torch.float64)) @ turn.roll(1, 0)
    ds = term(matrices, horizon=horizon, record_every=record_every)
    assert ds.step.values.tolist() == sorted({*range(horizon, steps + 1, record_every), steps})
    for index, last in enumerate(ds.step.values):
        product = torch.eye(size, dtype=torch.float64)
        for matrix in matrices[last - horizon : last]:
            product = matrix @ product
        expected = torch.linalg.svdvals(product).log()
        np.testing.assert_allclose(ds.log_singular_value.values[0, index], expected, atol=1e-11)


def test_a_horizon_of_all_steps_is_the_last_value_without_one() -> None:
    matrices = gaussian(30, 4)
    whole = term(matrices, record_every=30)
    ds = term(matrices, horizon=30)
    assert ds.step.values.tolist() == [30]
    for name in ("log_singular_value", "running_exponent"):
        np.testing.assert_array_equal(ds[name], whole[name])


def test_a_horizon_of_one_step_is_each_jacobian_alone() -> None:
    matrices = gaussian(9, 4)
    ds = term(matrices, horizon=1)
    assert ds.step.values.tolist() == list(range(1, 10))
    np.testing.assert_allclose(ds.log_singular_value[0], torch.linalg.svdvals(matrices).log(), atol=1e-12)


def test_a_constant_matrix_gives_constant_values() -> None:
    skewed = matrix_with_spectrum([1.3, 0.9, 0.5, 0.2], [], seed=3, skew=5.0)
    ds = term(skewed.expand(100, 4, 4), horizon=30)
    assert ds.sizes["step"] == 71
    expected = exact_log_singular_values(skewed.expand(30, 4, 4), 80)
    np.testing.assert_allclose(ds.log_singular_value.values[0], np.tile(expected, (71, 1)), atol=1e-11)

    turn = random_orthogonal(3, 1)
    normal = turn @ torch.diag(torch.tensor([0.9, -0.5, 0.1], dtype=torch.float64)) @ turn.T
    ds = term(normal.expand(50, 3, 3), horizon=20, dt=0.1)
    rates = 10 * np.log([0.9, 0.5, 0.1])
    np.testing.assert_allclose(ds.running_exponent.values[0], np.tile(rates, (31, 1)), atol=1e-11)
    assert ds.running_exponent.attrs["units"] == "nats per unit time"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_what_backpropagation_truncated_to_the_horizon_sees(dtype: torch.dtype) -> None:
    """The derivative of x_t with respect to x_{t-H}, by autograd through the module's own forward."""
    torch.manual_seed(0)
    lstm, inputs = nn.LSTM(2, 4).to(dtype), torch.randn(20, 3, 2, dtype=dtype)
    horizon = 6
    ds = variational_term(lstm, inputs, horizon=horizon, record_every=4)
    assert ds.step.values.tolist() == [6, 10, 14, 18, 20]
    for trajectory in range(3):
        for index, last in enumerate(ds.step.values):
            _, (h, c) = lstm(inputs[: last - horizon, trajectory, None]) if last > horizon else (0, (None, None))
            start = torch.zeros(8, dtype=dtype) if h is None else torch.cat((h, c), dim=-1).flatten().detach()

            def run(state, trajectory=trajectory, last=last):
                parts = state[:4].reshape(1, 1, 4), state[4:].reshape(1, 1, 4)
                _, (h, c) = lstm(inputs[last - horizon : last, trajectory, None], parts)
                return torch.cat((h, c), dim=-1).flatten()

            jacobian = torch.autograd.functional.jacobian(run, start).double()
            expected = torch.linalg.svdvals(jacobian).numpy()
            found = np.exp(ds.log_singular_value.values[trajectory, index])
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14 if dtype == torch.float64 else 1e-6)


def test_batches_and_leading_values_equal_single_runs() -> None:
    """Also where the members of a batch need different numbers of factors."""
    scale = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    inputs = torch.stack([gaussian(40, 3, seed) for seed in range(3)], dim=1)  # (T, B, N, N)
    inputs = (inputs @ torch.diag_embed(torch.stack([torch.ones_like(scale), scale**2, scale**6], -1))).flatten(-2)
    together = variational_term(systems.MatrixProduct(3), inputs, horizon=11, record_every=3)
    for index in range(3):
        alone = variational_term(systems.MatrixProduct(3), inputs[:, index], k=2, horizon=11, record_every=3)
        np.testing.assert_allclose(
            alone.log_singular_value[0], together.log_singular_value[index, :, :2], rtol=1e-12, atol=1e-10
        )


def test_only_windows_that_hold_the_singular_step_are_singular() -> None:
    matrices = gaussian(30, 3)
    matrices[13] = matrices[13] @ torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))  # step 14, rank 2
    ds = term(matrices, horizon=8)
    singular = [14 <= last < 14 + 8 for last in ds.step.values]
    assert (np.isinf(ds.log_singular_value.values[0, :, 2]) == singular).all()
    assert np.isfinite(ds.log_singular_value.values[0, :, :2]).all()
    product = matrices[10]
    for matrix in matrices[11:18]:
        product = matrix @ product
    expected = torch.linalg.svdvals(product).log()[:2]
    np.testing.assert_allclose(ds.log_singular_value.sel(step=18).values[0, :2], expected, atol=1e-10)

    matrices[20] = 0.0
    ds = term(matrices, horizon=8)
    gone = [21 <= last < 21 + 8 for last in ds.step.values]
    assert (np.isneginf(ds.log_singular_value.values[0]).all(axis=-1) == gone).all()
    assert not np.isnan(ds.log_singular_value.values).any()


def test_the_cost_of_a_window_is_what_the_docstring_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """One push per step and one more in the first 2 N, one more with a horizon, and per window one for every 16 nats of
    range, at most H.
    """
    pushes = []
    after = GradedProduct.after
    monkeypatch.setattr(GradedProduct, "after", lambda self, push: pushes.append(1) or after(self, push))

    def count(matrices: torch.Tensor, **options) -> int:
        pushes.clear()
        term(matrices, **options)
        return len(pushes)

    turns = torch.stack([random_orthogonal(3, seed) for seed in range(100)])
    assert count(turns) == 100 + 6
    windows = 100 - 20 + 1
    assert count(turns, horizon=20) <= 6 + 2 * 100 + 2 * windows
    assert count(turns, horizon=20, record_every=20) == 100 + 6  # windows side by side share nothing
    wide = chain(100, [0.0, -2.0, -4.0])  # 80 nats in 20 steps: at most 5 factors
    assert count(wide, horizon=20) <= 6 + 2 * 100 + (1 + 5) * windows
    wider = chain(100, [0.0, -14.0, -28.0])
    assert count(wider, horizon=20) <= 6 + 2 * 100 + 20 * windows


def test_two_horizons_of_matrices_are_held_at_most() -> None:
    held = []

    class Watched(SlidingProduct):
        def _backwards(self):
            found = super()._backwards()
            held.append(len(self._block) + len(found))
            return found

    matrices = gaussian(50, 2)[:, None]
    product = Watched(1, 2, horizon=12, recorded=range(12, 51), device=torch.device("cpu"))
    for matrix in matrices:
        product = product.after(matrix.matmul)
        held.append(len(product._block) + len(product._last))
        assert all(last.u is product._identity.u for last in product._last.values())  # one matrix each
    assert 12 <= max(held) <= 2 * 12


def test_the_horizon_is_recorded() -> None:
    map = systems.henon().map
    for horizon in (None, 4):
        ds = variational_term(map, steps=9, horizon=horizon)
        assert json.loads(ds.attrs["config_json"])["horizon"] == horizon


def test_a_closed_loop_has_horizons_too() -> None:
    map = as_map(lambda x, s: 0.5 * x + s, state=torch.ones(2).double(), input=torch.ones(2).double())
    ds = variational_term(map, steps=12, feedback=lambda x: 0.25 * x, horizon=5)
    np.testing.assert_allclose(ds.log_singular_value, 5 * math.log(0.75), atol=1e-13)


REFUSALS = {
    "zero": (0, ValueError, "horizon must be at least 1, got 0"),
    "negative": (-3, ValueError, "horizon must be at least 1, got -3"),
    "longer than the run": (10, ValueError, "horizon must be at most the number of steps 9, got 10"),
    "a float": (4.0, TypeError, r"horizon must be an integer of at least 1, got 4\.0"),
    "a truth value": (True, TypeError, "horizon must be an integer of at least 1, got True"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    horizon, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        variational_term(systems.henon().map, steps=9, horizon=horizon)
