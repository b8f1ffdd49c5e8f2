"""Effective learning rates 1/(1 - eta lambda), their intervals and their pole."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss

from lyapkit import hessian_spectrum
from lyapkit.curvature.learning_rate import effective_learning_rates, stable_learning_rate

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


def heavy_ball_radius(step: float, momentum: float) -> float:
    """Largest modulus of the roots of z^2 - (1 + b - eta lambda) z + b."""
    return float(abs(np.roots([1, -(1 + momentum - step), momentum])).max())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("eigenvalue", [1e-6, 0.3, 4.0, 1e5])
def test_the_stable_rate_is_where_the_roots_leave_the_unit_circle(momentum: float, eigenvalue: float) -> None:
    rate = stable_learning_rate(np.array([-3 * eigenvalue, eigenvalue, eigenvalue / 2]), momentum)
    assert rate == pytest.approx(2 * (1 + momentum) / eigenvalue, rel=1e-15)
    assert heavy_ball_radius(0.999 * rate * eigenvalue, momentum) < 1
    assert heavy_ball_radius(1.001 * rate * eigenvalue, momentum) > 1


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)])
def test_pytorchs_sgd_is_stable_up_to_it_and_not_beyond(momentum: float, nesterov: bool) -> None:
    """On the quadratic lambda w^2 / 2 per weight; Nesterov's limit is the other formula of the docstring."""
    values = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False).double()
    data = torch.diag((values * 3 / 2).sqrt()), torch.zeros(3, 1).double()  # of 2 X'X / n
    found = hessian_spectrum(model, data, mse_loss, k=2, learning_rate=0.1, momentum=momentum, rng=0)
    limit = float(found.stable_learning_rate)
    assert limit == pytest.approx(2 * (1 + momentum) / 4, rel=1e-9)
    if nesterov:
        limit /= 1 + 2 * momentum
    ends = {}
    for factor in (0.99, 1.01):
        with torch.no_grad():
            model.weight.fill_(1.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=factor * limit, momentum=momentum, nesterov=nesterov)
        for _ in range(4000):
            optimizer.zero_grad()
            mse_loss(model(data[0]), data[1]).backward()
            optimizer.step()
        ends[factor] = abs(model.weight).max().item()
    assert ends[0.99] < 1e-4
    assert ends[1.01] > 1e4


def test_the_stable_rate_of_a_spectrum() -> None:
    """Of w'Aw / 2 with any signs: the largest positive eigenvalue counts, not the largest magnitude."""

    def found(values: list[float], **options):
        weights = torch.tensor(values, dtype=torch.float64)
        model = nn.Linear(len(values), 1, bias=False).double()
        batch = torch.eye(len(values)).double(), torch.zeros(len(values), 1).double()
        options = dict(learning_rate=0.1, momentum=0.9, rng=0) | options
        return hessian_spectrum(model, batch, lambda out, _: (weights * out[:, 0] ** 2).sum() / 2, **options)

    assert float(found([-8.0, 2.0, 1.0], k=2).stable_learning_rate) == pytest.approx(1.9, rel=1e-8)
    assert float(found([-8.0, 2.0, 1.0], k=1, which="LA").stable_learning_rate) == pytest.approx(1.9, rel=1e-8)
    assert math.isinf(found([-8.0, -2.0, -1.0], k=1, which="LA").stable_learning_rate)
    assert math.isinf(found([-8.0, -2.0, -1.0], k=3).stable_learning_rate)  # all there are, so nothing is unknown
    for values, options in (([-8.0, 2.0, 1.0], dict(k=1)), ([3.0, 2.0, -1.0], dict(k=2, which="SA"))):
        left_out = found(values, **options)
        assert "stable_learning_rate" not in left_out  # neither infinite nor 1.9, where 3 diverges
        which = options.get("which", "LM")
        assert left_out.attrs["stable_learning_rate"] == (
            f'left out: the largest eigenvalue is not among the {options["k"]} that which="{which}" finds; '
            'which="LA" finds it'
        )
    assert math.isinf(found([0.0] * 6, k=2).stable_learning_rate)  # none of any magnitude, so none is positive
    assert float(found([3.0, 2.0, 1.0], k=3, which="SA").stable_learning_rate) == pytest.approx(3.8 / 3, rel=1e-8)
    assert float(found([-8.0, 2.0, 1.0], k=1, which="BE").stable_learning_rate) == pytest.approx(1.9, rel=1e-8)
    ds = found([2.0, 1.0], k=2)
    assert ds.stable_learning_rate.attrs == {
        "long_name": "largest stable learning rate for the eigenvalues found",
        "units": "1",
    }
    assert json.loads(ds.attrs["config_json"])["momentum"] == 0.9
    assert "stable_learning_rate" not in ds.attrs
    plain = found([2.0, 1.0], k=1, learning_rate=None, momentum=0.0)
    assert "stable_learning_rate" not in plain
    assert "stable_learning_rate" not in plain.attrs  # nobody asked


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(momentum=1.0), ValueError, "momentum must be at least 0 and below 1, got 1.0"),
        (dict(momentum=-0.1), ValueError, "got -0.1"),
        (dict(momentum=math.nan), ValueError, "got nan"),
        (dict(momentum="0.9"), TypeError, "momentum must be a number, got '0.9'"),
        (dict(momentum=True), TypeError, "momentum must be a number, got True"),
        (dict(momentum=0.9, learning_rate=None), TypeError, "momentum belongs to a learning rate; give learning_rate="),
    ],
)
def test_momentum_that_has_no_stable_rate_is_refused(options, error, message) -> None:
    model = nn.Linear(1, 1).double()
    data = torch.ones(2, 1).double(), torch.zeros(2, 1).double()
    with pytest.raises(error, match=message):
        hessian_spectrum(model, data, mse_loss, k=1, **({"learning_rate": 0.1} | options))
