"""A network of type B is an Elman network: its weights in PyTorch's own layer give the same outputs."""

import pytest
import torch
from torch import nn

from lyapkit import lyapunov_spectrum
from wcrnn_models import WCRNN, plain_rnn, residuals

GAMMA = torch.linspace(0.005, 0.3, 6, dtype=torch.float64)


def network(residual, coupling, **options) -> WCRNN:
    options = {"form": "B", "rng": 0, "dtype": torch.float64, **options}
    return WCRNN(2, 6, 3, residual=residual, coupling=coupling, **options)


@pytest.mark.parametrize("coupling", [0.01, 1.0, GAMMA], ids=["weak", "one", "per unit"])
@pytest.mark.parametrize(
    "residual",
    [residuals.scalar(1.01), residuals.rotation(0.3), residuals.informed(rng=0), residuals.orthogonal(0.9, rng=0)],
    ids=["scalar", "rotation", "informed", "orthogonal"],
)
def test_outputs_states_and_exponents_are_the_same(residual, coupling) -> None:
    model = network(residual, coupling)
    layer, readout = plain_rnn(model)
    assert type(layer) is nn.RNN
    assert type(readout) is nn.Linear
    inputs = torch.randn(200, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    states, final = layer(inputs)
    torch.testing.assert_close(states, model.states(inputs), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(readout(final[0]), model(inputs), rtol=1e-12, atol=1e-13)
    mine, theirs = (lyapunov_spectrum(net, inputs[:50, 0]).lyapunov_exponent.values for net in (model, layer))
    torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), rtol=1e-8, atol=1e-10)


def test_a_step_of_gradient_descent_is_gamma_squared_times_as_long() -> None:
    model = network(residuals.scalar(0.99), 0.1)
    layer, readout = plain_rnn(model)
    inputs = torch.randn(10, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (own,) = torch.autograd.grad(model(inputs).square().sum(), model.recurrent.weight)
    (plain,) = torch.autograd.grad(readout(layer(inputs)[1][0]).square().sum(), layer.weight_hh_l0)
    torch.testing.assert_close(0.1 * own, 0.01 * plain, rtol=1e-10, atol=1e-14)  # change of W_hh per learning rate


def test_the_weights_are_copies_in_the_type_of_the_network() -> None:
    model = network(residuals.scalar(0.99), 0.1, dtype=torch.float32)
    state = torch.get_rng_state()
    layer, readout = plain_rnn(model)
    assert torch.equal(state, torch.get_rng_state())
    assert {parameter.dtype for parameter in [*layer.parameters(), *readout.parameters()]} == {torch.float32}
    before = model.readout.weight.clone()
    with torch.no_grad():
        readout.weight.zero_()
    assert torch.equal(model.readout.weight, before)


@pytest.mark.parametrize(("form", "nonlinearity"), [("linear", "tanh"), ("A", "tanh"), ("B", "identity")])
def test_other_networks_are_refused(form: str, nonlinearity: str) -> None:
    with pytest.raises(ValueError, match=f"form 'B' with tanh .* got form '{form}' and nonlinearity '{nonlinearity}'"):
        plain_rnn(network(residuals.scalar(1.0), 0.1, form=form, nonlinearity=nonlinearity))
