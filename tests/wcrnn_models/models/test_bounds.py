"""The central claim, as properties: the exponents of a WCRNN are log |eigenvalues of the residual|, up to O(gamma)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyapkit import lyapunov_spectrum
from lyapkit.testing import KnownMatrix, assert_exponents, matrices
from references import random_orthogonal
from wcrnn_models import WCRNN, predict, residuals
from wcrnn_models.testing import assert_exponents_bounded, assert_scaling, residual_maps, wcrnns


def wcrnn(residual, size: int, coupling: float, seed: int) -> WCRNN:
    return WCRNN(2, size, 1, residual=residual, coupling=coupling, rng=seed, dtype=torch.float64)


def random_inputs(steps: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(steps, 2, generator=generator, dtype=torch.float64)


@given(wcrnns(residuals=residual_maps(kinds=["scalar", "diagonal", "rotation", "orthogonal"]), couplings=(0.0, 0.0)))
def test_uncoupled_normal_residuals_are_exact(network: WCRNN) -> None:
    """One, above one and repeated moduli alike, at every step: the frame keeps its angles."""
    run = assert_exponents(network, random_inputs(20, 0)[:, : network.input_size], network.residual.log_magnitudes())
    assert (run.standard_error.values < 1e-13).all()


@given(matrices(min_size=2, max_condition=3.0), st.integers(0, 1000))
def test_uncoupled_dense_residuals_converge_to_their_eigenvalues(known: KnownMatrix, seed: int) -> None:
    """Real, complex and repeated eigenvalues of non-normal matrices; the error falls at least like 1/steps.

    |sum of the first j exponents - its limit| <= log cond(V) j / steps bounds the phase and basis terms.
    """
    steps, transient, expected = 600, 600, known.log_magnitudes
    ds = lyapunov_spectrum(
        wcrnn(known.matrix, known.size, 0.0, seed), random_inputs(steps + transient, seed, 0.01), transient=transient
    )
    # separated only as exp(-gap t): nearly equal moduli may still be exchanged, so compare partial sums
    gaps = np.abs(np.diff(expected))
    if ((gaps > 1e-9) & (gaps < 0.05)).any():
        np.testing.assert_allclose(ds.lyapunov_exponent.sum(), expected.sum(), atol=1e-10)
        return
    np.testing.assert_allclose(
        ds.lyapunov_exponent.values[0].cumsum(), expected.cumsum(), atol=4 * known.size * math.log(3.0) / steps
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
    ds = assert_exponents_bounded(model, random_inputs(steps, seed, scale))
    assert float(ds.lyapunov_exponent.min()) >= low - 1e-10
    assert float(ds.lyapunov_exponent.max()) <= high + 1e-10


@pytest.mark.parametrize("kind", RESIDUALS)
def test_the_deviation_shrinks_in_proportion_to_the_coupling(kind: str) -> None:
    """O(gamma): a quarter of the coupling leaves about a quarter of the largest deviation from log |eigenvalues|.

    On the same weights and input. The frame is settled first: it aligns within log(1/gamma)/gap steps, which without a
    transient adds an error that *grows* as gamma shrinks.
    """
    couplings = [0.08, 0.04, 0.02]
    model = wcrnn(RESIDUALS[kind](0.9, 5), 8, 0.08, 7)
    run = assert_scaling(model, random_inputs(2000, 3), couplings)
    deviation = run.distance.values
    if kind != "diagonal":  # all |eigenvalues| are r there, so the bounds bound the deviation
        low, high = singular_bounds(model)
        assert deviation[0] <= max(high - math.log(0.9), math.log(0.9) - low) + 1e-12
    assert 0.75 < run.attrs["order"] < 1.6
    assert deviation[-1] / couplings[-1] < 0.7
    if kind == "scalar":
        np.testing.assert_allclose(np.array(deviation) / couplings, deviation[0] / couplings[0], rtol=0.01)
