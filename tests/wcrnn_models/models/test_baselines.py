"""The baselines of Table 2: their equations, their adapters, and their sizes."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lyapkit import analyze, as_map, gradient_propagation, hessian_spectrum, lyapunov_spectrum
from lyapkit.testing import check_map
from wcrnn_models import WCRNN, TrainConfig, residuals, train
from wcrnn_models.models.baselines import LSTM, S4D, URLSTM, ResidualElman

FLOAT64 = {"rng": 0, "dtype": torch.float64}
SMALL = {
    "elman": lambda **options: ResidualElman(2, 6, 3, **{**FLOAT64, **options}),
    "lstm": lambda **options: LSTM(2, 5, 3, **{**FLOAT64, **options}),
    "ur-lstm": lambda **options: URLSTM(2, 5, 3, **{**FLOAT64, **options}),
    "s4d": lambda **options: S4D(2, 3, 4, layers=2, modes=2, **{**FLOAT64, **options}),
    "no tanh": lambda **options: WCRNN(
        2, 6, 3, residual=residuals.informed(rng=1), coupling=0.05, nonlinearity="identity", **{**FLOAT64, **options}
    ),
}
each = pytest.mark.parametrize("name", SMALL)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigmoid(value: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-value))


def elman_step(model: ResidualElman, state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    drive = weights["recurrent.weight"] @ state + weights["recurrent.bias"]
    return state + torch.tanh(drive + weights["input.weight"] @ input + weights["input.bias"])


def lstm_step(model: LSTM, state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    weights = {name.removeprefix("recurrent."): value.detach() for name, value in model.state_dict().items()}
    hidden, cell = state[:5], state[5:]
    rows = {gate: slice(5 * index, 5 * index + 5) for index, gate in enumerate("ifgo")}
    z = {
        gate: weights["weight_ih_l0"][part] @ input
        + weights["bias_ih_l0"][part]
        + weights["weight_hh_l0"][part] @ hidden
        + weights["bias_hh_l0"][part]
        for gate, part in rows.items()
    }
    cell = sigmoid(z["f"]) * cell + sigmoid(z["i"]) * torch.tanh(z["g"])
    return torch.cat((sigmoid(z["o"]) * torch.tanh(cell), cell))


def ur_lstm_step(model: URLSTM, state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    """With the effective gate as Gu et al. derive it: between f^2 and 1 - (1 - f)^2."""
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    hidden, cell = state[:5], state[5:]
    z = weights["recurrent.weight"] @ hidden + weights["input.weight"] @ input
    forget = sigmoid(z[:5] + weights["forget_bias"])
    refine = sigmoid(z[5:10] - weights["forget_bias"])
    effective = refine * (1 - (1 - forget) ** 2) + (1 - refine) * forget**2
    cell = effective * cell + (1 - effective) * torch.tanh(z[10:15] + weights["bias"][:5])
    return torch.cat((sigmoid(z[15:] + weights["bias"][5:]) * torch.tanh(cell), cell))


def s4d_step(model: S4D, state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    """In complex numbers, with the ordinary formulas for each feature and mode."""
    model = copy.deepcopy(model).requires_grad_(False)
    u, after, position = model.input(input), [], 0
    for layer in model.layers:
        real, imaginary = state[position : position + 12].reshape(2, 3, 2)
        position += 12
        y, new = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.complex128)
        for feature in range(3):
            dt = math.exp(float(layer.log_step[feature]))
            for mode in range(2):
                rate = complex(-math.exp(float(layer.log_decay[feature, mode])), float(layer.frequency[feature, mode]))
                power = np.exp(dt * rate)
                x = power * complex(real[feature, mode], imaginary[feature, mode])
                new[feature, mode] = complex(x + (power - 1) / rate * float(u[feature]))
                weight = complex(*layer.output[feature, mode].tolist())
                y[feature] += 2 * (weight * complex(new[feature, mode])).real
            y[feature] += float(layer.skip[feature]) * float(u[feature])
        gelu = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        mixed = layer.mix.weight @ gelu + layer.mix.bias
        summed = u + mixed[:3] * sigmoid(mixed[3:])
        u = (summed - summed.mean()) / torch.sqrt(summed.var(correction=0) + 1e-5)  # the norm starts as 1 and 0
        after += [new.real.flatten(), new.imag.flatten()]
    return torch.cat((*after, u))


STEPS = {"elman": elman_step, "lstm": lstm_step, "ur-lstm": ur_lstm_step, "s4d": s4d_step}


@pytest.mark.parametrize("name", STEPS)
def test_steps_states_and_outputs_equal_the_equations(name: str) -> None:
    model = SMALL[name]()
    inputs, initial = random(7, 4, 2), 0.3 * random(4, model.state_size, seed=1)
    states = model.states(inputs, initial)
    assert states.shape == (7, 4, model.state_size)
    for sample in range(4):
        state = initial[sample]
        for step, input in enumerate(inputs[:, sample]):
            state = STEPS[name](model, state, input)
            torch.testing.assert_close(states[step, sample], state, rtol=1e-12, atol=1e-13)
        emitted = model.emitted(state)
        assert emitted.shape == (model.hidden_size,)
        expected = model.readout.weight @ emitted + model.readout.bias
        torch.testing.assert_close(model(inputs, initial)[sample], expected, rtol=1e-12, atol=1e-13)


@each
def test_adapters_conform(name: str) -> None:
    model = SMALL[name]()
    map = as_map(model)
    check_map(map, lambda state, input: model.states(input[None], state)[0])
    assert map.readout is model.readout
    assert map.unit_names == model.unit_names


@each
def test_the_whole_sequence_at_once_equals_the_steps(name: str) -> None:
    """`forward` of the LSTM is PyTorch's fused layer, that of S4D a convolution by FFT."""
    model, inputs = SMALL[name](), random(300, 3, 2)
    states = model.states(inputs)
    expected = model.readout(model.emitted(states[-1]))
    torch.testing.assert_close(model(inputs), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(model(inputs[:, 1]), expected[1], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(model.states(inputs[:, 1]), states[:, 1], rtol=1e-11, atol=1e-12)
    # and from the middle on
    torch.testing.assert_close(model(inputs[120:], states[119]), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "s4d"])
def test_both_ways_have_the_same_gradients(name: str) -> None:
    model, inputs = SMALL[name](), random(40, 3, 2)
    loss = lambda outputs: outputs.square().sum()  # noqa: E731
    fast = torch.autograd.grad(loss(model(inputs)), list(model.parameters()))
    slow = torch.autograd.grad(loss(model.readout(model.emitted(model.states(inputs)[-1]))), list(model.parameters()))
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_the_convolution_is_the_impulse_response_of_the_recurrence() -> None:
    layer = S4D(1, 3, 1, modes=4, **FLOAT64).layers[0]
    scaled, gain = layer._continuous()
    weight = torch.view_as_complex(layer.output)
    state, response = torch.zeros(3, 4, dtype=torch.complex128), []
    for step in range(50):
        state = scaled.exp() * state + gain * (1.0 if step == 0 else 0.0)
        response.append(2 * (weight * state).sum(-1).real)
    torch.testing.assert_close(layer._kernel(50), torch.stack(response), rtol=1e-12, atol=1e-14)


def test_an_elman_network_is_a_wcrnn_without_weak_coupling() -> None:
    model = SMALL["elman"]()
    twin = WCRNN(2, 6, 3, residual=residuals.scalar(1.0), coupling=1.0, **FLOAT64)
    twin.load_state_dict({**twin.state_dict(), **model.state_dict()})
    inputs = random(30, 4, 2)
    torch.testing.assert_close(model(inputs), twin(inputs), rtol=1e-12, atol=1e-13)


def test_the_lstm_is_pytorchs() -> None:
    model, inputs = SMALL["lstm"](), random(20, 3, 2)
    plain = nn.LSTM(2, 5, dtype=torch.float64)
    plain.load_state_dict(model.recurrent.state_dict())
    torch.testing.assert_close(model(inputs), model.readout(plain(inputs)[0][-1]), rtol=1e-13, atol=1e-14)


SIZES = {
    "wcrnn": (lambda *io: WCRNN(io[0], 100, io[1], residual=residuals.scalar(1.0)), 11_310, 10_501),
    "elman": (lambda *io: ResidualElman(io[0], 100, io[1]), 11_310, 10_501),
    "lstm": (lambda *io: LSTM(io[0], 47, io[1]), 9_880, 9_636),
    "ur-lstm": (lambda *io: URLSTM(io[0], 47, io[1]), 9_645, 9_401),
    "s4d": (lambda *io: S4D(io[0], 34, io[1]), 9_802, 9_521),
}


@pytest.mark.parametrize("name", SIZES)
def test_every_model_has_about_ten_thousand_parameters(name: str) -> None:
    """Table 2; on sMNIST (1 input, 10 outputs) and on the adding problem (2 inputs, 1 output)."""
    make, mnist, adding = SIZES[name]
    assert sum(parameter.numel() for parameter in make(1, 10).parameters()) == mnist
    assert sum(parameter.numel() for parameter in make(2, 1).parameters()) == adding
    assert abs(mnist - 10_500) <= 1_000


@each
def test_a_seed_determines_the_network_and_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = SMALL[name](rng=7), SMALL[name](rng=torch.Generator().manual_seed(7)), SMALL[name](rng=8)
    assert torch.equal(before, torch.get_rng_state())
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert not torch.equal(first.readout.weight, other.readout.weight)
    rounded = SMALL[name](rng=7, dtype=torch.float32)
    for key, value in rounded.named_parameters():
        torch.testing.assert_close(value, first.state_dict()[key].float(), rtol=2e-7, atol=0)


def test_initial_distributions() -> None:
    lstm, ur, s4d = LSTM(1, 100, 10, **FLOAT64), URLSTM(1, 100, 10, **FLOAT64), S4D(1, 100, 10, **FLOAT64)
    for weight in (lstm.recurrent.weight_hh_l0, lstm.recurrent.bias_ih_l0, ur.recurrent.weight, ur.bias):
        assert 0.095 < float(weight.detach().abs().max()) <= 0.1
        assert float(weight.detach().std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.08)
    gates = torch.sigmoid(URLSTM(1, 4000, 1, **FLOAT64).forget_bias.detach()).sort().values
    grid = torch.linspace(0, 1, 4000, dtype=torch.float64)
    assert float((gates - grid).abs().max()) < 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov at 1 %
    layer = s4d.layers[0]
    assert torch.equal(layer.log_decay.exp(), torch.full((100, 16), 0.5).double())
    assert torch.equal(layer.frequency[3], math.pi * torch.arange(16).double())
    steps = layer.log_step.exp().detach()
    assert 0.001 <= float(steps.min()) < 0.0013
    assert 0.08 < float(steps.max()) <= 0.1
    assert float(layer.output.detach().std()) == pytest.approx(math.sqrt(0.5), rel=0.05)


@pytest.mark.slow
def test_the_exponents_of_s4d_are_known() -> None:
    """Layers feed forward, memory is linear: every mode decays at dt Re A, whatever the input and the mixing are."""
    model, inputs = SMALL["s4d"](), random(1500, 2)
    rates = 0.1 * torch.tensor([[3, 9, 1, 12, 7, 5], [4, 2, 10, 6, 11, 8]], dtype=torch.float64)
    with torch.no_grad():
        for layer, rate in zip(model.layers, rates, strict=True):
            layer.log_decay.copy_(rate.log().reshape(3, 2) - layer.log_step.unsqueeze(-1))
    known = model.exponents()
    expected = torch.cat((-rates.flatten().repeat_interleave(2), torch.full((3,), -math.inf).double()))
    torch.testing.assert_close(known, expected.sort(descending=True).values)
    found = lyapunov_spectrum(model, inputs, transient=500).lyapunov_exponent.values[0]
    assert np.isneginf(found[-3:]).all()
    # as 1/steps; normalising few features can tilt the layers' directions strongly against each other for a while
    np.testing.assert_allclose(found[:-3], known[:-3], atol=2e-3)


@each
def test_every_analysis_runs(name: str) -> None:
    model, inputs, targets = SMALL[name](), random(12, 4, 2), torch.tensor([0, 2, 1, 0])
    tree = analyze(model, inputs, targets, cross_entropy, hessian_k=3, k=4, rng=0)
    assert set(tree.children) == {"lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum"}
    # gradients: against autograd through the network's own steps
    gradients = gradient_propagation(model, inputs, targets, cross_entropy)
    states = [model.states(inputs[:5])[-1].detach().requires_grad_()]
    for input in inputs[5:]:
        states.append(model.step(states[-1], input))
    loss = cross_entropy(model.readout(model.emitted(states[-1])), targets)
    (expected,) = torch.autograd.grad(loss, states[0])
    norm = gradients.gradient_norm.sel(norm="2", step=5).values
    np.testing.assert_allclose(norm, expected.norm(dim=-1).numpy(), rtol=1e-10)
    # Hessian: against the dense one of a few parameters
    few = ["readout.bias"]
    spectrum = hessian_spectrum(model, (inputs, targets), cross_entropy, k=2, parameters=few, rng=0)
    dense = torch.autograd.functional.hessian(
        lambda bias: cross_entropy(model(inputs) - model.readout.bias.detach() + bias, targets),
        model.readout.bias.detach(),
    )
    top = torch.linalg.eigvalsh(dense).abs().sort(descending=True).values[:2]
    np.testing.assert_allclose(spectrum.eigenvalue.values, top.numpy(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["elman", "lstm", "ur-lstm", "s4d"])
def test_the_hessian_by_either_way_is_the_same(name: str) -> None:
    """The network as a module (fused, or by FFT) and as a recurrent map."""
    model, inputs, targets = SMALL[name](), random(10, 3, 2), torch.tensor([0, 2, 1])
    own = hessian_spectrum(model, (inputs, targets), cross_entropy, k=3, rng=0)
    mapped = hessian_spectrum(as_map(model), (inputs, targets), cross_entropy, k=3, rng=0)
    np.testing.assert_allclose(own.eigenvalue, mapped.eigenvalue, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elman", {"gradient_clip": 1.0, "learning_rate": 0.02}),
        ("lstm", {"learning_rate": 0.1}),
        ("ur-lstm", {"learning_rate": 0.1}),
        ("s4d", {"learning_rate": 0.02, "layers": 1, "modes": 4}),
    ],
    ids=["elman", "lstm", "ur-lstm", "s4d"],
)
def test_every_baseline_learns_to_add(tmp_path, name: str, options: dict[str, float]) -> None:
    """Always answering 1 has an RMS of 0.408."""
    config = TrainConfig(
        model=name,
        length=4,
        hidden_size=16,
        batch_size=32,
        epochs=3,
        iterations_per_epoch=100,
        test_size=200,
        **options,
    )
    assert train(config, tmp_path).best_metric < 0.32


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSTM(0, 4, 1), ValueError, "input_size must be at least 1, got 0"),
        (lambda: ResidualElman(1, 4.0, 1), TypeError, "hidden_size must be an integer, got float"),
        (lambda: URLSTM(1, 4, 0), ValueError, "output_size must be at least 1"),
        (lambda: URLSTM(1, 1, 1), ValueError, "hidden_size must be at least 2"),
        (lambda: S4D(1, 4, 1, layers=0), ValueError, "layers must be at least 1"),
        (lambda: S4D(1, 4, 1, modes=True), TypeError, "modes must be an integer, got bool"),
        (lambda: S4D(1, 4, 1, dtype=torch.float16), ValueError, "float32 or torch.float64.*got torch.float16"),
        (lambda: LSTM(1, 4, 1, dtype=torch.int64), ValueError, "floating-point type, got torch.int64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_networks(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


@each
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(random(5, 2, 4)), ValueError, r"inputs must have 2 components.*got shape \(5, 2, 4\)"),
        (lambda m: m(torch.zeros(5, 2, 2)), TypeError, "torch.float64 like the network"),
        (lambda m: m([0.0]), TypeError, "inputs must be a torch.Tensor, got list"),
        (lambda m: m(random(0, 2, 2)), ValueError, "T >= 1"),
        (lambda m: m(random(5, 2, 2), random(3, m.state_size)), ValueError, "initial_state must have shape"),
        (lambda m: m.states(random(5, 2), random(1, m.state_size)), ValueError, "initial_state must have shape"),
        (lambda m: m.step(random(m.state_size + 1), random(2)), ValueError, "state must have"),
        (lambda m: m.step(random(m.state_size), random(3)), ValueError, "input must have 2 components"),
    ],
    ids=["size", "dtype", "type", "empty", "batch", "batchless", "state", "input"],
)
def test_refused_inputs(name, call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(SMALL[name]())


def test_descriptions() -> None:
    assert "modes=2" in repr(SMALL["s4d"]())
    assert "hidden_size=5" in repr(SMALL["lstm"]())
