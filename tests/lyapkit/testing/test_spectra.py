"""Matrices with known spectra have them, and the strategy draws all kinds and shrinks to the smallest."""

import math

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings

from lyapkit.testing import KnownMatrix, matrices
from lyapkit.testing.spectra import random_orthogonal

QUICK = settings(max_examples=80, database=None, derandomize=True)


def test_eigenvalues_and_magnitudes_are_those_chosen() -> None:
    known = KnownMatrix(real=[0.5, -0.9], pairs=[(1.1, 0.7)], condition=5.0, seed=3)
    expected = [1.1 * np.exp(0.7j), 1.1 * np.exp(-0.7j), -0.9, 0.5]
    found = np.linalg.eigvals(known.matrix.numpy())
    for value in expected:
        assert np.abs(found - value).min() < 1e-13
        assert np.abs(known.eigenvalues.numpy() - value).min() < 1e-15
    np.testing.assert_allclose(known.log_magnitudes, np.log([1.1, 1.1, 0.9, 0.5]), atol=1e-15)
    assert not known.is_defective


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_the_basis_has_the_condition_that_is_stated(condition: float, seed: int | None) -> None:
    known = KnownMatrix(real=[0.9, 0.6, 0.3], condition=condition, seed=seed)
    stretch = np.logspace(0, math.log10(condition), 3)
    basis = np.diag(stretch)
    if seed is not None:
        basis = random_orthogonal(3, seed).numpy() @ basis @ random_orthogonal(3, seed + 1).numpy()
    assert np.linalg.cond(basis) == pytest.approx(condition)
    expected = basis @ np.diag([0.9, 0.6, 0.3]) @ np.linalg.inv(basis)
    np.testing.assert_allclose(known.matrix, expected, atol=1e-13)


def test_jordan_blocks_have_one_eigenvector() -> None:
    known = KnownMatrix(jordan=[(0.8, 3)], real=[0.5], condition=4.0, seed=1)
    matrix = known.matrix.numpy()
    shifted = matrix - 0.8 * np.eye(4)
    assert np.linalg.matrix_rank(shifted, tol=1e-9) == 3
    assert np.linalg.matrix_rank(shifted @ shifted @ shifted, tol=1e-9) == 1
    assert known.is_defective
    np.testing.assert_allclose(known.log_magnitudes, np.log([0.8, 0.8, 0.8, 0.5]))


def test_zero_has_the_exponent_minus_infinity() -> None:
    assert KnownMatrix(real=[0.0, 1.0]).log_magnitudes.tolist() == [0.0, -math.inf]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a matrix needs at least one eigenvalue"),
        ({"real": [math.nan]}, "eigenvalues must be finite"),
        ({"pairs": [(1.0, math.inf)]}, "eigenvalues must be finite"),
        ({"real": [1.0], "condition": 0.5}, "condition must be finite and at least 1, got 0.5"),
    ],
)
def test_matrices_that_cannot_be_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KnownMatrix(**arguments)


@given(matrices(defective=True))
def test_drawn_matrices_are_within_their_limits(known: KnownMatrix) -> None:
    assert 1 <= known.size <= 6
    assert known.matrix.shape == (known.size, known.size)
    moduli = known.eigenvalues.abs()
    assert (moduli >= 0.3 - 1e-12).all()
    assert (moduli <= 1.2 + 1e-12).all()
    assert np.linalg.slogdet(known.matrix.numpy()).logabsdet == pytest.approx(known.log_magnitudes.sum(), abs=1e-9)


@given(matrices(max_condition=1, max_size=4))
def test_with_condition_one_all_are_normal(known: KnownMatrix) -> None:
    matrix = known.matrix
    torch.testing.assert_close(matrix @ matrix.T, matrix.T @ matrix, rtol=0, atol=1e-13)


KINDS = {
    "complex": lambda known: known.pairs,
    "negative": lambda known: min(known.real, default=0) < 0,
    "repeated": lambda known: len(set(known.real)) < len(known.real),
    "repeated pairs": lambda known: len(set(known.pairs)) < len(known.pairs),
    "defective": lambda known: known.is_defective,
    "non-normal": lambda known: known.size > 1 and known.condition > 5,
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_drawn_and_shrink(kind: str) -> None:
    found = find(matrices(defective=True), lambda known: bool(KINDS[kind](known)), settings=QUICK)
    assert found.size <= {"repeated pairs": 4, "defective": 3}.get(kind, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_size": 3, "max_size": 2}, "1 <= min_size <= max_size, got 3 and 2"),
        ({"moduli": (-0.1, 1.0)}, "moduli must fulfil"),
        ({"max_condition": 0.5}, "max_condition must be finite and at least 1"),
    ],
)
def test_empty_ranges_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matrices(**arguments)
