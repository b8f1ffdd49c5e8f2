import math

import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap

from wcrnn_models import WCRNN, residuals

# importing forward mode warns once about PyTorch's own use of torch.jit
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

FORMS = ("linear", "A", "B")


def network(form="linear", nonlinearity="tanh", coupling=0.05, residual=None, **options) -> WCRNN:
    residual = residuals.rotation(0.4, 0.97) if residual is None else residual
    options = {"rng": 0, "dtype": torch.float64, **options}
    return WCRNN(3, 8, 2, residual=residual, coupling=coupling, form=form, nonlinearity=nonlinearity, **options)


def naive_states(model: WCRNN, inputs: torch.Tensor, initial: torch.Tensor) -> list[torch.Tensor]:
    """Eqs. (11), (18), (19) with explicit sums, one sample at a time: inputs (T, M), initial (N,)."""
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    matrix, gamma = model.residual.matrix(), model.coupling
    sigma = torch.tanh if model.nonlinearity == "tanh" else (lambda value: value)
    state, states = initial, []
    for stimulus in inputs:
        drive = (
            weights["recurrent.weight"] @ state
            + weights["recurrent.bias"]
            + weights["input.weight"] @ stimulus
            + weights["input.bias"]
        )
        state = {
            "linear": matrix @ state + gamma * sigma(drive),
            "A": sigma(matrix @ state) + gamma * sigma(drive),
            "B": sigma(matrix @ state + gamma * drive),
        }[model.form]
        states.append(state)
    return states


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("nonlinearity", ["tanh", "identity"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("coupling", [0.0, 0.05, torch.linspace(0.01, 0.3, 8)], ids=["none", "one", "per unit"])
def test_forward_and_states_equal_a_naive_loop(form, nonlinearity, coupling):
    model = network(form, nonlinearity, coupling)
    inputs, initial = random(7, 4, 3), random(4, 8, seed=1)
    states, outputs = model.states(inputs, initial), model(inputs, initial)
    assert states.shape == (7, 4, 8)
    assert outputs.shape == (4, 2)
    for sample in range(4):
        expected = naive_states(model, inputs[:, sample], initial[sample])
        torch.testing.assert_close(states[:, sample], torch.stack(expected), rtol=1e-13, atol=1e-14)
        readout = model.readout.weight @ expected[-1] + model.readout.bias
        torch.testing.assert_close(outputs[sample], readout, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_forward_equals_repeated_steps(form):
    model, inputs = network(form), random(50, 5, 3)
    state = torch.zeros(5, 8, dtype=torch.float64)
    for stimulus in inputs:
        state = model.step(state, stimulus)
    torch.testing.assert_close(model(inputs), model.readout(state), rtol=1e-12, atol=1e-14)


def test_inputs_without_batch():
    model, inputs, initial = network(), random(6, 3), random(8, seed=3)
    assert model(inputs).shape == (2,)
    assert model.states(inputs).shape == (6, 8)
    torch.testing.assert_close(model(inputs, initial), model(inputs[:, None], initial[None])[0])
    torch.testing.assert_close(model.states(inputs, initial)[-1], naive_states(model, inputs, initial)[-1])


def test_one_initial_state_for_the_whole_batch():
    model, inputs, initial = network(), random(6, 4, 3), random(8, seed=3)
    torch.testing.assert_close(model(inputs, initial), model(inputs, initial.expand(4, 8)))


def test_step_takes_any_leading_dimensions():
    model, states, inputs = network(), random(2, 5, 8), random(2, 5, 3, seed=1)
    one = model.step(states[1, 2], inputs[1, 2])
    torch.testing.assert_close(model.step(states, inputs)[1, 2], one, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_parameters_and_states(form):
    model, inputs, initial = network(form), random(4, 2, 3), random(2, 8, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda state: model(inputs, state), (initial,))
    assert torch.autograd.gradgradcheck(lambda state: model(inputs, state), (initial,))
    parameters = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}

    def output(*values):
        return functional_call(model, dict(zip(parameters, values, strict=True)), (inputs,))

    assert torch.autograd.gradcheck(output, tuple(parameters.values()))


@pytest.mark.parametrize("form", FORMS)
def test_jacobian_by_forward_mode_is_the_derivative_of_the_equation(form):
    model, state, stimulus = network(form), random(8), random(3, seed=1)
    step = lambda value: model.step(value, stimulus)  # noqa: E731
    jacobian = vmap(lambda tangent: jvp(step, (state,), (tangent,))[1])(torch.eye(8, dtype=torch.float64)).T
    matrix, weight, gamma = model.residual.matrix(), model.recurrent.weight, model.coupling
    drive = model.recurrent(state) + model.input(stimulus)
    slope = lambda value: (1 - torch.tanh(value) ** 2).unsqueeze(-1)  # noqa: E731
    expected = {
        "linear": matrix + gamma * slope(drive) * weight,
        "A": slope(matrix @ state) * matrix + gamma * slope(drive) * weight,
        "B": slope(matrix @ state + gamma * drive) * (matrix + gamma * weight),
    }[form]
    torch.testing.assert_close(jacobian, expected, rtol=1e-13, atol=1e-14)


def test_per_sample_gradients_by_vmap():
    model, inputs = network(), random(4, 5, 3)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    loss = lambda values, sample: functional_call(model, values, (sample,)).square().sum()  # noqa: E731
    batched = vmap(grad(loss), in_dims=(None, 1))(parameters, inputs)
    single = grad(loss)(parameters, inputs[:, 3])
    for name in parameters:
        torch.testing.assert_close(batched[name][3], single[name], rtol=1e-12, atol=1e-14)


def test_parameter_count_of_the_paper():
    model = WCRNN(1, 100, 10, residual=residuals.scalar(0.995))
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_310
    assert {name for name, _ in model.named_buffers()} == {"coupling", "residual.r"}


def test_initial_weights_have_the_distribution_of_linear_layers():
    model = WCRNN(4, 100, 10, residual=residuals.scalar(1.0), rng=0, dtype=torch.float64)
    for layer, fan_in in ((model.recurrent, 100), (model.input, 4), (model.readout, 100)):
        bound = 1 / math.sqrt(fan_in)
        weight = layer.weight.detach()
        for values in (weight, layer.bias.detach()):
            assert float(values.abs().max()) <= bound
        assert float(weight.abs().max()) > 0.97 * bound
        spread = 4 * bound / math.sqrt(3 * layer.weight.numel())
        assert abs(float(weight.mean())) < spread
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_a_seed_determines_the_network_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = network(rng=7), network(rng=torch.Generator().manual_seed(7))
    other = network(rng=8)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.recurrent.weight, other.recurrent.weight)
    # layers of one network do not share their numbers
    shared = (
        first.recurrent.weight.flatten()[:16] * math.sqrt(8),
        first.readout.weight.flatten() * math.sqrt(8),
    )
    assert not torch.allclose(*shared)
    # float32 is the same network, rounded
    rounded = network(rng=7, dtype=torch.float32)
    assert torch.equal(rounded.recurrent.weight, first.recurrent.weight.to(torch.float32))


def test_without_rng_the_global_generator_decides():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = network(rng=None)
        torch.manual_seed(3)
        assert torch.equal(first.recurrent.weight, network(rng=None).recurrent.weight)


def test_residual_as_matrix_and_as_module():
    matrix = random(8, 8)
    assert torch.equal(network(residual=matrix).residual.matrix(), matrix)
    module = residuals.diagonal(torch.linspace(0, 1, 8)).build(8, dtype=torch.float64)
    model = network(residual=module, dtype=torch.float32)
    assert model.residual.matrix().dtype == torch.float32
    assert module.matrix().dtype == torch.float64  # the given one is not changed
    module.r.zero_()
    assert float(model.residual.r[-1]) == 1.0


def test_buffers_are_exact_in_the_type_of_the_network():
    model = WCRNN(1, 4, 1, residual=residuals.scalar(0.995), coupling=0.01, dtype=torch.float64)
    assert float(model.residual.r) == 0.995
    assert float(model.coupling) == 0.01


def test_state_dict_restores_the_network():
    model, inputs = network(residual=residuals.rotation("random", rng=1)), random(5, 2, 3)
    other = network(residual=residuals.rotation("random", rng=2), rng=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(inputs), model(inputs))


def test_description():
    assert "hidden_size=8" in repr(network())
    assert "coupling=0.05" in repr(network())
    assert "coupling=8 values" in repr(network(coupling=torch.ones(8)))


SCALAR = residuals.scalar(1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1"),
        ({"output_size": -1}, ValueError, "output_size must be at least 1"),
        ({"form": "C"}, ValueError, "form must be one of linear, A, B, got 'C'"),
        ({"nonlinearity": "tnah"}, ValueError, "Did you mean 'tanh'"),
        ({"coupling": -0.1}, ValueError, "coupling must be finite and >= 0, got -0.1"),
        (
            {"coupling": 1e300, "dtype": torch.float32},
            ValueError,
            r"coupling must not exceed 3.40282347e\+38, the largest number of torch.float32, got 1e\+300",
        ),
        (
            {"residual": residuals.scalar(1e39).build(4, dtype=torch.float64), "dtype": torch.float32},
            ValueError,
            r"r must not exceed 3.40282347e\+38, the largest number of torch.float32, got 1e\+39",
        ),
        ({"coupling": float("nan")}, ValueError, "coupling must be finite"),
        ({"coupling": torch.tensor([0.1, 0.1, float("inf"), 0.1])}, ValueError, "got inf"),
        ({"coupling": torch.ones(3)}, ValueError, r"one number or 4 values.*got shape \(3,\)"),
        ({"coupling": "0.1"}, TypeError, "must be a number or a tensor, got str"),
        ({"dtype": torch.int64}, ValueError, "floating-point type, got torch.int64"),
        ({"residual": 0.9}, TypeError, "residual must be a ResidualSpec.*got float"),
        ({"residual": SCALAR.build(3)}, ValueError, "for 3 units, but hidden_size is 4"),
        ({"residual": torch.eye(3)}, ValueError, "must be 4 x 4"),
        ({"residual": residuals.rotation(0.1), "hidden_size": 5}, ValueError, "even hidden_size, got 5"),
        ({"rng": "seed"}, TypeError, "rng must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_networks(change, error, message):
    arguments = {"input_size": 1, "hidden_size": 4, "output_size": 1, "residual": SCALAR, **change}
    sizes = [arguments.pop(name) for name in ("input_size", "hidden_size", "output_size")]
    with pytest.raises(error, match=message):
        WCRNN(*sizes, **arguments)


def float64(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(float64(5, 2, 4)), ValueError, r"3 components.*got shape \(5, 2, 4\)"),
        (lambda m: m(float64(3)), ValueError, r"\(T, B, 3\) or \(T, 3\).*got \(3,\)"),
        (lambda m: m(float64(0, 2, 3)), ValueError, "T >= 1"),
        (
            lambda m: m(torch.zeros(5, 2, 3)),
            TypeError,
            r"torch.float64 like the network.*use .to\(torch.float64\)",
        ),
        (lambda m: m([[0.0, 0.0, 0.0]]), TypeError, "inputs must be a torch.Tensor, got list"),
        (lambda m: m(float64(5, 2, 3), float64(3, 8)), ValueError, r"\(8,\) or \(2, 8\).*got \(3, 8\)"),
        (lambda m: m(float64(5, 3), float64(1, 8)), ValueError, r"shape \(8,\) for inputs"),
        (lambda m: m.states(float64(5, 2, 3), float64(2, 7)), ValueError, "8 components"),
        (lambda m: m.step(float64(7), float64(3)), ValueError, "state must have 8 components"),
        (lambda m: m.step(float64(8), float64(2)), ValueError, "input must have 3 components"),
        (lambda m: m.step(float64(8), torch.zeros(3)), TypeError, "input must be torch.float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_inputs(call, error, message):
    with pytest.raises(error, match=message):
        call(network())
