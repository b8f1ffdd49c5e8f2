"""The central claim, as properties: the exponents of a WCRNN are log |eigenvalues of the residual|, up to O(gamma)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyapkit import lyapunov_spectrum
from references import matrix_with_spectrum, random_orthogonal, sorted_log_magnitudes
from wcrnn_models import WCRNN, predict, residuals

moduli = st.floats(0.3, 1.2)
angles = st.floats(0.0, math.pi)
seeds = st.integers(0, 2**31)


def wcrnn(residual, size: int, coupling: float, seed: int) -> WCRNN:
    return WCRNN(2, size, 1, residual=residual, coupling=coupling, rng=seed, dtype=torch.float64)


def random_inputs(steps: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(steps, 2, generator=generator, dtype=torch.float64)


@given(st.lists(moduli, min_size=1, max_size=6), seeds)
def test_uncoupled_diagonal_residuals_are_exact(values: list[float], seed: int) -> None:
    """Zero, one, above one and repeated moduli alike: the frame never leaves the axes."""
    residual = residuals.diagonal(torch.tensor(values, dtype=torch.float64))
    ds = lyapunov_spectrum(wcrnn(residual, len(values), 0.0, seed), random_inputs(20, seed))
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], np.sort(np.log(values))[::-1], atol=1e-13)
    assert (ds.standard_error.values < 1e-13).all()


@given(st.lists(angles, min_size=1, max_size=3), moduli, seeds)
def test_uncoupled_rotations_are_exact(phi: list[float], r: float, seed: int) -> None:
    residual = residuals.rotation(torch.tensor(phi, dtype=torch.float64), r=r)
    ds = lyapunov_spectrum(wcrnn(residual, 2 * len(phi), 0.0, seed), random_inputs(20, seed))
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], math.log(r), atol=1e-13)


@given(moduli, st.integers(1, 8), seeds)
def test_uncoupled_scalar_residuals_are_exact(r: float, size: int, seed: int) -> None:
    ds = lyapunov_spectrum(wcrnn(residuals.scalar(r), size, 0.0, seed), random_inputs(20, seed))
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], math.log(r), atol=1e-13)


@given(
    st.lists(st.floats(0.3, 1.2).flatmap(lambda r: st.sampled_from([r, -r])), min_size=0, max_size=3),
    st.lists(st.tuples(moduli, st.floats(0.1, 3.0)), min_size=1, max_size=2),
    st.booleans(),
    st.integers(0, 1000),
)
def test_uncoupled_dense_residuals_converge_to_their_eigenvalues(
    real: list[float], pairs: list[tuple[float, float]], repeat: bool, seed: int
) -> None:
    """Real, complex and repeated eigenvalues of non-normal matrices; the error falls at least like 1/steps.

    |sum of the first j exponents - its limit| <= log cond(V) j / steps bounds the phase and basis terms.
    """
    if repeat:
        real, pairs = real + real[:1], [*pairs, pairs[0]]
    skew = 3.0
    matrix = matrix_with_spectrum(real, pairs, seed, skew)
    size, steps, transient = len(matrix), 600, 600
    ds = lyapunov_spectrum(
        wcrnn(matrix, size, 0.0, seed), random_inputs(steps + transient, seed, 0.01), transient=transient
    )
    expected = sorted_log_magnitudes(matrix).numpy()
    # separated only as exp(-gap t): nearly equal moduli may still be exchanged, so compare partial sums
    gaps = np.abs(np.diff(expected))
    if ((gaps > 1e-9) & (gaps < 0.05)).any():
        np.testing.assert_allclose(ds.lyapunov_exponent.sum(), expected.sum(), atol=1e-10)
        return
    np.testing.assert_allclose(
        ds.lyapunov_exponent.values[0].cumsum(), expected.cumsum(), atol=4 * size * math.log(skew) / steps
    )
    np.testing.assert_allclose(ds.lyapunov_exponent.sum(), expected.sum(), atol=1e-10)


def singular_bounds(model: WCRNN) -> tuple[float, float]:
    """log(sigma_min(R) - gamma |W|_2) and log(sigma_max(R) + gamma |W|_2), since |tanh'| <= 1."""
    singular = torch.linalg.svdvals(model.residual.matrix().double())
    reach = float(model.coupling) * float(torch.linalg.matrix_norm(model.recurrent.weight.detach(), ord=2))
    low, high = float(singular[-1]) - reach, float(singular[0]) + reach
    return (math.log(low) if low > 0 else -math.inf), math.log(high)


RESIDUALS = {
    "scalar": lambda r, seed: residuals.scalar(r),
    "rotation": lambda r, seed: residuals.rotation("random", r=r, rng=seed),
    "diagonal": lambda r, seed: residuals.heterogeneous(r, 0.2, rng=seed),
    "orthogonal": lambda r, seed: r * random_orthogonal(8, seed),
}


@given(
    st.sampled_from(sorted(RESIDUALS)), st.floats(0.5, 1.1), st.floats(0.0, 0.3), st.integers(0, 10**6),
    st.floats(0.0, 30.0), st.integers(1, 60),
)  # fmt: skip
def test_every_exponent_lies_within_the_singular_value_bounds(
    kind: str, r: float, coupling: float, seed: int, scale: float, steps: int
) -> None:
    """For any input, weights and number of steps: a theorem, so no statistical tolerance."""
    model = wcrnn(RESIDUALS[kind](r, seed), 8, coupling, seed)
    low, high = singular_bounds(model)
    predictions = predict(model)
    assert predictions.upper_bounds[0] == pytest.approx(high, rel=1e-9, abs=1e-12)
    assert predictions.lower_bounds[-1] == pytest.approx(low, rel=1e-9, abs=1e-12)
    ds = lyapunov_spectrum(model, random_inputs(steps, seed, scale))
    assert float(ds.lyapunov_exponent.min()) >= low - 1e-10
    assert float(ds.lyapunov_exponent.max()) <= high + 1e-10


@pytest.mark.parametrize("kind", RESIDUALS)
def test_the_deviation_shrinks_in_proportion_to_the_coupling(kind: str) -> None:
    """O(gamma): a quarter of the coupling leaves about a quarter of the largest deviation from log |eigenvalues|.

    On the same weights and input. The frame is settled first: it aligns within log(1/gamma)/gap steps, which without a
    transient adds an error that *grows* as gamma shrinks.
    """
    couplings, steps = [0.08, 0.04, 0.02], 1000
    deviation = []
    for coupling in couplings:
        model = wcrnn(RESIDUALS[kind](0.9, 5), 8, coupling, 7)
        expected = model.residual.log_magnitudes().numpy()
        ds = lyapunov_spectrum(model, random_inputs(2 * steps, 3), transient=steps)
        deviation.append(np.abs(ds.lyapunov_exponent.values[0] - expected).max())
        low, high = singular_bounds(model)
        if kind != "diagonal":  # all |eigenvalues| are r there, so the bounds bound the deviation
            assert deviation[-1] <= max(high - math.log(0.9), math.log(0.9) - low) + 1e-12
    order = math.log(deviation[0] / deviation[-1]) / math.log(couplings[0] / couplings[-1])
    assert 0.75 < order < 1.6
    assert deviation[-1] / couplings[-1] < 0.7
    if kind == "scalar":
        np.testing.assert_allclose(np.array(deviation) / couplings, deviation[0] / couplings[0], rtol=0.01)
