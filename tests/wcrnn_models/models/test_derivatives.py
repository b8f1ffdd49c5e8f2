"""The derivatives a WCRNN registers, the curvature products made of them, and the orders of eqs. (12) and (14)."""

import json

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss

from lyapkit import as_map, curvature_by_step, hessian_spectrum
from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.curvature.recurrent.products import recurrent_products
from lyapkit.losses.unrolled import UnrolledNetwork
from lyapkit.testing import check_map
from wcrnn_models import WCRNN, residuals
from wcrnn_models.models.predictions import carried_back

RESIDUALS = {
    "scalar": residuals.scalar(0.95),
    "heterogeneous": residuals.heterogeneous(0.9, 0.2, rng=1),
    "rotation": residuals.rotation(0.3, r=0.98),
    "orthogonal": residuals.orthogonal(0.9, rng=2),
    "informed": residuals.informed(rng=3),
    "product": residuals.product(residuals.rotation("random", rng=4), residuals.heterogeneous(0.9, 0.1, rng=5)),
    "dense": torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3,
}


def network(residual, form="linear", nonlinearity="tanh", coupling=0.5) -> WCRNN:
    return WCRNN(
        2, 4, 3, residual=residual, form=form, nonlinearity=nonlinearity, coupling=coupling, rng=0, dtype=torch.float64
    )


@pytest.mark.parametrize("form", ["linear", "A", "B"])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_derivatives_are_those_of_the_step(residual: str, form: str) -> None:
    networks = [network(RESIDUALS[residual], form, nonlinearity) for nonlinearity in ("tanh", "identity")]
    for model in (*networks, network(RESIDUALS[residual], form, coupling=torch.linspace(0.1, 0.7, 4))):
        assert as_map(model).cell_derivatives() is not None
        check_map(as_map(model))


@pytest.mark.parametrize("form", ["linear", "A", "B"])
@pytest.mark.parametrize("residual", ["scalar", "heterogeneous", "rotation"])
def test_products_equal_double_backward(residual: str, form: str) -> None:
    model = network(RESIDUALS[residual], form)
    unrolled = UnrolledNetwork(as_map(model), model.readout)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 5, 2, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (5,), generator=generator)
    batch = [(inputs[:, :3], targets[:3]), (inputs[:, 3:], targets[3:])]
    objective = WeightedLoss(unrolled, dict(unrolled.named_parameters()), batch, [0.6, 0.4], cross_entropy)
    fast = recurrent_products(objective)
    assert fast is not None
    block = torch.randn(objective.size, 3, generator=generator, dtype=torch.float64)
    for operator in ("hessian", "ggn", "residual"):
        expected = objective.product(operator)(block)
        found = fast.product(operator)(block)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def test_only_linear_residuals_have_a_weak_coupling_form() -> None:
    linear = {
        (form, nonlinearity): as_map(network(RESIDUALS["scalar"], form, nonlinearity)).cell_derivatives()
        for form in ("linear", "A", "B")
        for nonlinearity in ("tanh", "identity")
    }
    assert {key for key, (cell,) in linear.items() if cell.pointwise.linear_residual} == {
        ("linear", "tanh"),
        ("linear", "identity"),
        ("A", "identity"),
        ("B", "identity"),
    }


def test_the_module_itself_takes_the_fast_route() -> None:
    """Unless it does more than its map and its readout."""
    model = network(RESIDUALS["scalar"])
    batch = torch.randn(6, 4, 2).double(), torch.randn(4, 3).double()
    own = hessian_spectrum(model, batch, mse_loss, k=3, rng=0)
    mapped = hessian_spectrum(as_map(model), batch, mse_loss, k=3, rng=0)
    assert json.loads(own.attrs["config_json"])["by_recursion"]
    np.testing.assert_allclose(own.eigenvalue, mapped.eigenvalue, rtol=1e-12)
    handle = model.register_forward_hook(lambda module, inputs, output: 2 * output)
    hooked = hessian_spectrum(model, batch, mse_loss, k=3, rng=0)
    assert not json.loads(hooked.attrs["config_json"])["by_recursion"]
    handle.remove()
    objective = WeightedLoss(model, dict(model.named_parameters()), [batch], [1.0], mse_loss)
    assert recurrent_products(objective) is not None
    unbatched = WeightedLoss(model, objective.parameters, [(batch[0][:, 0], batch[1][0])], [1.0], mse_loss)
    assert recurrent_products(unbatched) is None


def test_subclasses_and_parametrised_weights_do_without() -> None:
    class Changed(WCRNN):
        pass

    model = Changed(1, 4, 1, residual=residuals.scalar(0.9), rng=0)
    assert as_map(model).cell_derivatives() is None
    model = network(RESIDUALS["scalar"])
    torch.nn.utils.parametrizations.weight_norm(model.recurrent)
    assert as_map(model).cell_derivatives() is None


@pytest.mark.parametrize("residual", ["scalar", "rotation", "dense"])
def test_the_weak_coupling_form_has_an_error_of_third_order(residual: str) -> None:
    """Eq. (14): gamma^3 between steps, gamma^2 between steps and the readout, with coefficients that are not zero."""
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(8, 5, 2, generator=generator).double(), torch.randn(5, 3, generator=generator).double()
    direction = hessian_spectrum(network(RESIDUALS[residual]), batch, mse_loss, k=1, eigenvectors=True, rng=0)
    between, with_readout = [], []
    for coupling in 2.0 ** -np.arange(9, 14):
        model = network(RESIDUALS[residual], coupling=coupling)
        with pytest.warns(UserWarning, match="eigenvectors of other weights"):  # on purpose: one direction for all
            ds = curvature_by_step(model, batch, mse_loss, operator="ggn", k=1, bins=4, eigenvectors=direction)
        error = abs(ds.weak_coupling_curvature - ds.step_to_step_curvature)[0].values
        between.append(error[:-1, :-1].max())
        with_readout.append(error[-1, :-1].max())
        assert error[-1, -1] <= 1e-14  # the readout reads the same states
    np.testing.assert_allclose(-np.diff(np.log2(between)), 3, atol=0.05)
    np.testing.assert_allclose(-np.diff(np.log2(with_readout)), 2, atol=0.05)


def test_the_weak_coupling_form_is_eq_14() -> None:
    """The double sum word for word, with J_w(f^k) by automatic differentiation of one step and R^(D-k) as a power."""
    model = network(RESIDUALS["rotation"], coupling=0.05)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 1, 2, generator=generator).double()
    targets = torch.randn(1, 3, generator=generator).double()
    names = ["recurrent.weight", "recurrent.bias", "input.weight", "input.bias"]
    options = dict(k=1, operator="ggn", parameters=names)
    direction = hessian_spectrum(model, (inputs, targets), mse_loss, eigenvectors=True, rng=0, **options)
    ds = curvature_by_step(model, (inputs, targets), mse_loss, bins=4, eigenvectors=direction, **options)
    vector = torch.tensor(direction.eigenvector.values[:, 0])
    shapes = [model.get_parameter(name).shape for name in names]
    tangents = [
        part.reshape(shape) for part, shape in zip(vector.split([s.numel() for s in shapes]), shapes, strict=True)
    ]
    state, pushed = torch.zeros(1, 4).double(), []
    for step, input in enumerate(inputs):

        def advance(*weights, state=state, input=input):
            current = {f"model.{name}": weight for name, weight in zip(names, weights, strict=True)}
            return functional_call(Step(model), current, (state, input))

        _, moved = torch.func.jvp(advance, tuple(model.get_parameter(n).detach() for n in names), tuple(tangents))
        power = torch.linalg.matrix_power(model.residual.matrix(), len(inputs) - 1 - step)
        pushed.append(power @ moved[0])
        state = model.step(state, input).detach()
    curvature = torch.func.hessian(lambda x: mse_loss(model.readout(x), targets[0]))(state[0])
    vectors = torch.stack(pushed)
    expected = (vectors @ curvature @ vectors.T).detach().numpy()
    np.testing.assert_allclose(ds.weak_coupling_curvature[0, :-1, :-1], expected, rtol=1e-10, atol=1e-14)


def unit_at_rest(r: float, coupling: float, weight: float) -> WCRNN:
    """One unit without input that stays at zero, where J = r + gamma w at every step."""
    model = WCRNN(1, 1, 1, residual=residuals.scalar(r), coupling=coupling, rng=0, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recurrent.weight.fill_(weight)
        model.readout.weight.fill_(1.0)
    return model


@pytest.mark.parametrize("steps", [1, 2, 30, 784])
@pytest.mark.parametrize(("r", "weight"), [(1.0025, 0.4), (0.95, 0.4), (0.995, -0.4)])
def test_the_error_of_the_weak_coupling_form_compounds_with_the_steps(steps: int, r: float, weight: float) -> None:
    """By value: eq. (14) misses (1 + gamma w / r)^((D-k) + (D-m)) for the steps k and m, and eq. (15) its root."""
    model, coupling = unit_at_rest(r, 0.01, weight), 0.01
    batch = torch.zeros(steps, 1, 1).double(), torch.zeros(1, 1).double()
    options = dict(k=1, operator="ggn", parameters="recurrent.bias", rng=0)
    ds = curvature_by_step(model, batch, mse_loss, bins=steps, **options)
    back = steps - np.arange(1, steps + 1)
    pairs = back[:, None] + back
    measured, weak = ds.step_to_step_curvature[0, :-1, :-1], ds.weak_coupling_curvature[0, :-1, :-1]
    jacobian = r + coupling * weight
    np.testing.assert_allclose(measured, 2 * coupling**2 * jacobian**pairs, rtol=1e-9)  # the loss is the square
    np.testing.assert_allclose(weak / measured, (1 + coupling * weight / r) ** -pairs.astype(float), rtol=1e-9)
    whole = (sum(r**j for j in range(steps)) / sum(jacobian**j for j in range(steps))) ** 2
    assert float(weak.sum() / measured.sum()) == pytest.approx(whole, rel=1e-9)
    gradient = torch.tensor([1.0])
    by_residual = carried_back(model.residual, gradient, steps - 1)[-1].item()
    assert by_residual / jacobian ** (steps - 1) == pytest.approx((1 + coupling * weight / r) ** (1 - steps), rel=1e-9)
    if (steps, r) == (784, 1.0025):
        assert float(weak[0, 0] / measured[0, 0]) < 0.01  # a coupling of 1 % is no error of 1 %


def test_the_product_of_jacobians_deviates_within_the_bound_that_compounds() -> None:
    """|J_t ... J_1 - R^t| <= (r + kappa)^t - r^t, and after many steps more than half of it for a unit at rest."""
    r, coupling = 0.98, 0.02
    model = WCRNN(2, 6, 1, residual=residuals.rotation(phi=0.4, r=r), coupling=coupling, rng=0, dtype=torch.float64)
    reach = coupling * torch.linalg.matrix_norm(model.recurrent.weight.detach(), ord=2).item()
    inputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double()
    state, product, power = torch.zeros(6).double(), torch.eye(6).double(), torch.eye(6).double()
    residual = model.residual.matrix().double()
    for step, input in enumerate(inputs, start=1):
        product = torch.autograd.functional.jacobian(lambda x, input=input: model.step(x, input), state) @ product
        power = residual @ power
        state = model.step(state, input).detach()
        deviation = torch.linalg.matrix_norm(product - power, ord=2).item()
        assert 0 < deviation <= (r + reach) ** step - r**step + 1e-12
    assert deviation > r**step  # after 200 steps the power of R is not even the larger part


class Step(torch.nn.Module):
    def __init__(self, model: WCRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, state, input):
        return self.model.step(state, input)
