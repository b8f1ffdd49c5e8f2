"""Eq. (15): gradients of a WCRNN grow back in time at log |largest eigenvalue of R|."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lyapkit import as_map, gradient_propagation
from wcrnn_models import WCRNN, residuals


class Doubled(WCRNN):
    def _advance(self, state, drive):
        return 2 * super()._advance(state, drive)


def network(residual, kind=WCRNN, **options) -> WCRNN:
    return kind(1, 10, 3, residual=residual, rng=0, dtype=torch.float64, **{"coupling": 1e-3, **options})


@pytest.mark.parametrize("r", [0.95, 1.0, 1.01])
@pytest.mark.parametrize("kind", ["scalar", "rotation"])
def test_rate_and_prediction_agree_to_the_order_of_the_coupling(kind: str, r: float) -> None:
    residual = residuals.scalar(r) if kind == "scalar" else residuals.rotation(r=r, phi=0.3)
    inputs = torch.rand(150, 4, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = network(residual)
    ds = gradient_propagation(model, inputs, torch.arange(4) % 3, cross_entropy, rng=0)
    assert ds.predicted_rate.item() == pytest.approx(math.log(r), abs=1e-15)
    reach = float(torch.linalg.matrix_norm(model.recurrent.weight.detach(), ord=2)) * 1e-3 / r
    np.testing.assert_allclose(ds.growth_rate.sel(norm="2"), math.log(r), rtol=0, atol=2 * reach)
    np.testing.assert_allclose(ds.leading_exponent, math.log(r), rtol=0, atol=2 * reach)


@pytest.mark.parametrize("form", ["A", "B"])
def test_only_linear_residuals_of_wcrnns_predict(form: str) -> None:
    assert as_map(network(residuals.scalar(0.9), form=form)).predicted_gradient_rate is None
    linear = as_map(network(residuals.scalar(0.9), form=form, nonlinearity="identity"))
    assert linear.predicted_gradient_rate == pytest.approx(math.log(0.9))
    assert as_map(network(residuals.scalar(0.9), kind=Doubled)).predicted_gradient_rate is None
    assert as_map(torch.nn.RNN(1, 3)).predicted_gradient_rate is None


def test_the_prediction_is_that_of_the_largest_eigenvalue() -> None:
    matrix = torch.tensor([[0.5, 3.0], [0.0, -0.8]], dtype=torch.float64)
    model = WCRNN(1, 2, 1, residual=matrix, coupling=0.0, rng=0, dtype=torch.float64)
    ds = gradient_propagation(model, torch.zeros(200, 1, 1).double(), None, lambda o, _: o.sum(), fit=(50, None))
    assert ds.predicted_rate.item() == pytest.approx(math.log(0.8), abs=1e-14)
    np.testing.assert_allclose(ds.growth_rate.sel(norm="2"), math.log(0.8), atol=1e-12)
