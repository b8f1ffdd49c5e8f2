"""`gradient_propagation` against closed forms and an explicit per-step float64 reference."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from lyapkit import as_map, gradient_propagation, systems
from references import matrix_with_spectrum, random_orthogonal


def sum_of_outputs(outputs, targets):
    return (outputs * targets).sum()


def reference_gradients(step, readout, loss, inputs, targets, size, every=False):
    """dL/dx_t for all t, shape (T, B, N), by perturbing each state: x_t = f(x_{t-1}, s_t) + epsilon_t."""
    batch = inputs.shape[1]
    perturbations = torch.zeros(len(inputs), batch, size, dtype=torch.float64, requires_grad=True)
    state = torch.zeros(batch, size, dtype=torch.float64)
    outputs = []
    for t, input in enumerate(inputs):
        state = step(state, input) + perturbations[t]
        outputs.append(readout(state))
    value = loss(torch.stack(outputs) if every else outputs[-1], targets)
    return torch.autograd.grad(value, perturbations)[0]


def lstm_step(lstm, state, input):
    """The module's own step for two layers of flat (h, c) states."""
    hidden = lstm.hidden_size
    parts = state.reshape(len(state), lstm.num_layers, 2, hidden).permute(2, 1, 0, 3)
    _, (h, c) = lstm(input[None], (parts[0].contiguous(), parts[1].contiguous()))
    return torch.stack((h, c)).permute(2, 1, 0, 3).reshape(state.shape)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lstm_against_perturbed_states(every: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lstm, readout = nn.LSTM(2, 4, num_layers=2).double(), nn.Linear(4, 3).double()
    inputs = torch.randn(25, 6, 2).double()
    targets = torch.randn(25, 6, 3).double() if every else torch.randint(3, (6,))
    loss = mse_loss if every else cross_entropy
    expected = reference_gradients(
        lambda x, s: lstm_step(lstm, x, s), lambda x: readout(x[:, 8:12]), loss, inputs, targets, 16, every
    )
    ds = gradient_propagation(
        lstm.to(dtype),
        inputs.to(dtype),
        targets.to(dtype) if every else targets,
        loss,
        readout=readout.to(dtype),
        norms=("inf", 2, 1),
        loss_on="every" if every else "last",
    )
    tolerance = 1e-11 if dtype == torch.float64 else 2e-4
    for norm, order in (("inf", math.inf), ("2", 2), ("1", 1)):
        reference = torch.linalg.vector_norm(expected, ord=order, dim=-1).T
        np.testing.assert_allclose(ds.gradient_norm.sel(norm=norm), reference, rtol=tolerance)
        np.testing.assert_allclose(ds.log_gradient_norm.sel(norm=norm), reference.log(), atol=tolerance)


def test_retain_grad_on_a_fused_layer_is_not_the_total_derivative() -> None:
    """The trap that this analysis avoids: the layer's output is not on the recurrent path."""
    torch.manual_seed(0)
    rnn, readout = nn.RNN(1, 3).double(), nn.Linear(3, 1).double()
    inputs, targets = torch.randn(6, 2, 1).double(), torch.randn(2, 1).double()
    outputs, _ = rnn(inputs)
    outputs.retain_grad()
    mse_loss(readout(outputs[-1]), targets).backward()
    assert (outputs.grad[:-1] == 0).all()
    ds = gradient_propagation(rnn, inputs, targets, mse_loss, readout=readout)
    assert (ds.gradient_norm > 0).all()
    np.testing.assert_allclose(
        ds.gradient_norm.sel(norm="2", step=6), torch.linalg.vector_norm(outputs.grad[-1], dim=-1)
    )


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.05])
def test_scaled_orthogonal_network_has_slope_log_r(rate: float) -> None:
    matrix = rate * random_orthogonal(8, 2)
    map = as_map(lambda x: matrix @ x, state=torch.ones(8, dtype=torch.float64))
    ds = gradient_propagation(map, None, torch.ones(1, 8), sum_of_outputs, readout=nn.Identity(), steps=400)
    two, largest = ds.sel(norm="2", trajectory=0), ds.sel(norm="inf", trajectory=0)
    np.testing.assert_allclose(two.log_gradient_norm, math.log(math.sqrt(8)) + math.log(rate) * np.arange(399, -1, -1))
    assert float(two.growth_rate) == pytest.approx(math.log(rate), abs=1e-13)
    assert float(two.growth_rate_error) < 1e-13
    # the largest component fluctuates between the 2-norm and 1/sqrt(N) of it
    ratio = largest.log_gradient_norm - two.log_gradient_norm
    assert float(ratio.max()) <= 1e-12
    assert float(ratio.min()) >= -math.log(math.sqrt(8)) - 1e-12
    assert abs(float(largest.growth_rate) - math.log(rate)) < 4 * float(largest.growth_rate_error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_underflows_over_ten_thousand_steps(dtype: torch.dtype) -> None:
    map = as_map(lambda x: 0.5 * x, state=torch.ones(2, dtype=dtype))
    ds = gradient_propagation(
        map, None, torch.ones(1, 2), sum_of_outputs, readout=nn.Identity(), steps=10_000, exponent=False
    )
    log_norm = ds.log_gradient_norm.sel(norm="inf", trajectory=0).values
    np.testing.assert_allclose(log_norm, math.log(0.5) * np.arange(9_999, -1, -1), rtol=1e-12)
    assert ds.growth_rate.sel(norm="inf").item() == pytest.approx(math.log(0.5), abs=1e-12)
    assert ds.gradient_norm.sel(norm="inf", trajectory=0).values[0] == 0  # outside float64, and said so


def test_scalar_linear_network() -> None:
    """h_t = a h_{t-1} + b x_t, L = (c h_T - y)^2 / 2: dL/dh_t = (c h_T - y) c a^(T-t)."""
    a, b, c, steps = 0.93, 0.4, 1.7, 60
    map = as_map(
        lambda h, x: a * h + b * x,
        state=torch.zeros(1, dtype=torch.float64),
        input=torch.zeros(1, dtype=torch.float64),
    )
    inputs = torch.zeros(steps, 1, 1, dtype=torch.float64)
    inputs[0] = 1.0
    target = torch.tensor([[0.2]], dtype=torch.float64)
    ds = gradient_propagation(
        map, inputs, target, lambda o, y: 0.5 * ((o - y) ** 2).sum(), readout=lambda h: c * h, norms=("inf",)
    )
    final = c * b * a ** (steps - 1) - 0.2
    expected = abs(final) * c * a ** np.arange(steps - 1, -1, -1.0)
    np.testing.assert_allclose(ds.gradient_norm.values[0, 0], expected, rtol=1e-12)


def test_periodic_product_decays_at_the_leading_floquet_exponent() -> None:
    period = [matrix_with_spectrum([1.2, 0.5, 0.3], [], seed=seed, skew=20.0) for seed in (1, 2, 3)]
    expected = float(torch.linalg.eigvals(period[2] @ period[1] @ period[0]).abs().max().log()) / 3
    inputs = torch.stack(period * 300).reshape(900, 1, 9)
    ds = gradient_propagation(
        systems.MatrixProduct(3),
        inputs,
        torch.ones(1, 3),
        sum_of_outputs,
        readout=nn.Identity(),
        initial_state=torch.full((3,), 1e-3, dtype=torch.float64),
    )
    assert ds.growth_rate.sel(norm="2").item() == pytest.approx(expected, abs=1e-4)
    # exactly, over a whole number of periods
    log_norm = ds.log_gradient_norm.sel(norm="2", trajectory=0).values
    assert (log_norm[2] - log_norm[602]) / 600 == pytest.approx(expected, abs=1e-12)


def test_a_loss_on_every_step_outlives_an_underflowed_future() -> None:
    """The direct part must survive when it is a thousand orders of magnitude above what is carried back."""
    map = as_map(lambda x: 1e-3 * x, state=torch.ones(1, dtype=torch.float64))
    weights = torch.ones(2000, 1, 1, dtype=torch.float64)
    weights[:-1] = 0
    weights[0] = 1
    ds = gradient_propagation(
        map, None, weights, sum_of_outputs, readout=nn.Identity(), steps=2000, loss_on="every", norms=("inf",)
    )
    assert ds.log_gradient_norm.values[0, 0, 0] == 0
    assert ds.log_gradient_norm.values[0, 0, 1] == pytest.approx(1998 * math.log(1e-3))


def test_a_gradient_that_dies_is_minus_infinity() -> None:
    map = as_map(lambda x: torch.relu(x - 1), state=torch.tensor([2.5], dtype=torch.float64))
    ds = gradient_propagation(
        map, None, torch.ones(1, 1), sum_of_outputs, readout=nn.Identity(), steps=6, check=False, norms=("inf",)
    )
    assert ds.log_gradient_norm.values[0, 0].tolist() == [-math.inf] * 5 + [0.0]
    assert ds.growth_rate.item() == -math.inf
    assert ds.growth_rate_error.isnull().item()  # which has no error


CELL = nn.RNNCell(1, 2).double()
INPUTS = torch.zeros(4, 3, 1, dtype=torch.float64)
REFUSALS = {
    "no readout": (dict(readout=None), TypeError, "no readout of its own"),
    "readout not callable": (dict(readout=3), TypeError, "readout must be callable, got int"),
    "no norms": (dict(norms=()), ValueError, "one or more different norms"),
    "norm twice": (dict(norms=(2, 2.0)), ValueError, r"different norms.*got \(2, 2.0\)"),
    "random readout": (dict(readout=nn.Dropout(0.5)), ValueError, r"call readout\.eval\(\) first"),
    "random readout in a closure": (
        dict(readout=lambda output: torch.nn.functional.dropout(output, 0.5)),
        ValueError,
        r"call \.eval\(\) on the readout",
    ),
    "negative norm": (dict(norms=(-1,)), ValueError, "got -1"),
    "unknown norm": (dict(norms=("largest",)), ValueError, "got 'largest'"),
    "loss_on": (dict(loss_on="first"), ValueError, '"last" or "every", got \'first\''),
    "vector loss": (dict(loss=lambda o, y: o[:, 0]), ValueError, r"scalar tensor, got \(3,\)"),
    "number loss": (dict(loss=lambda o, y: 1.0), ValueError, "scalar tensor, got float"),
    "infinite loss": (dict(loss=lambda o, y: o.sum() / 0), ValueError, "the loss is (-?inf|nan)"),
    "detached loss": (dict(loss=lambda o, y: o.detach().sum()), ValueError, "does not depend differentiably"),
    "infinite gradient": (dict(loss=lambda o, y: (o * 0).sqrt().sum()), FloatingPointError, "not finite at step 4"),
}


def test_one_norm_needs_no_sequence() -> None:
    ds = gradient_propagation(CELL, INPUTS, torch.ones(3, 2).double(), mse_loss, readout=nn.Identity(), norms=2)
    assert ds.norm.values.tolist() == ["2"]


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="call the analysis outside of it"):
        gradient_propagation(CELL, INPUTS, torch.ones(3, 2).double(), mse_loss, readout=nn.Identity())


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    change, error, message = REFUSALS[name]
    options = {"loss": mse_loss, "readout": nn.Identity(), **change}
    loss = options.pop("loss")
    with pytest.raises(error, match=message):
        gradient_propagation(CELL, INPUTS, torch.zeros(3, 2).double(), loss, **options)
