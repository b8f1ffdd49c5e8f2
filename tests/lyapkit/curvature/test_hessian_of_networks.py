"""The solver on trained networks, against all eigenvalues of the dense Hessian."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dense_hessians import LastStep, dense_hessian, flat, leading
from lyapkit import hessian_spectrum


def trained(make: Callable[[], nn.RNNBase]) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """A network of up to 1,000 parameters after some training: few large eigenvalues, many small ones."""
    torch.manual_seed(0)
    model = LastStep(make(), 3).double()
    inputs = torch.randn(6, 40, 2).double()
    targets = (inputs.sum(0)[:, 0] > 0).long() + (inputs.sum(0)[:, 1] > 0).long()
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model, (inputs, targets)


NETWORKS = {"RNN": lambda: nn.RNN(2, 26), "GRU": lambda: nn.GRU(2, 15), "LSTM": lambda: nn.LSTM(2, 13)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_fifty_eigenvalues_of_trained_networks(name: str) -> None:
    """Against dense spectra: in double precision to all digits, and in single precision with no ghost."""
    model, data = trained(NETWORKS[name])
    assert 800 < len(flat(model)) < 1000
    dense = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data]))
    expected = leading(dense, 50)
    for seed in range(3):
        ds = hessian_spectrum(model, data, cross_entropy, k=50, rng=seed)
        error = np.abs(ds.eigenvalue.values - expected)
        assert (error <= ds.error_bound.values + 1e-13 * expected[0]).all()
        np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9)
        assert (ds.residual.values <= 1e-6 * np.abs(expected)).all()
        assert ds.converged.values.all()
        assert ds.attrs["converged"] == 1
        assert ds.attrs["products"] < 230
    inputs, targets = data
    ds = hessian_spectrum(model.float(), (inputs.float(), targets), cross_entropy, k=50, rng=0)
    np.testing.assert_allclose(ds.eigenvalue, expected, rtol=2e-3, atol=1e-6 * expected[0])
    assert ds.attrs["converged"] == 1
    assert ds.error_bound.values.max() < 1e-4 * expected[0]


@pytest.mark.slow
def test_the_whole_spectrum_of_a_trained_network() -> None:
    model, data = trained(lambda: nn.GRU(2, 6))
    dense = dense_hessian(model, cross_entropy, [data])
    expected = leading(torch.linalg.eigvalsh(dense), len(dense))
    ds = hessian_spectrum(model, data, cross_entropy, k=len(dense), rng=0, check=False)
    np.testing.assert_allclose(np.sort(ds.eigenvalue), np.sort(expected), atol=1e-12 * expected[0])


def test_tracking_over_training_starts_from_the_last_spectrum() -> None:
    model, data = trained(lambda: nn.RNN(2, 10))
    options = dict(k=8, eigenvectors=True, check=False)
    before = hessian_spectrum(model, data, cross_entropy, rng=0, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
    cold = [hessian_spectrum(model, data, cross_entropy, rng=seed, **options) for seed in range(4)]
    expected = leading(torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, [data])), 8)
    for start in (before, torch.tensor(before.eigenvector.values), before.transpose("rank", ...)):
        warm = [hessian_spectrum(model, data, cross_entropy, rng=seed, start=start, **options) for seed in range(4)]
        for ds in warm:
            np.testing.assert_allclose(ds.eigenvalue, expected, rtol=1e-9)
        assert sum(ds.attrs["products"] for ds in warm) < sum(ds.attrs["products"] for ds in cold)
