"""Effective learning rates 1/(1 - eta lambda), their intervals and their pole."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss

from lyapkit import hessian_spectrum
from lyapkit.curvature.learning_rate import effective_learning_rates

NAMES = ["effective_learning_rate_low", "effective_learning_rate", "effective_learning_rate_high", "contains_pole"]


def rates(eigenvalue: float, radius: float, eta: float) -> list[float]:
    found = effective_learning_rates(np.array([eigenvalue]), np.array([radius]), eta)
    return [found[name].item() for name in NAMES]


def test_values_by_hand() -> None:
    assert rates(0.0, 0.0, 0.1) == [1, 1, 1, 0]
    assert rates(5.0, 1.0, 0.1) == pytest.approx([1 / 0.6, 2.0, 1 / 0.4, 0])  # slower directions, amplified
    assert rates(-10.0, 10.0, 0.1) == pytest.approx([1 / 3, 0.5, 1.0, 0])
    assert rates(20.0, 5.0, 0.1) == pytest.approx([-2, -1, -1 / 1.5, 0])  # beyond the pole
    assert rates(5.0, 1.0, -0.1) == pytest.approx([1 / 1.6, 1 / 1.5, 1 / 1.4, 0])


def test_at_the_pole() -> None:
    unbounded = [-math.inf, math.inf, math.inf, 1]
    assert rates(10.0, 0.0, 0.1) == unbounded  # eta lambda = 1 exactly, and lambda known exactly
    assert rates(3.0, 0.0, 1 / 3) == unbounded
    assert rates(49.0, 0.0, 1 / 49) == unbounded  # 49 * (1 / 49) is not 1 in floating point
    assert rates(10.0, 1.0, 0.1) == unbounded
    assert rates(9.0, 1.0, 0.1) == unbounded  # at the end of the interval
    assert rates(11.0, 1.0, 0.1) == unbounded
    assert rates(9.5, 2.0, 0.1) == unbounded  # and not 20, where the eigenvalue itself is
    assert rates(9.0, 0.999, 0.1)[3] == 0
    assert rates(9.0, 0.999, 0.1) == pytest.approx([1 / 0.1999, 10.0, 1 / 1e-4, 0])


@given(eigenvalue=st.floats(-100, 100), radius=st.floats(0, 10), eta=st.floats(-2, 2), fraction=st.floats(-1, 1))
def test_whatever_the_eigenvalue_is_within_its_radius_the_rate_is_in_the_interval(
    eigenvalue: float, radius: float, eta: float, fraction: float
) -> None:
    low, rate, high, pole = rates(eigenvalue, radius, eta)
    assert not any(map(math.isnan, (low, rate, high)))
    if pole:
        assert (low, rate, high) == (-math.inf, math.inf, math.inf)
        ends = 1 - eta * (eigenvalue - radius), 1 - eta * (eigenvalue + radius)
        assert min(ends) <= 1e-12 * (1 + abs(eta) * 110)
        assert max(ends) >= -1e-12 * (1 + abs(eta) * 110)
    else:
        assert all(map(math.isfinite, (low, high)))
        slack = 1e-9 * max(abs(low), abs(high)) * max(abs(low), abs(high), 1)
        assert low - slack <= 1 / (1 - eta * (eigenvalue + fraction * radius)) <= high + slack
        assert low <= rate <= high


def test_of_a_spectrum() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    features = torch.diag(torch.tensor([2.0, 1.0, 0.5])).double()
    data = (features, torch.zeros(3, 1).double())  # eigenvalues 8/3, 2/3 and 1/6
    ds = hessian_spectrum(model, data, mse_loss, k=3, learning_rate=1.5)
    np.testing.assert_allclose(ds.effective_learning_rate[[0, 2]], [1 / (1 - 4), 1 / (1 - 0.25)], rtol=1e-8)
    assert ds.contains_pole.values.tolist() == [0, 1, 0]
    assert math.isinf(ds.effective_learning_rate[1])
    assert (ds.effective_learning_rate_low <= ds.effective_learning_rate).all()
    assert (ds.effective_learning_rate <= ds.effective_learning_rate_high).all()
    assert not set(NAMES) & set(hessian_spectrum(model, data, mse_loss, k=2))
