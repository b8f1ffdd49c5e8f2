"""What steps contribute to the gradients of parameters, and the derivatives of single units."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

from lyapkit import as_map, gradient_propagation
from lyapkit.gradients.adjoint import adjoint_sweep
from lyapkit.trajectories.checkpointed import checkpointed
from lyapkit.trajectories.prepare_drive import prepare_drive

STEPS, BATCH = 11, 4


def squares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean()


def case(kind: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(2, 3, num_layers=2).double()
    return layer, nn.Linear(3, 2).double(), torch.randn(STEPS, BATCH, 2).double()


def contributions_by_copies(
    layer: nn.Module, readout: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, every: bool
) -> dict[str, torch.Tensor]:
    """Each step with a copy of the parameters of its own, differentiated by itself: name to (T, *shape)."""
    copies = {
        name: parameter.detach().expand(STEPS, *parameter.shape).clone().requires_grad_()
        for module, prefix in ((layer, ""), (readout, "readout."))
        for name, parameter in ((prefix + key, value) for key, value in module.named_parameters())
    }
    hidden, outputs = None, []
    for t, input in enumerate(inputs):
        own = {name: copy[t] for name, copy in copies.items()}
        emitted, hidden = functional_call(
            layer, {k: v for k, v in own.items() if not k.startswith("readout.")}, (input[None], hidden)
        )
        weights = {k.removeprefix("readout."): v for k, v in own.items() if k.startswith("readout.")}
        outputs.append(functional_call(readout, weights, (emitted[0],)))
    value = squares(torch.stack(outputs) if every else outputs[-1], targets)
    found = torch.autograd.grad(value, list(copies.values()))
    return dict(zip(copies, found, strict=True))


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_contributions_and_their_sum_against_copies_of_the_parameters(kind: str, every: bool) -> None:
    layer, readout, inputs = case(kind)
    targets = torch.randn(*((STEPS,) if every else ()), BATCH, 2, dtype=torch.float64)
    expected = contributions_by_copies(layer, readout, inputs, targets, every)
    ds = gradient_propagation(
        layer, inputs, targets, squares, readout=readout, loss_on="every" if every else "last",
        parameter_gradients=True, exponent=False,
    )  # fmt: skip
    assert ds.parameter_tensor.values.tolist() == list(expected)
    for name, steps in expected.items():
        found = np.exp(ds.log_parameter_gradient_norm.sel(parameter_tensor=name).values)
        norms = torch.linalg.vector_norm(steps.flatten(1), dim=1)
        np.testing.assert_allclose(found, norms, rtol=1e-10, atol=1e-15)
    # the sum is the gradient that training sees
    outputs, _ = layer(inputs)
    squares(readout(outputs if every else outputs[-1]), targets).backward()
    for name, parameter in [*layer.named_parameters(), *((f"readout.{k}", v) for k, v in readout.named_parameters())]:
        total = float(np.exp(ds.log_total_gradient_norm.sel(parameter_tensor=name)))
        assert total == pytest.approx(float(parameter.grad.norm()), rel=1e-10)


def test_contributions_sum_as_vectors_to_the_gradient() -> None:
    layer, readout, inputs = case("GRU")
    map = as_map(layer)
    run = checkpointed(map, prepare_drive(map, inputs, None, None))
    final = run.final.requires_grad_()
    (last,) = torch.autograd.grad(readout(map.output(final)).square().sum(), final)
    tensors = list(layer.parameters())
    sums = [torch.zeros_like(tensor).flatten() for tensor in tensors]
    for arrived in adjoint_sweep(map, run.parts, lambda step, x: last if step == STEPS else None, tensors):
        for total, part in zip(sums, arrived.parameters, strict=True):
            total += part.log_scale.exp() * part.vector[0]
    readout(layer(inputs)[0][-1]).square().sum().backward()
    for total, tensor in zip(sums, tensors, strict=True):
        torch.testing.assert_close(total, tensor.grad.flatten(), rtol=1e-10, atol=1e-14)


class Scaling(nn.Module):
    """x' = a x, unit by unit."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return self.factor * state


def test_neither_underflows() -> None:
    """x_t = a^t x_0, L = w . x_T: dL/dx_t = a^(T-t) w, and every step contributes a^(T-1) w . x_0 to dL/da."""
    a, steps = 0.5, 2500
    start = torch.tensor([[3.0, -1.0], [1.0, 1.0]]).double()
    ds = gradient_propagation(
        as_map(Scaling(a), state=start[0]), None, torch.tensor([2.0, -4.0]).double(), lambda o, y: (o * y).sum(),
        readout=nn.Identity(), steps=steps, initial_state=start, per_unit=True, record_every=1000, exponent=False,
        parameter_gradients=True, norms=2,
    )  # fmt: skip
    assert ds.recorded_step.values.tolist() == [1000, 2000, 2500]
    decay = (steps - ds.recorded_step.values) * math.log(a)
    expected = decay[None, :, None] + np.log([2.0, 4.0])
    np.testing.assert_allclose(ds.log_unit_gradient, np.broadcast_to(expected, (2, 3, 2)), rtol=1e-12)
    assert (ds.unit_gradient_sign == np.array([1, -1])).all()
    # x_{t-1} underflows after 1075 steps, and so does what it contributes; before that the log scale carries it
    found = ds.log_parameter_gradient_norm.values[0]
    np.testing.assert_allclose(found[:1000], (steps - 1) * math.log(a) + np.log(10 - 2), rtol=1e-12)
    assert (found[1200:] == -np.inf).all()


def test_units_agree_with_the_norms_and_have_names() -> None:
    layer, readout, inputs = case("LSTM")
    targets = torch.zeros(BATCH, 2).double()
    ds = gradient_propagation(layer, inputs, targets, squares, readout=readout, per_unit=True, record_every=3)
    assert ds.recorded_step.values.tolist() == [3, 6, 9, 11]
    assert ds.unit.values[[0, 5, 6]].tolist() == ["layer0.h[0]", "layer0.c[2]", "layer1.h[0]"]
    values = ds.unit_gradient_sign * np.exp(ds.log_unit_gradient)
    norms = np.sqrt((values**2).sum("unit"))
    np.testing.assert_allclose(norms, ds.gradient_norm.sel(norm="2", step=[3, 6, 9, 11]), rtol=1e-12)
    # at the last step only the emitted state of the last layer is read
    last = values.sel(recorded_step=11)
    assert (last.sel(unit=[name for name in ds.unit.values if not name.startswith("layer1.h")]) == 0).all()
    outputs, _ = layer(inputs)
    outputs.retain_grad()
    squares(readout(outputs[-1]), targets).backward()
    np.testing.assert_allclose(last.values[:, 6:9], outputs.grad[-1], rtol=1e-11)
    assert not {"unit", "recorded_step"} & set(
        gradient_propagation(layer, inputs, targets, squares, readout=readout).dims
    )


def test_frozen_parameters_are_left_out() -> None:
    layer, readout, inputs = case("RNN")
    layer.weight_hh_l0.requires_grad_(False)
    ds = gradient_propagation(
        layer, inputs, torch.zeros(BATCH, 2).double(), squares, readout=readout, parameter_gradients=True
    )
    names = ds.parameter_tensor.values.tolist()
    assert "weight_hh_l0" not in names
    assert {"weight_ih_l0", "readout.weight"} <= set(names)
    for parameter in [*layer.parameters(), *readout.parameters()]:
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters that require gradients"):
        gradient_propagation(
            layer, inputs, torch.zeros(BATCH, 2).double(), squares, readout=readout, parameter_gradients=True
        )


def test_unequal_lengths_need_a_readout_of_one_tensor() -> None:
    model, inputs, targets = nn.GRU(2, 3).double(), torch.rand(5, 2, 2).double(), torch.rand(2, 3).double()
    with pytest.raises(TypeError, match=r"^parameter_gradients with lengths= needs a readout that returns one tensor"):
        gradient_propagation(
            model, inputs, targets, lambda outputs, t: ((outputs[0] - t) ** 2).mean(),
            readout=lambda hidden: (hidden, hidden), lengths=[5, 3], parameter_gradients=True,
        )  # fmt: skip


@pytest.mark.parametrize("norms", [None, 3 + 2j])
def test_norms_must_be_named(norms) -> None:
    model, inputs, targets = nn.GRU(2, 3).double(), torch.rand(5, 2, 2).double(), torch.rand(2, 3).double()
    with pytest.raises(TypeError, match=rf"^norms must name one or more norms, .*; got {re.escape(repr(norms))}\.$"):
        gradient_propagation(model, inputs, targets, mse_loss, readout=nn.Identity(), norms=norms)
