"""Angles between covariant vectors, and how many units take part in them."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

from linear_maps import REAL, eigenvectors, linear
from lyapkit import covariant_vectors
from lyapkit.lyapunov.angles import consecutive_angles, participation_ratio, splitting_angles
from references import random_orthogonal


@pytest.mark.parametrize("split", [1, 2, 3])
def test_angles_between_subspaces_are_principal_angles(split: int) -> None:
    ds = covariant_vectors(linear(REAL), steps=300, rng=0)
    vectors = eigenvectors(REAL)
    expected = subspace_angles(vectors[:, :split], vectors[:, split:]).min()
    assert_allclose(ds.angle.sel(split=split), expected, rtol=1e-10)


def test_angles_of_known_vectors() -> None:
    angle = 1e-12
    columns = [[1.0, math.cos(angle), 0.0], [0.0, math.sin(angle), 0.6], [0.0, 0.0, 0.8]]
    c = torch.tensor(columns, dtype=torch.float64)
    found = consecutive_angles(torch.stack((c, -c)))
    assert_allclose(found[0], [angle, math.pi / 2 - math.asin(0.6 * math.sin(angle))], rtol=1e-8)
    assert torch.equal(found[0], found[1])  # lines have no sign
    # the span of the last two holds the first axis turned by `angle`; the third leans by arctan(0.8/0.6) to the plane
    assert_allclose(splitting_angles(c)[1], math.atan2(0.8, 0.6), rtol=1e-12)
    assert splitting_angles(c)[0] <= angle
    assert splitting_angles(torch.eye(4).double()).tolist() == [math.pi / 2] * 3
    c[1, 1] = 0.0
    assert splitting_angles(c)[0] == 0  # the same direction twice
    assert splitting_angles(torch.eye(1)[None]).shape == consecutive_angles(torch.eye(1)[None]).shape == (1, 0)


def test_participation_ratio_of_known_vectors() -> None:
    vectors = torch.zeros(4, 4).double()
    vectors[2, 0] = 1.0
    vectors[:2, 1] = 0.5**0.5
    vectors[:, 2] = -0.5
    vectors[0, 3], vectors[1, 3] = 0.6, -0.8
    assert_allclose(participation_ratio(vectors), [1, 2, 4, 1 / (0.6**4 + 0.8**4)], rtol=1e-14)
    localised = covariant_vectors(
        linear(torch.diag(torch.tensor([0.3, 2.0, 1.0], dtype=torch.float64))), steps=200, rng=0
    )
    assert_allclose(localised.participation_ratio, 1, rtol=1e-12)
    assert (np.abs(localised.covariant_vector.values[0, 0]).argmax(axis=0) == [1, 2, 0]).all()
    spread = covariant_vectors(linear(2 * random_orthogonal(5, 0) @ torch.eye(5).double()), steps=40, rng=0)
    assert ((spread.participation_ratio >= 1) & (spread.participation_ratio <= 5)).all()
