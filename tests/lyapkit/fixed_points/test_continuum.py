"""Continua of fixed points, and points that are close together."""

import numpy as np
import pytest
import torch

from lyapkit import as_map, fixed_points
from references import random_orthogonal
from resting import autonomous, columns

TURN = random_orthogonal(5, 3)
PLANE = TURN @ torch.diag(torch.tensor([1, 1, 0.5, -0.5, 0.2]).double()) @ TURN.T
CONTINUA = {
    "line": (lambda x: torch.stack((x[0] * 1.0, torch.tanh(0.5 * x[1] + 0.1 * x[0]))), 2, 1),
    "oblique plane": (lambda x: PLANE @ x, 5, 2),
    "ring": (lambda x: x * (1.5 - 0.5 * x.square().sum()), 2, 1),
    "identity": (lambda x: x * 1.0, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CONTINUA)
def test_a_continuum_is_reported_as_one(name: str, dtype: torch.dtype) -> None:
    step, size, dimension = CONTINUA[name]
    with pytest.warns(
        UserWarning, match=rf"a continuum of fixed points, of dimension {dimension}: \d+ of 512 searches"
    ):
        ds = fixed_points(as_map(lambda x: step(x.double()).to(dtype), state=torch.zeros(size, dtype=dtype)), rng=0)
    lying = ds.continuum_dimension.values > 0
    assert lying.sum() == 16
    assert set(ds.continuum_dimension.values[lying].tolist()) == {dimension}
    assert (~lying).sum() == (1 if name == "ring" else 0)  # the middle of the ring
    assert ds.starts.sum() == ds.attrs["starts_arrived"]
    assert (ds.marginal_dimensions.values[lying] >= dimension).all()
    assert not ds.stable.any()
    if name == "ring":
        np.testing.assert_allclose(
            np.linalg.norm(ds.state[lying], axis=1), 1, rtol=1e-3 if dtype == torch.float32 else 1e-9
        )


def test_two_points_that_have_met_are_one_point_and_no_continuum() -> None:
    ds = fixed_points(autonomous(lambda x: x + x * x), rng=0)
    assert columns(ds, "continuum_dimension", "marginal_dimensions", "stable", "starts") == [[0], [1], [0], [512]]
    np.testing.assert_allclose(ds.state[0, 0], 0, atol=1e-7)


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3])
def test_points_that_are_close_together_stay_apart(distance: float) -> None:
    ds = fixed_points(autonomous(lambda x: (1 + distance**2) * x - x**3), rng=0, n_starts=2000)
    np.testing.assert_allclose(np.sort(ds.state[:, 0]), [-distance, 0, distance], rtol=1e-7, atol=1e-9)
    assert columns(ds, "stable", "continuum_dimension") == [[1, 1, 0], [0, 0, 0]]
