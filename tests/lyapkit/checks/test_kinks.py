"""Runs that rest on a kink of their map."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lyapkit
from lyapkit import as_map, lyapunov_spectrum

STATE = torch.zeros(2, dtype=torch.float64)
KINK = "rests on a kink of the map"


def quiet_then_loud(quiet: int, steps: int = 120) -> tuple[nn.RNN, Tensor]:
    """A rectifier with identity weights and no bias, as for sequences of pixels, and inputs that begin with zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.RNN(1, 6, nonlinearity="relu").double()
        inputs = 0.1 + torch.rand(steps, 1).double()
    nn.init.eye_(network.weight_hh_l0)
    for bias in (network.bias_ih_l0, network.bias_hh_l0):
        bias.data.zero_()
    inputs[:quiet] = 0
    return network, inputs


ANALYSES: dict[str, Callable[[nn.RNN, Tensor], object]] = {
    "spectrum": lambda net, x: lyapunov_spectrum(net, x, k=1, rng=0),
    "variational": lyapkit.variational_term,
    "gradients": lambda net, x: lyapkit.gradient_propagation(
        net, x, torch.zeros(1, 1).double(), nn.functional.mse_loss, readout=nn.Linear(6, 1).double()
    ),
}


@pytest.mark.parametrize("name", list(ANALYSES))
def test_a_run_that_begins_at_rest_warns_once(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        ANALYSES[name](*quiet_then_loud(20))
    (message,) = [str(warning.message) for warning in caught if KINK in str(warning.message)]
    assert "step 1, 2, 3, 4" in message
    assert "lengths=" in message
    assert "transient=" in message
    assert "tiny bias" in message


@pytest.mark.parametrize("name", ["covariant", "differentiable"])
def test_where_nothing_survives_the_reason_is_given_too(name: str) -> None:
    analysis = {
        "covariant": lambda net, x: lyapkit.covariant_vectors(net, x, k=1, transient=5, settle=20),
        "differentiable": lambda net, x: lyapkit.lyapunov_exponents(net, x, k=1),
    }[name]
    with pytest.warns(UserWarning, match=KINK), pytest.raises((ValueError, FloatingPointError), match="annihilated"):
        analysis(*quiet_then_loud(20))


def test_the_remedies_remedy() -> None:
    network, inputs = quiet_then_loud(20)
    assert lyapunov_spectrum(network, inputs, k=1, transient=21, rng=0).lyapunov_exponent.item() == pytest.approx(0)
    padded = torch.cat((inputs[20:], torch.zeros(30, 1).double())).unsqueeze(1)
    lengths = torch.tensor([100])
    alone = lyapunov_spectrum(network, inputs[20:], k=1, rng=0).lyapunov_exponent.item()
    found = lyapunov_spectrum(network, padded, k=1, lengths=lengths, rng=0).lyapunov_exponent.item()
    assert found == pytest.approx(alone, abs=1e-12)
    assert -0.02 < found <= 0  # the first step turns the tangent vector
    network.bias_hh_l0.data.fill_(1e-6)
    assert -0.02 < lyapunov_spectrum(network, inputs, k=1, rng=0).lyapunov_exponent.item() <= 1e-12


RESTING: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky": lambda x: nn.functional.leaky_relu(1.2 * x, 0.1),
    "absolute": lambda x: 0.5 * x.abs(),
    "largest of a tie": lambda x: torch.stack((torch.maximum(x[0], x[1]), 0.5 * torch.maximum(x[1], 0.5 * x[0]))),
}


@pytest.mark.parametrize("name", list(RESTING))
def test_other_kinks(name: str) -> None:
    with pytest.warns(UserWarning, match=r"at \d+ of the \d+ steps"):
        lyapunov_spectrum(as_map(RESTING[name], state=STATE), steps=30)


GENERAL: dict[str, Callable[[Tensor], Tensor]] = {
    "cubic": lambda x: x**3 + 0.5 * x,
    "square": lambda x: x**2,
    "sine": torch.sin,
    "a kink beside": lambda x: 0.5 * torch.relu(x + 1e-6),
    "a kink at the first state only": lambda x: 0.5 * x + torch.relu(x) + 0.1,
    "tiny": lambda x: 1e-12 * torch.tanh(x),
}


@pytest.mark.parametrize("name", list(GENERAL))
def test_smooth_maps_and_states_beside_a_kink_do_not_warn(name: str) -> None:
    lyapunov_spectrum(as_map(GENERAL[name], state=STATE), steps=30, check=False)  # warnings are errors here


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_rectifiers_in_general_position_do_not_warn(dtype: torch.dtype, bias: bool) -> None:
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = nn.RNN(3, 64, 2, nonlinearity="relu", bias=bias).to(dtype)
            inputs = torch.randn(60, 5, 3, dtype=dtype)
        assert math.isfinite(lyapunov_spectrum(network, inputs, k=2, rng=0).lyapunov_exponent.values.sum())
