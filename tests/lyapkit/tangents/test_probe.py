"""The look at a map before a long run: what it catches and what it lets pass."""

import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import RecurrentMap, as_map, gradient_propagation, lyapunov_spectrum, variational_term
from lyapkit.adapters import register_adapter
from lyapkit.tangents import ForwardTangents, choose_derivative
from lyapkit.tangents.derivative_check import Derivatives, measure_derivatives
from lyapkit.trajectories.visited import Visited
from steps import Scaled, Steps, WrongBackward, WrongBackwardOnly, WrongForward


def measured(map: RecurrentMap, state: Tensor, input: Tensor | None = None, backwards: bool = False) -> Derivatives:
    """What is found at given states (B, N)."""
    visited = Visited()
    after = map.step(state[-1:], None if input is None else input[-1:])
    visited.take(state[:, None], None if input is None else input[:, None], after, 0)
    return measure_derivatives(map, visited.visits, choose_derivative(map, state, input), backwards=backwards)


def in_place(x: Tensor) -> Tensor:
    return x.mul_(0.5)


def in_place_beside(x: Tensor) -> Tensor:
    after = 0.5 * x
    x.data.add_(1.0)
    return after


def own_generator():
    generator = torch.Generator().manual_seed(0)
    return lambda x: 0.5 * x + torch.randn(2, generator=generator, dtype=torch.float64)


def counting():
    calls = []

    def step(x: Tensor) -> Tensor:
        calls.append(None)
        return x / len(calls)

    return step


def remembering():
    memory = torch.zeros(2, dtype=torch.float64)

    def step(x: Tensor) -> Tensor:
        nonlocal memory
        memory = 0.5 * memory + x
        return 0.1 * memory

    return step


REFUSALS = {
    "state changed in place": (in_place, ValueError, "changes its state argument in place"),
    "state changed behind autograd's back": (in_place_beside, ValueError, "changes its state argument in place"),
    "random numbers": (lambda x: 0.5 * x + torch.randn(2).double(), ValueError, r"draws random numbers.*\.eval\(\)"),
    "dropout": (lambda x: nn.functional.dropout(x, 0.5), ValueError, r"draws random numbers.*\.eval\(\)"),
    "random numbers of its own": (own_generator(), ValueError, "hidden state or draws random numbers"),
    "random numbers of NumPy": (lambda x: x * np.random.default_rng().random(), ValueError, "two calls .* differ"),
    "counter": (counting(), ValueError, "hidden state"),
    "memory": (remembering(), ValueError, "hidden state"),
    "returns a tuple": (lambda x: (x, x), TypeError, "one tensor, got tuple"),
    "returns nothing": (lambda x: None, TypeError, "one tensor, got NoneType"),
    "too short": (lambda x: x[..., :1], ValueError, r"shape \(3, 2\) and torch.float64, got \(3, 1\)"),
    "too long": (lambda x: torch.cat((x, x), -1), ValueError, r"got \(3, 4\)"),
    "other dtype": (lambda x: x.float(), ValueError, r"got \(3, 2\) and torch.float32"),
    "not finite": (lambda x: x / 0, ValueError, "first step gives a state that is not finite"),
    "derivative not finite": (lambda x: (x - x.detach()).sqrt(), ValueError, "derivative of the first step is not fin"),
    "detached": (lambda x: 0.5 * x.detach(), ValueError, "disagrees with a finite difference.*a detach"),
    "partly detached": (lambda x: 0.5 * x + 0.1 * x.detach(), ValueError, "disagrees with a finite difference"),
    "wrong jvp": (
        WrongForward.apply,
        ValueError,
        r"by 0\.\d+ \(derivative -?[\d.]+\) in [ab] at step 1 .*: a custom backward",
    ),
    "wrong backward": (WrongBackwardOnly.apply, ValueError, "disagrees with a finite difference"),
    "one component wrong": (
        lambda x: torch.stack((x[..., 0].sin(), 0.9 * x[..., 1].detach() + 0.1 * x[..., 1]), -1),
        ValueError,
        "disagrees with a finite difference",
    ),
    "wrong, and without bound beside the state": (
        lambda x: 0.5 * x.detach() + torch.where((x - x.round(decimals=1)).abs() > 0.01, x / 0, 0 * x),
        ValueError,
        "disagrees with a finite difference",
    ),
    "straight-through rounding": (lambda x: x + (x.round() - x).detach(), ValueError, "disagrees with a finite diff"),
    "through NumPy": (
        lambda x: torch.from_numpy(np.tanh(x.numpy())),
        ValueError,
        "cannot be differentiated. Forward mode: .* Reverse mode: .* differentiable torch operations",
    ),
    "through NumPy, detached": (
        lambda x: torch.from_numpy(np.tanh(x.detach().numpy())),
        ValueError,
        "does not depend differentiably on the state",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("analysis", [lyapunov_spectrum, variational_term])
def test_refusals_say_what_is_wrong(analysis, name: str) -> None:
    step, error, message = REFUSALS[name]
    start = torch.tensor([[0.3, -0.7], [0.2, 0.6], [1.1, 0.4]]).double()
    before = start.clone()
    with pytest.raises(error, match=message):
        analysis(Steps(step), steps=5, initial_state=start)
    assert torch.equal(start, before)  # also where the map changes what it is given


def test_a_changed_input_is_refused() -> None:
    inputs = torch.ones(4, 2).double()
    with pytest.raises(ValueError, match="changes its input argument in place"):
        lyapunov_spectrum(Steps(lambda x, s: 0.5 * x + s.mul_(2), input_size=2), inputs)
    assert torch.equal(inputs, torch.ones(4, 2).double())


def test_registered_maps_are_probed_too() -> None:
    class Noisy(nn.Module):
        pass

    register_adapter(Noisy, lambda module: Steps(lambda x: x + torch.randn(2).double()))
    with pytest.raises(ValueError, match="draws random numbers"):
        lyapunov_spectrum(Noisy(), steps=5)


PASSES_UNCHECKED = {
    "wrong jvp": (WrongForward.apply, math.log(0.8)),
    "detached": (lambda x: 0.5 * x.detach(), -math.inf),
    "partly detached": (lambda x: 0.5 * x + 0.1 * x.detach(), math.log(0.5)),
    "straight-through rounding": (lambda x: x + (x.round() - x).detach(), 0.0),
}


SAID = dict.fromkeys(PASSES_UNCHECKED, "surrogate")


@pytest.mark.parametrize("name", PASSES_UNCHECKED)
def test_without_check_a_map_is_taken_at_its_word(name: str) -> None:
    step, exponent = PASSES_UNCHECKED[name]
    ds = lyapunov_spectrum(Steps(step), steps=5, initial_state=torch.tensor([0.3, -0.7]).double(), check=False)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], exponent, atol=1e-14)
    assert json.loads(ds.attrs["config_json"])["derivatives"] == SAID[name]


def test_a_wrong_backward_is_caught_where_gradients_use_it() -> None:
    """Forward mode is right here, so only the analysis that goes backwards may refuse."""
    map, start = Steps(WrongBackward.apply), torch.tensor([0.3, -0.7]).double()
    ds = lyapunov_spectrum(map, steps=5, initial_state=start)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], math.log(0.4), atol=1e-14)

    def gradients(map: RecurrentMap, **options):
        target = torch.ones(1, 2).double()
        return gradient_propagation(
            map, None, target, nn.functional.mse_loss, steps=9, initial_state=start, readout=nn.Identity(), **options
        )

    with pytest.raises(ValueError, match="backwards, which gradients use, differs from its derivative forwards"):
        gradients(map)
    np.testing.assert_allclose(gradients(map, check=False).growth_rate, math.log(0.8), atol=1e-12)
    np.testing.assert_allclose(gradients(Steps(Scaled.apply)).growth_rate, math.log(0.4), atol=1e-12)


KINKED = {
    "rectifier at its kink": (torch.relu, -math.inf),
    "leaky rectifier at its kink": (lambda x: nn.functional.leaky_relu(x, 0.25), math.log(0.25)),
    "modulo at its jump": (lambda x: (2 * x).remainder(1.0), math.log(2)),
    "clamp at its edge": (lambda x: torch.clamp(0.5 * x, min=0.0), math.log(0.5)),
}


@pytest.mark.parametrize("name", KINKED)
def test_a_kink_at_the_initial_state_is_no_error(name: str) -> None:
    step, exponent = KINKED[name]
    warned = pytest.warns(UserWarning, match="rests on a kink of the map, at 4 of the 4 steps")
    with nullcontext() if "jump" in name else warned:  # at a jump, derivatives of both sides are the same
        ds = lyapunov_spectrum(Steps(step), steps=4)  # from zero
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], exponent, atol=1e-14)


LAYERS = {
    "RNN": nn.RNN,
    "RNN relu": lambda m, n: nn.RNN(m, n, nonlinearity="relu"),
    "RNN relu 2 layers no bias": lambda m, n: nn.RNN(m, n, num_layers=2, nonlinearity="relu", bias=False),
    "GRU": nn.GRU,
    "LSTM 2 layers": lambda m, n: nn.LSTM(m, n, num_layers=2),
    "LSTM proj": lambda m, n: nn.LSTM(m, n, proj_size=2),
    "RNNCell": nn.RNNCell,
    "GRUCell": nn.GRUCell,
    "LSTMCell": nn.LSTMCell,
}
STATES = {
    "zero": (0.0, 1.0),
    "zero without input": (0.0, 0.0),
    "tiny": (1e-3, 1.0),
    "usual": (1.0, 1.0),
    "large": (1e3, 1.0),
    "large and small": (torch.tensor([100.0, 1.0]), 1.0),
}
DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_no_false_alarm_on_built_in_layers(layer: str, dtype: torch.dtype) -> None:
    for size, seed in [(4, 0), (4, 1), (64, 0), (256, 0)]:
        torch.manual_seed(seed)
        map = as_map(LAYERS[layer](3, size).to(dtype))
        unit, noise = torch.randn(8, map.state_size, dtype=dtype), torch.randn(8, 3, dtype=dtype)
        for name, (scale, drive) in STATES.items():
            factor = scale.repeat(map.state_size // 2) if isinstance(scale, Tensor) else scale
            state, input = factor * unit, drive * noise
            assert choose_derivative(map, state, input).name == ForwardTangents.name
            found = measured(map, state, input, backwards=True)
            assert not found.refusal
            assert 0 <= found.error < 1.3e-4, name


@pytest.mark.parametrize("size", [1e-150, 1e-200, 1e-300, 1e-307, 1e-310, 5e-324, 0.0])
def test_no_false_alarm_where_derivatives_nearly_vanish(size: float) -> None:
    """Squares of such numbers are zero, and below 2e-308 they have few digits."""
    matrix = size * torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    map = Steps(lambda x: x @ matrix)
    state = torch.ones(3, 2, dtype=torch.float64)
    assert not measured(map, state, backwards=True).refusal
    if size >= 1e-300:
        wrong = Steps(lambda x: size * WrongBackward.apply(x))
        assert "differs from its derivative forwards" in measured(wrong, state, backwards=True).refusal


def test_the_reported_error_is_that_of_the_difference() -> None:
    map = Steps(torch.tanh)
    found = measured(map, torch.tensor([[0.3, -0.7]]).double())
    # central differences with h = 1e-5: h^2 |tanh'''| / 6, and rounding of order eps / h
    assert 0 < found.error < 1e-9
    assert found.step == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 100.0, 1e4, 1e20])
def test_a_wrong_derivative_is_caught_at_large_and_small_states(dtype: torch.dtype, scale: float) -> None:
    state = scale * torch.tensor([[0.3, -0.7], [0.9, 0.5]], dtype=dtype)
    assert "disagrees with a finite difference" in measured(Steps(WrongForward.apply, dtype=dtype), state).refusal
    assert not measured(Steps(Scaled.apply, dtype=dtype), state).refusal


class ByLayout(RecurrentMap):
    """Rounds in another way if the inputs lie apart in memory, as products of matrices may."""

    state_size, input_size, dtype, device, unit_names = 2, 2, torch.float32, torch.device("cpu"), ("a", "b")

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        assert input is not None
        return 0.5 * state + input * (1.0 if input.is_contiguous() else 1 + 2 * torch.finfo(torch.float32).eps)


APART = {
    "batch first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one feature of two": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "one sequence of two": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
}


@pytest.mark.parametrize("name", APART)
def test_no_false_alarm_if_inputs_lie_apart_in_memory(name: str) -> None:
    """Rounding may depend on the layout, so that two calls are compared on the same."""
    inputs = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    apart = APART[name](inputs)
    assert torch.equal(apart, inputs)
    assert not apart[0].is_contiguous()
    for analysis in (lyapunov_spectrum, variational_term):
        analysis(ByLayout(), apart)
    assert np.allclose(lyapunov_spectrum(ByLayout(), apart).lyapunov_exponent, math.log(0.5), atol=1e-6)


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("size", [5, 8, 20])
def test_no_false_alarm_on_inputs_that_lie_batch_first(layer: type[nn.RNNBase], size: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, 30, 6)
    net, other = layer(6, size, batch_first=True), layer(6, size)
    other.load_state_dict(net.state_dict())
    found = lyapunov_spectrum(net, inputs, rng=0).lyapunov_exponent
    assert np.allclose(found, lyapunov_spectrum(other, inputs.transpose(0, 1), rng=0).lyapunov_exponent, atol=1e-4)
    expected = lyapunov_spectrum(other.double(), inputs.transpose(0, 1).double(), rng=0).lyapunov_exponent
    assert np.allclose(found, expected, atol=1e-2)
    one, states = inputs[0], torch.randn(3, lyapunov_spectrum(net, inputs[0], k=1).sizes["unit"])
    lyapunov_spectrum(layer(6, size), one, initial_state=states, k=1)  # one input, many initial states
