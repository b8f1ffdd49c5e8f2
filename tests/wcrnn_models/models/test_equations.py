"""Every place for tanh, and a residual that nobody has thought of: each is written once and works everywhere."""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lyapkit import as_map
from lyapkit.testing import check_map
from wcrnn_models import WCRNN, predict, residuals
from wcrnn_models.models.equations import FORMS, Equation, equation
from wcrnn_models.models.residuals import Residual
from wcrnn_models.training.adjoint import fast_forward
from wcrnn_models.training.adjoint.fused import fused_kernel_fits, shared_memory
from wcrnn_models.training.adjoint.products import DenseProduct, stacked_product

EQUATIONS = [Equation(*places) for places in itertools.product((False, True), repeat=3)]
RESIDUALS = {
    "scalar": residuals.scalar(0.9),
    "informed": residuals.informed(rng=0),
    "orthogonal": residuals.orthogonal(0.9, rng=1),
}


def network(residual) -> WCRNN:
    return WCRNN(2, 6, 3, residual=residual, coupling=torch.linspace(0.2, 0.6, 6), rng=0, dtype=torch.float64)


def check_training(model: WCRNN) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(19, 4, 2, generator=generator, dtype=torch.float64)
    targets = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    forward = fast_forward(model)
    assert forward is not model
    found, expected = (
        torch.autograd.grad((outputs - targets).square().mean(), list(model.parameters()))
        for outputs in (forward(inputs), model(inputs))
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13 * float(other.abs().max()))


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("given", EQUATIONS, ids=str)
def test_steps_derivatives_and_training_are_made_of_the_equation(monkeypatch, given, residual) -> None:
    monkeypatch.setattr(WCRNN, "equation", given)
    model = network(RESIDUALS[residual])
    x, s = (np.random.default_rng(0).normal(size=size) for size in (6, 2))
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters()}
    drive = parameters["recurrent.weight"] @ x + parameters["recurrent.bias"]
    drive += parameters["input.weight"] @ s + parameters["input.bias"]
    carried = model.residual.matrix().numpy() @ x
    carried = np.tanh(carried) if given.carried else carried
    expected = carried + model.coupling.numpy() * (np.tanh(drive) if given.drive else drive)
    expected = np.tanh(expected) if given.total else expected
    step = model.step(torch.tensor(x), torch.tensor(s)).detach().numpy()
    np.testing.assert_allclose(step, expected, rtol=1e-13, atol=1e-15)
    assert as_map(model).cell_derivatives() is not None
    check_map(as_map(model))
    check_training(model)


def test_the_forms_are_those_of_the_paper() -> None:
    assert dict(FORMS) == {
        "linear": Equation(drive=True), "A": Equation(carried=True, drive=True), "B": Equation(total=True)
    }  # fmt: skip
    assert {equation(form, "identity") for form in FORMS} == {Equation()}
    assert [each for each in EQUATIONS if each.is_linear] == [Equation(), Equation(drive=True)]


class Shifted(Residual):
    """R x = 0.9 x, shifted by one unit; it says nothing of its structure."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("r", torch.tensor(0.9, dtype=torch.float64))

    def forward(self, state):
        return self.r * state.roll(1, -1)


def test_a_residual_needs_no_more_than_its_product_with_a_state() -> None:
    model = network(Shifted(6))
    shift = np.roll(np.eye(6), 1, axis=0)
    np.testing.assert_array_equal(model.residual.matrix(), 0.9 * shift)
    roots = np.exp(2j * np.pi * np.arange(6) / 6)
    distance = abs(model.residual.eigenvalues().numpy()[:, None] - 0.9 * roots)
    assert distance.min(axis=0).max() < 1e-14
    np.testing.assert_allclose(predict(model).exponents, np.log(0.9), rtol=1e-13)
    assert as_map(model).cell_derivatives() is not None
    check_map(as_map(model))
    check_training(model)
    assert isinstance(stacked_product([model.residual, copy.deepcopy(model.residual)]), DenseProduct)


class Stretched(Shifted):
    """A diagonal that says so."""

    def forward(self, state):
        return self.diagonal() * state

    def diagonal(self):
        return self.r * torch.linspace(0.5, 1.0, self.size, dtype=self.r.dtype, device=self.r.device)


def test_a_residual_that_says_it_is_diagonal_is_taken_at_its_word(monkeypatch) -> None:
    model = network(Stretched(6))
    entries = 0.9 * np.linspace(0.5, 1.0, 6)
    np.testing.assert_array_equal(model.residual.matrix(), np.diag(entries))
    np.testing.assert_array_equal(model.residual.eigenvalues(), entries)
    (cell,) = as_map(model).cell_derivatives()
    assert cell.pointwise.preactivations == 1
    assert as_map(model).cell_derivatives() is not None
    check_map(as_map(model))
    check_training(model)

    class Weight(list):  # what is asked of a weight on a GPU
        is_cuda, dtype, device = True, torch.float32, "cuda"

    memory = shared_memory(6, "diagonal")
    device = SimpleNamespace(major=9, minor=0, shared_memory_per_block_optin=memory)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    asked = {"recurrent": SimpleNamespace(weight=Weight([0.0] * 6)), "equation": Equation(drive=True)}
    assert fused_kernel_fits([SimpleNamespace(residual=model.residual, **asked)])
    assert not fused_kernel_fits([SimpleNamespace(residual=Shifted(6), **asked)])
