"""Eigenvalues and eigenvectors at fixed points."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit
from lyapkit import fixed_points, lyapunov_spectrum, systems
from resting import autonomous, fixed_cell, magnitudes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "gain"), [(nn.GRUCell, 4.0), (nn.LSTMCell, 4.0), (nn.RNNCell, 4.0)])
def test_points_of_cells_rest_and_their_exponents_are_log_eigenvalues(
    kind: type, gain: float, dtype: torch.dtype
) -> None:
    cell, input = fixed_cell(kind, dtype, gain), torch.tensor([0.5, -1.0], dtype=dtype)
    ds = fixed_points(cell, input, rng=0)
    assert len(ds.fixed_point) >= 1
    assert not ds.slow.any()
    points = torch.from_numpy(ds.state.values)
    given = (points[:, :6], points[:, 6:]) if kind is nn.LSTMCell else points
    with torch.no_grad():
        after = cell(input.expand(len(points), -1), given)
    after = torch.cat(after, dim=-1) if kind is nn.LSTMCell else after
    single = dtype == torch.float32
    assert float((after - points).abs().max()) < (2e-6 if single else 1e-14)
    steady = ds.isel(fixed_point=np.flatnonzero(ds.stable))  # a run stays there
    if len(steady.fixed_point):
        start = torch.from_numpy(steady.state.values)
        spectrum = lyapunov_spectrum(cell, input.expand(400, 2), initial_state=start, transient=100)
        exact = np.log(np.sort(magnitudes(steady), axis=1)[:, ::-1])
        kept = exact > -12  # complex pairs turn, so that finite runs know them to 1 / T
        np.testing.assert_allclose(spectrum.lyapunov_exponent.values[kept], exact[kept], atol=0.02)


def test_exponents_at_saddles_are_log_eigenvalues() -> None:
    ds = fixed_points(systems.henon().map, rng=0)
    start = torch.from_numpy(ds.state.values)
    spectrum = lyapunov_spectrum(systems.henon().map, steps=12, initial_state=start, qr_interval=1)
    np.testing.assert_allclose(spectrum.lyapunov_exponent, np.log(magnitudes(ds)), atol=0.12)
    whole = lyapunov_spectrum(systems.henon().map, steps=2, initial_state=start)
    np.testing.assert_allclose(whole.lyapunov_exponent.sum("exponent"), np.log(magnitudes(ds)).sum(axis=1), rtol=1e-12)
    diagonal = autonomous(lambda x: torch.stack((2 * x[0], x[1] / 4)), 2)
    ds, spectrum = fixed_points(diagonal, rng=0), lyapunov_spectrum(diagonal, steps=50)
    np.testing.assert_allclose(spectrum.lyapunov_exponent, np.log(magnitudes(ds)), rtol=1e-13)


def test_jacobians_at_the_points_have_the_same_eigenvalues() -> None:
    cell, input = fixed_cell(nn.LSTMCell, torch.float64, 4.0), torch.tensor([[0.5, -1.0]]).double()
    ds = fixed_points(cell, input[0], rng=0)
    start = torch.from_numpy(ds.state.values)
    there = lyapkit.jacobians(cell, input, initial_state=start, towards_input=True)
    np.testing.assert_allclose(there.eigenvalue_real[:, 0], ds.eigenvalue_real, atol=1e-12)
    np.testing.assert_allclose(abs(there.eigenvalue_imag[:, 0]), abs(ds.eigenvalue_imag), atol=1e-12)


def test_eigenvectors_are_those_of_the_jacobian() -> None:
    map = systems.henon().map
    ds = fixed_points(map, rng=0, eigenvectors=2)
    matrices = lyapkit.jacobians(map, steps=1, initial_state=torch.from_numpy(ds.state.values)).jacobian.values[:, 0]
    vectors = ds.eigenvector_real.values + 1j * ds.eigenvector_imag.values
    roots = ds.eigenvalue_real.values + 1j * ds.eigenvalue_imag.values
    np.testing.assert_allclose(matrices @ vectors, vectors * roots[:, None], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-13)
    assert fixed_points(map, rng=0, eigenvectors=1).eigenvector_real.shape == (2, 2, 1)
    assert "eigenvector_real" not in fixed_points(map, rng=0)
