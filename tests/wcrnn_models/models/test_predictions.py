"""The theory's predictions: their formulas, and that measurements keep to them."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import mse_loss

from lyapkit import gradient_propagation, load, lyapunov_spectrum, save
from lyapkit.results import provenance
from wcrnn_models import WCRNN, Predictions, predict, residuals
from wcrnn_models.models.baselines import LSTM, S4D, URLSTM, ResidualElman
from wcrnn_models.models.predictions import bounds, carried_back
from wcrnn_models.testing import assert_exponents_bounded


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(residual, size: int = 6, coupling=0.05, form="linear", nonlinearity="tanh", rng: int = 0) -> WCRNN:
    return WCRNN(
        2, size, 1, residual=residual, coupling=coupling, form=form, nonlinearity=nonlinearity, rng=rng,
        dtype=torch.float64,
    )  # fmt: skip


def test_exponents_are_the_log_eigenvalues_of_the_residual() -> None:
    matrix = random(6, 6)
    predictions = predict(network(matrix))
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(matrix.numpy()))))[::-1]
    np.testing.assert_allclose(predictions.exponents, expected, rtol=1e-12)
    assert predictions.rate == predictions.exponents[0]


def test_bounds_written_out() -> None:
    """Two singular values and a reach: means of the logarithms from above and from below."""
    low, high = bounds(torch.tensor([0.4, 0.9], dtype=torch.float64), 0.1)
    np.testing.assert_allclose(high, [math.log(1.0), (math.log(1.0) + math.log(0.5)) / 2], atol=1e-15)
    np.testing.assert_allclose(low, [(math.log(0.8) + math.log(0.3)) / 2, math.log(0.3)], rtol=1e-15)
    low, _ = bounds(torch.tensor([0.4, 0.9], dtype=torch.float64), 0.4)
    assert low.tolist() == [-math.inf, -math.inf]


def test_the_bounds_of_a_network_take_its_own_singular_values_and_coupling() -> None:
    gamma = torch.linspace(0.01, 0.2, 6, dtype=torch.float64)
    model = network(random(6, 6), coupling=gamma)
    predictions = predict(model)
    reach = np.linalg.norm(np.diag(gamma) @ model.recurrent.weight.detach().numpy(), ord=2)
    singular = np.linalg.svd(model.residual.matrix().numpy(), compute_uv=False)
    assert predictions.upper_bounds[0] == pytest.approx(math.log(singular[0] + reach), rel=1e-12)
    assert predictions.upper_bounds[2] == pytest.approx(np.log(singular[:3] + reach).mean(), rel=1e-12)
    floor = singular[-1] - reach
    assert predictions.lower_bounds[-1] == (pytest.approx(math.log(floor)) if floor > 0 else -math.inf)


RESIDUALS = {
    "scalar": lambda r, seed: residuals.scalar(r),
    "rotation": lambda r, seed: residuals.rotation("random", r=r, rng=seed),
    "heterogeneous": lambda r, seed: residuals.heterogeneous(r, 0.4, rng=seed),
    "orthogonal": lambda r, seed: residuals.orthogonal(r, rng=seed),
    "informed": lambda r, seed: residuals.informed(rng=seed),
    "dense": lambda r, seed: r * random(6, 6, seed=seed) / 2,
    "product": lambda r, seed: residuals.product(
        residuals.rotation("random", rng=seed), residuals.heterogeneous(r, 0.4, rng=seed + 1)
    ),
}


@given(
    st.sampled_from(sorted(RESIDUALS)), st.sampled_from(["linear", "A", "B"]), st.sampled_from(["tanh", "identity"]),
    st.floats(0.3, 1.1), st.floats(0.0, 0.4), st.integers(0, 10**6), st.floats(0.0, 20.0), st.integers(1, 40),
)  # fmt: skip
def test_every_exponent_of_every_form_keeps_to_its_bounds(
    kind: str, form: str, nonlinearity: str, r: float, coupling: float, seed: int, scale: float, steps: int
) -> None:
    """A theorem for any weights, input and number of steps: by rank, so sharper than one interval for all."""
    gamma = coupling * torch.linspace(0.5, 1.0, 6, dtype=torch.float64)
    model = network(RESIDUALS[kind](r, seed), coupling=gamma, form=form, nonlinearity=nonlinearity, rng=seed)
    predictions = predict(model)
    inputs = scale * random(steps, 2, seed=seed) if nonlinearity == "tanh" else random(steps, 2, seed=seed)
    found = assert_exponents_bounded(model, inputs).lyapunov_exponent.values[0]
    assert (found <= predictions.upper_bounds + 1e-9).all()
    assert (found >= predictions.lower_bounds - 1e-9).all()
    assert (np.diff(predictions.upper_bounds) <= 1e-12).all()
    finite = predictions.lower_bounds[np.isfinite(predictions.lower_bounds)]
    assert (np.diff(finite) <= 1e-12).all()


@given(st.floats(0.3, 1.1), st.floats(0.0, 0.4), st.integers(0, 10**6), st.integers(1, 5))
def test_upper_bounds_hold_for_leading_exponents_too(r: float, coupling: float, seed: int, k: int) -> None:
    model = network(RESIDUALS["dense"](r, seed), coupling=coupling, rng=seed)
    found = lyapunov_spectrum(model, random(25, 2, seed=seed), k=k, rng=seed).lyapunov_exponent.values[0]
    assert (found <= predict(model).upper_bounds[:k] + 1e-9).all()


def test_bounds_by_rank_are_sharp_for_uncoupled_diagonals() -> None:
    """The first upper and the last lower bound are attained."""
    predictions = predict(network(residuals.diagonal(torch.tensor([0.5, 0.9, 0.7]).double()), size=3, coupling=0.0))
    assert predictions.upper_bounds[0] == pytest.approx(predictions.exponents[0])
    assert predictions.lower_bounds[-1] == pytest.approx(predictions.exponents[-1])


def test_saturating_forms_have_no_lower_bound() -> None:
    for form, nonlinearity, bounded in (("A", "tanh", False), ("B", "tanh", False), ("B", "identity", True)):
        predictions = predict(network(residuals.scalar(0.9), form=form, nonlinearity=nonlinearity))
        assert np.isfinite(predictions.lower_bounds).all() == bounded
        assert np.isfinite(predictions.upper_bounds).all()


@pytest.mark.parametrize(
    ("residual", "regime"),
    [
        (residuals.scalar(0.995), "subcritical"),
        (residuals.scalar(1.0), "critical"),
        (residuals.scalar(1.0025), "supercritical"),
        (residuals.scalar(-1.01), "supercritical"),
        (residuals.rotation("random", rng=0), "critical"),
        (residuals.orthogonal(rng=0), "critical"),
        (residuals.heterogeneous(0.96, 0.1, rng=0), "supercritical"),
        (residuals.informed(rng=0), "subcritical"),
    ],
    ids=["below", "one", "above", "negative", "rotation", "orthogonal", "heterogeneous", "informed"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_regimes(residual, regime: str, dtype: torch.dtype) -> None:
    """By the largest |eigenvalue| (section 3); rounding does not make a rotation subcritical."""
    model = WCRNN(1, 100, 1, residual=residual, rng=0, dtype=dtype)
    assert predict(model).regime == regime


def test_gradient_norms_of_uncoupled_networks_are_exactly_those_of_eq_15() -> None:
    inputs, targets = random(30, 3, 2), random(3, 1)
    for residual in (residuals.scalar(0.93), residuals.rotation("random", r=1.04, rng=0)):
        model = network(residual, coupling=0.0)
        norms = gradient_propagation(model, inputs, targets, mse_loss).gradient_norm.sel(norm="2").values
        back = np.arange(29, -1, -1)
        np.testing.assert_allclose(predict(model).gradient_norm(norms[:, -1:], back), norms, rtol=1e-10)


def test_carried_back_is_the_whole_of_eq_15_for_any_residual() -> None:
    matrix, inputs, targets = random(6, 6) / 3, random(12, 2, 2), random(2, 1)
    model = network(matrix, coupling=0.0)
    state = model.states(inputs)[-1].detach().requires_grad_()
    (last,) = torch.autograd.grad(mse_loss(model.readout(state), targets), state)
    vectors = carried_back(model.residual, last, 11)
    assert vectors.shape == (12, 2, 6)
    expected = torch.linalg.matrix_power(matrix.T, 4) @ last[1]
    torch.testing.assert_close(vectors[4, 1], expected, rtol=1e-12, atol=1e-15)
    norms = gradient_propagation(model, inputs, targets, mse_loss).gradient_norm.sel(norm="2").values
    np.testing.assert_allclose(vectors.flip(0).norm(dim=-1).T, norms, rtol=1e-9)


def test_the_error_of_eq_15_is_of_the_order_of_the_coupling() -> None:
    inputs, targets, errors = random(20, 2, 2), random(2, 1), []
    for coupling in (0.02, 0.01):
        model = network(residuals.rotation(0.3, r=0.95), coupling=coupling)
        norms = gradient_propagation(model, inputs, targets, mse_loss).gradient_norm.sel(norm="2").values
        predicted = predict(model).gradient_norm(norms[:, -1:], np.arange(19, -1, -1))
        errors.append(float(np.abs(norms / predicted - 1).max()))
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert errors[0] < 0.5


def test_curvature_weights_of_eq_14() -> None:
    """For a linear network with R = r I, coupling to the input alone, and a quadratic loss, the Hessian is a sum over
    pairs of steps with exactly these weights."""
    r, gamma, steps = 0.8, 0.1, 6
    model = WCRNN(
        1, 1, 1, residual=residuals.scalar(r), coupling=gamma, nonlinearity="identity", rng=0, dtype=torch.float64
    )
    with torch.no_grad():
        model.recurrent.weight.zero_()
    inputs = random(steps, 1)

    def loss(weight: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(model, {**dict(model.named_parameters()), "input.weight": weight}, inputs)
        return output.square().sum() / 2

    hessian = torch.autograd.functional.hessian(loss, model.input.weight.detach()).item()
    back = np.arange(steps - 1, -1, -1)
    weights = predict(model).curvature_weight(back[:, None], back[None, :])
    s = inputs[:, 0].numpy()
    readout = model.readout.weight.item()
    assert hessian == pytest.approx(readout**2 * gamma**2 * (weights * np.outer(s, s)).sum(), rel=1e-12)
    np.testing.assert_allclose(predict(model).curvature_weight(back), np.diag(weights), rtol=1e-14)


def test_an_elman_network_with_identity_residual() -> None:
    model = ResidualElman(2, 6, 1, rng=0, dtype=torch.float64)
    predictions = predict(model)
    assert predictions.regime == "critical"
    assert (predictions.exponents == 0).all()
    reach = np.linalg.norm(model.recurrent.weight.detach().numpy(), ord=2)
    assert predictions.upper_bounds[0] == pytest.approx(math.log(1 + reach))
    twin = predict(network(residuals.scalar(1.0), coupling=1.0))
    np.testing.assert_allclose(predictions.upper_bounds[0], twin.upper_bounds[0], rtol=0.5)
    found = lyapunov_spectrum(model, random(30, 2)).lyapunov_exponent.values[0]
    assert (found <= predictions.upper_bounds).all()


def test_s4d_is_predicted_exactly_and_gated_networks_not_at_all() -> None:
    model = S4D(1, 3, 1, modes=2, rng=0, dtype=torch.float64)
    predictions = predict(model)
    np.testing.assert_array_equal(predictions.exponents, model.exponents())
    assert predictions.regime == "subcritical"
    assert np.isposinf(predictions.upper_bounds).all()
    assert np.isneginf(predictions.lower_bounds).all()
    assert predict(LSTM(1, 3, 1)) is None
    assert predict(URLSTM(1, 3, 1)) is None


def test_they_survive_a_file(tmp_path) -> None:
    for model in (network(residuals.heterogeneous(0.9, 0.3, rng=0)), S4D(1, 2, 1, modes=2)):
        predictions = predict(model)
        dataset = predictions.to_dataset().assign_attrs(provenance({}, dtype=torch.float64, device=torch.device("cpu")))
        path = save(dataset, tmp_path / "predictions.nc")
        again = Predictions.from_dataset(load(path))
        for name in ("exponents", "lower_bounds", "upper_bounds"):
            np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))
        assert again.regime == predictions.regime


def test_refusals() -> None:
    with pytest.raises(ValueError, match="holds no predictions: it lacks residual_log_magnitude, exponent_lower_bound"):
        Predictions.from_dataset(xr.Dataset())
    with pytest.raises(ValueError, match="holds no predictions: it lacks a known regime"):
        Predictions.from_dataset(predict(network(residuals.scalar(1.0))).to_dataset().assign_attrs(regime="hot"))
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        carried_back(residuals.scalar(1.0).build(2), torch.ones(2), -1)
    for reach in (-0.1, math.nan):
        with pytest.raises(ValueError, match="reach must be at least 0"):
            bounds(torch.ones(2), reach)
