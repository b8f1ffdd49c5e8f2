"""Directions that are annihilated, and those that only fade very fast."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

import lyapkit
from lyapkit import as_map, lyapunov_exponents, lyapunov_spectrum, variational_term
from lyapkit.lyapunov.elimination import eliminated, log_determinant
from lyapkit.lyapunov.one_step import Effort, grow

INF = math.inf
GRADED = [1.0, 0.5, 0.0, -1.0, -5.0, -20.0, -40.0, -60.0]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(matrix: np.ndarray | Tensor) -> lyapkit.RecurrentMap:
    matrix = torch.as_tensor(matrix)
    return as_map(lambda x: matrix @ x, state=torch.zeros(len(matrix), dtype=torch.float64))


def triangular(exponents: list[float], seed: int = 1) -> Tensor:
    size = len(exponents)
    return numbers(size, size, seed=seed).triu(1) + torch.diag(torch.tensor(exponents, dtype=torch.float64).exp())


def delay_line(length: int, units: int = 5, batch: int = 0) -> lyapkit.RecurrentMap:
    """A network that reads the sum of its last inputs from a shift register, which annihilates `length` directions."""
    weight = numbers(units, units) / 2

    def step(state: tuple[Tensor, Tensor], s: Tensor) -> tuple[Tensor, Tensor]:
        buffer, h = state
        buffer = torch.cat((buffer[1:], s))
        return buffer, torch.tanh(weight @ h + buffer.sum())

    zeros = torch.zeros(length, dtype=torch.float64), torch.zeros(units, dtype=torch.float64)
    return as_map(step, state=zeros, input=torch.zeros(1, dtype=torch.float64))


def log_r(jacobian: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """log |R_ii| of J Q by Gram-Schmidt with 700 digits."""
    with mpmath.workdps(700):
        pushed = mpmath.matrix(jacobian.tolist()) * mpmath.matrix(frame.tolist())
        directions: list[list[mpmath.mpf]] = []
        logs = []
        for column in range(pushed.cols):
            rest = [pushed[row, column] for row in range(pushed.rows)]
            for direction in directions:
                overlap = mpmath.fdot(direction, rest)
                rest = [a - overlap * b for a, b in zip(rest, direction, strict=True)]
            length = mpmath.sqrt(mpmath.fdot(rest, rest))
            logs.append(float(mpmath.log(length)))
            directions.append([a / length for a in rest])
    return np.array(logs)


def graded_jacobians(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(size)
    rows, columns = np.exp(rng.uniform(-60, 10, size)), np.exp(rng.uniform(-40, 0, size))
    dense = rng.standard_normal((size, size))
    fading = np.diag(np.exp(np.linspace(1, -60, size)))
    return {
        "dense": dense,
        "scaled": rows[:, None] * dense * columns,
        "permuted and scaled": (rows[:, None] * dense * columns)[rng.permutation(size)],
        "upper triangular": np.triu(dense, 1) + fading,
        "lower triangular": np.tril(dense, -1) + fading,
        "triangular, permuted": (np.triu(dense, 1) + fading)[rng.permutation(size)],
    }


@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize(("size", "k"), [(4, 4), (8, 8), (8, 5)])
@pytest.mark.parametrize("kind", list(graded_jacobians(4)))
def test_what_is_left_of_each_column_is_found_to_rounding(kind: str, size: int, k: int, start: str) -> None:
    jacobian = graded_jacobians(size)[kind]
    frame = np.eye(size) if start == "identity" else np.linalg.qr(numbers(size, size, seed=3).numpy())[0]
    found = grow(jacobian, frame[:, :k], np.zeros(k, bool), Effort())
    np.testing.assert_allclose(found.log_growth, log_r(jacobian, frame[:, :k]), atol=1e-11)
    np.testing.assert_allclose(found.frame.T @ found.frame, np.eye(k), atol=1e-13)
    assert not found.unresolved.any()
    sign, log_volume = mpmath_determinant(jacobian)
    assert sign
    assert log_determinant(jacobian) == pytest.approx(log_volume, abs=1e-10)


def mpmath_determinant(matrix: np.ndarray) -> tuple[bool, float]:
    with mpmath.workdps(700):
        value = mpmath.det(mpmath.matrix(matrix.tolist()))
        return bool(value != 0), float(mpmath.log(abs(value)))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("size", "rank"), [(4, 1), (8, 2), (8, 7), (20, 10)])
def test_the_rank_is_told_whatever_the_scaling(size: int, rank: int, scaled: bool) -> None:
    rng = np.random.default_rng(rank)
    jacobian = rng.standard_normal((size, rank)) @ rng.standard_normal((rank, size))
    if scaled:
        jacobian = np.exp(rng.uniform(-30, 10, size))[:, None] * jacobian * np.exp(rng.uniform(-30, 0, size))
    assert len(eliminated(jacobian)[0].columns) == rank
    assert log_determinant(jacobian) == -INF
    found = grow(jacobian, np.linalg.qr(rng.standard_normal((size, size)))[0], np.zeros(size, bool), Effort())
    assert np.isneginf(found.log_growth[rank:]).all()
    assert np.isfinite(found.log_growth[:rank]).all()


@pytest.mark.parametrize("interval", [1, 7, "auto"])
@pytest.mark.parametrize("transient", [0, 50])
@pytest.mark.parametrize("k", [9, 7, 6, 5])
def test_a_delay_line_annihilates_its_length(k: int, transient: int, interval: int) -> None:
    ds = lyapunov_spectrum(delay_line(4), numbers(200, 1), k=k, transient=transient, qr_interval=interval, rng=0)
    without = lyapunov_spectrum(delay_line(4), numbers(200, 1), k=5, transient=transient, qr_interval=1, rng=1)
    exponent = ds.lyapunov_exponent.values[0]
    assert np.isneginf(exponent[5:]).all()
    assert ds.standard_error[0, 5:].isnull().all()
    np.testing.assert_allclose(exponent[:5], without.lyapunov_exponent[0], atol=0.02 if not transient else 1e-3)
    assert not ds.below_resolution.any()
    assert ds.memory_timescale[0, 5:].values.tolist() == [0.0] * (k - 5)


def test_a_delay_line_in_blocks_batches_and_sequences_of_unequal_length() -> None:
    inputs = numbers(300, 3, 1)
    together = lyapunov_spectrum(delay_line(3), inputs, lengths=[300, 120, 200], transient=20, qr_interval=1)
    for trajectory, length in enumerate((300, 120, 200)):
        alone = lyapunov_spectrum(delay_line(3), inputs[:length, trajectory], transient=20, qr_interval=1)
        ours = together.lyapunov_exponent[trajectory]
        assert np.isneginf(ours[5:]).all()
        np.testing.assert_allclose(ours[:5], alone.lyapunov_exponent[0, :5], atol=1e-3)
    first = lyapunov_spectrum(delay_line(3), inputs[:150, 0], transient=20, qr_interval=1)
    resumed = lyapunov_spectrum(delay_line(3), inputs[150:, 0], resume=first, qr_interval=1)
    np.testing.assert_allclose(resumed.lyapunov_exponent[0], together.lyapunov_exponent[0], atol=1e-3)


def scaling(reset: int) -> tuple[lyapkit.RecurrentMap, Tensor]:
    """Two directions that grow by 1/2 and 1, and a step that resets both."""
    two = torch.ones(2, dtype=torch.float64)
    factors = torch.ones(300, 2, dtype=torch.float64)
    factors[:, 0] = 0.5
    factors[reset] = 0
    return as_map(lambda x, s: s * x, state=two, input=two), factors


@pytest.mark.parametrize("k", [1, 2])
def test_a_reset_in_the_transient_does_not_count(k: int) -> None:
    map, factors = scaling(0)
    ds = lyapunov_spectrum(map, factors, k=k, transient=100, rng=0)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [0, -math.log(2)][:k], atol=1e-14)
    np.testing.assert_allclose(
        lyapunov_exponents(map, factors, k=k, transient=100, rng=0)[0], [0, -math.log(2)][:k], atol=1e-14
    )
    again = lyapunov_spectrum(map, factors, k=k, transient=1, rng=0)
    assert lyapunov_spectrum(map, factors, k=k, transient=1, rng=0).final_frame.equals(again.final_frame)


@pytest.mark.parametrize("k", [1, 2])
def test_a_reset_in_steps_that_count_is_the_end_of_all_directions(k: int) -> None:
    map, factors = scaling(150)
    ds = lyapunov_spectrum(map, factors, k=k, transient=100, rng=0)
    assert np.isneginf(ds.lyapunov_exponent).all()
    assert ds.standard_error.isnull().all()
    assert ds.half_difference.values[0, 0] == INF  # the reset is in the first half
    assert (ds.converged.item(), ds.probability_positive.item(), ds.kaplan_yorke_dimension.item()) == (0, 0, 0)
    assert (ds.entropy_rate.item(), ds.entropy_rate_error.item()) == (0, 0)
    with pytest.raises(FloatingPointError, match=r"direction 1 .* annihilated by step 151"):
        lyapunov_exponents(map, factors, k=k, transient=100, rng=0)


def test_a_partial_reset_leaves_its_directions_to_those_that_survive() -> None:
    """The first coordinate is reset once, and grows fastest later: the surviving column takes its growth over."""
    swap = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    two, steps = torch.ones(2, dtype=torch.float64), torch.ones(200, 2, dtype=torch.float64)
    steps[0, 0] = 0
    map = as_map(lambda x, s: swap @ (s * x), state=two, input=two)
    ds = lyapunov_spectrum(map, steps)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [math.log(2), -INF], atol=0.01)


def test_columns_that_survive_are_not_hindered_by_those_that_do_not() -> None:
    """Without recurrent weights an LSTM annihilates h at the first step; what replaces it comes behind the cell."""
    system = lyapkit.systems.lstm_without_recurrence()
    ds = lyapunov_spectrum(system.map, **system.run())
    np.testing.assert_allclose(ds.lyapunov_exponent[0, :4], system.exponents[:4], atol=1e-12)
    assert np.isneginf(ds.lyapunov_exponent[0, 4:]).all()
    assert ds.converged.item() == 1  # of the four


@pytest.mark.parametrize("interval", [1, 5, "auto"])
def test_a_triangular_jacobian_has_the_logarithms_of_its_diagonal(interval: int) -> None:
    ds = lyapunov_spectrum(linear(triangular(GRADED)), steps=60, qr_interval=interval)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], GRADED, atol=1e-12)
    assert not ds.below_resolution.any()
    assert ds.log_volume_residual.item() < 1e-10


def test_leading_exponents_of_a_triangular_jacobian_from_a_random_start() -> None:
    ds = lyapunov_spectrum(linear(triangular(GRADED)), steps=150, transient=90, k=7, rng=0)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], GRADED[:7], atol=1e-6)


def test_a_huge_entry_beside_the_diagonal() -> None:
    map = linear(np.array([[1.0, 1e17], [0.0, 1e-3]]))
    ds = lyapunov_spectrum(map, steps=100, check=False)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [0, math.log(1e-3)], atol=1e-13)


def test_what_float64_cannot_tell_is_flagged() -> None:
    one, other = (torch.linalg.qr(numbers(6, 6, seed=seed)).Q for seed in (1, 2))
    lost = one @ torch.diag(10.0 ** -torch.arange(0, 24, 4, dtype=torch.float64)) @ other  # down to 1e-20
    ds = lyapunov_spectrum(linear(lost), steps=50)
    assert ds.below_resolution.values[0].tolist() in ([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1])
    gone = np.isneginf(ds.lyapunov_exponent.values[0])
    assert gone[4:].all()
    assert np.isnan(ds.standard_error.values[0][gone]).all()


@pytest.mark.parametrize("horizon", [None, 3])
@pytest.mark.parametrize("kind", ["triangular", "huge entry", "scaled"])
def test_singular_values_of_graded_products(kind: str, horizon: int | None) -> None:
    matrix = {
        "triangular": triangular(GRADED).numpy(),
        "huge entry": np.array([[1.0, 1e17], [0.0, 1e-3]]),
        "scaled": graded_jacobians(5)["scaled"],
    }[kind]
    ds = variational_term(linear(matrix), steps=5, horizon=horizon, check=False)
    with mpmath.workdps(500):
        product = mpmath.matrix(matrix.tolist()) ** (horizon or 5)
        values = [float(mpmath.log(value)) for value in mpmath.svd_r(product, compute_uv=False)]
    np.testing.assert_allclose(ds.log_singular_value[0, -1], values, atol=1e-5)
    assert not ds.below_resolution.any()


@pytest.mark.parametrize("horizon", [None, 20, 60])
@pytest.mark.parametrize(("length", "units"), [(4, 5), (12, 8), (25, 5)])
def test_singular_values_of_a_register_in_rotated_coordinates_are_minus_infinity_or_flagged(
    length: int, units: int, horizon: int | None
) -> None:
    size = length + units
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[: length - 1, 1:length] = torch.eye(length - 1)
    matrix[length:] = numbers(units, size) / units**0.5
    rotation = torch.linalg.qr(numbers(size, size, seed=1)).Q
    ds = variational_term(linear(rotation.T @ matrix @ rotation), steps=80, horizon=horizon, record_every=7)
    alive = size - min(length, horizon or 80)
    lost = ds.isel(exponent=slice(alive, None), trajectory=0, step=-1)
    assert (np.isneginf(lost.log_singular_value) | (lost.below_resolution == 1)).all()
    kept = ds.isel(exponent=slice(alive), trajectory=0, step=-1)
    with mpmath.workdps(80):
        power = mpmath.matrix(matrix.tolist()) ** (horizon or 80)
        exact = [float(mpmath.log(value)) for value in mpmath.svd_r(power, compute_uv=False)[:alive]]
    sure = kept.below_resolution.values == 0
    assert sure.any()
    np.testing.assert_allclose(kept.log_singular_value.values[sure], np.array(exact)[sure], atol=1e-6)


def test_singular_values_that_a_single_jacobian_does_not_tell_are_flagged() -> None:
    one, other = (torch.linalg.qr(numbers(6, 6, seed=seed)).Q for seed in (1, 2))
    lost = one @ torch.diag(10.0 ** -torch.arange(0, 24, 4, dtype=torch.float64)) @ other  # down to 1e-20
    for horizon in (None, 2, 3):
        ds = variational_term(linear(lost), steps=5, horizon=horizon, check=False)
        assert ds.below_resolution[0, -1, 4:].values.tolist() == [1, 1]
        assert ds.below_resolution[0, -1, :3].values.tolist() == [0, 0, 0]


def test_singular_values_of_networks_are_all_resolved() -> None:
    torch.manual_seed(0)
    for module in (torch.nn.LSTM(3, 6, num_layers=2), torch.nn.GRU(3, 8), torch.nn.RNN(3, 8)):
        for horizon in (None, 10):
            ds = variational_term(module.double(), numbers(100, 3), horizon=horizon, record_every=10)
            assert not ds.below_resolution.any()


def test_the_singular_values_of_a_delay_line_that_vanish() -> None:
    ds = variational_term(delay_line(4), numbers(40, 1))
    assert np.isneginf(ds.log_singular_value[0]).sum(dim="exponent").values[:6].tolist() == [1, 2, 3, 4, 4, 4]


def test_vectors_of_a_map_that_resets_in_the_transient() -> None:
    map, factors = scaling(0)
    ds = lyapkit.covariant_vectors(map, factors, transient=100, settle=50, rng=0)
    np.testing.assert_allclose(ds.covariant_exponent[0], [0, -math.log(2)], atol=1e-13)
    np.testing.assert_allclose(np.abs(ds.covariant_vector[0, -1]), [[0, 1], [1, 0]], atol=1e-13)
    map, factors = scaling(150)
    with pytest.raises(ValueError, match="direction 1 of trajectory 0 is annihilated at step 151"):
        lyapkit.covariant_vectors(map, factors, transient=100, settle=50, rng=0)
