"""`lyapunov_exponents`: values against the spectrum, derivatives against finite differences and closed forms."""

import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, lyapunov_exponents, lyapunov_spectrum, systems
from lyapkit.lyapunov.qr import initial_frame
from references import dense_jacobians, random_orthogonal
from steps import BackwardOnly, Steps
from wcrnn_models import WCRNN, residuals

STEPS, BATCH = 9, 2
WEIGHT = torch.tensor([[0.9, -0.4, 0.3], [0.7, 0.8, -0.2], [0.1, -0.5, 1.1]]).double()


class Leaky(nn.Module):
    """A user's module: x' = x + 0.3 (-x + W tanh x + s), with the state first."""

    def __init__(self, driven: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(1.2 * WEIGHT.clone())
        self.driven = driven

    def forward(self, x, s=None):
        after = 0.7 * x + 0.3 * self.weight @ torch.tanh(x)
        return after if s is None else after + 0.3 * s


def wcrnn(form):
    return WCRNN(2, 4, 1, residual=residuals.rotation(0.95, rng=0), coupling=0.3, form=form, rng=1, dtype=torch.float64)


def model_of(name: str):
    """The module with its parameters, and its map."""
    torch.manual_seed(0)
    module = {
        "RNNCell": lambda: nn.RNNCell(2, 4),
        "GRUCell": lambda: nn.GRUCell(2, 4),
        "LSTMCell": lambda: nn.LSTMCell(2, 3),
        "RNN": lambda: nn.RNN(2, 3, num_layers=2),
        "GRU": lambda: nn.GRU(2, 3, num_layers=2, bias=False),
        "LSTM": lambda: nn.LSTM(2, 3, proj_size=2),
        "driven callable": lambda: Leaky(True),
        "autonomous callable": lambda: Leaky(False),
        "WCRNN": lambda: wcrnn("linear"),
        "WCRNN B": lambda: wcrnn("B"),
    }[name]()
    module = module.double()
    if isinstance(module, Leaky):
        example = torch.zeros(3).double()
        return module, as_map(module, state=example, input=example if module.driven else None)
    return module, as_map(module)


MODELS = ["RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM"]
MODELS += ["driven callable", "autonomous callable", "WCRNN", "WCRNN B"]


def drive_of(map, steps: int = STEPS, batch: int = BATCH) -> dict:
    generator = torch.Generator().manual_seed(5)
    state = 0.5 * torch.randn(batch, map.state_size, generator=generator, dtype=torch.float64)
    if map.input_size == 0:
        return {"steps": steps, "initial_state": state}
    inputs = torch.randn(steps, batch, map.input_size, generator=generator, dtype=torch.float64)
    return {"inputs": inputs, "initial_state": state}


def growth(jacobians, frame, interval: int):
    """Sum of log |R_ii| of one trajectory by NumPy, and the last frame."""
    total = np.zeros(frame.shape[1])
    for number, jacobian in enumerate(jacobians, start=1):
        frame = jacobian.numpy() @ frame
        if number % interval == 0 or number == len(jacobians):
            frame, triangle = np.linalg.qr(frame)
            total += np.log(np.abs(np.diag(triangle)))
    return total, frame


def states_from(map, start, inputs, steps: int):
    states = [start]
    with torch.no_grad():
        for t in range(steps):
            states.append(map.step(states[-1], None if inputs is None else inputs[t]))
    return torch.stack(states)


class Reference:
    """Exponents of one trajectory, computed apart from lyapkit, in which chosen things stay as they are now.

    What is frozen when the parameters change: the states (all, or those where windows start) and the frames
    where windows start.
    """

    def __init__(self, map, start, inputs, steps, frame, *, window, interval=1, transient=0, freeze_states=True):
        self.map, self.inputs, self.steps, self.interval = map, inputs, steps, interval
        self.transient, self.freeze_states = transient, freeze_states
        self.states = states_from(map, start, inputs, steps)
        self.starts = list(range(transient, steps, window))
        self.frames = []
        _, frame = growth(self._jacobians(self.states[:transient], 0), frame.numpy(), interval)
        for number, begin in enumerate(self.starts):
            self.frames.append(frame)
            end = self.starts[number + 1] if number + 1 < len(self.starts) else steps
            _, frame = growth(self._jacobians(self.states[begin:end], begin), frame, interval)

    def _jacobians(self, states, begin):
        inputs = None if self.inputs is None else self.inputs[begin:]
        return dense_jacobians(self.map.step, states, inputs)

    def __call__(self):
        total = 0
        for number, begin in enumerate(self.starts):
            end = self.starts[number + 1] if number + 1 < len(self.starts) else self.steps
            states = self.states[begin:end]
            if not self.freeze_states:
                inputs = None if self.inputs is None else self.inputs[begin:]
                states = states_from(self.map, states[0], inputs, end - begin - 1)
            total += growth(self._jacobians(states, begin), self.frames[number], self.interval)[0]
        return np.sort(total / (self.steps - self.transient))[::-1]


def directional(function, parameters, direction, step: float = 1e-4):
    """Derivative of a function of the parameters' current values, by fourth-order central differences."""
    values = {}
    saved = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for factor in (-2, -1, 1, 2):
            for parameter, value, change in zip(parameters, saved, direction, strict=True):
                parameter.copy_(value + factor * step * change)
            values[factor] = function()
        for parameter, value in zip(parameters, saved, strict=True):
            parameter.copy_(value)
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)


def directions_of(parameters, count: int = 2):
    generator = torch.Generator().manual_seed(9)
    return [
        [torch.randn(parameter.shape, generator=generator, dtype=torch.float64) for parameter in parameters]
        for _ in range(count)
    ]


def gradients_of(values, parameters) -> list[tuple]:
    """d value / d parameters for each of a vector of values, before finite differences change the parameters."""
    return [torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True) for value in values]


def check_gradients(gradients, function, parameters) -> None:
    """Every exponent's derivative along random directions, to 1e-6 of its size."""
    for direction in directions_of(parameters):
        expected = directional(function, parameters, direction)
        exact = [sum(float((g * d).sum()) for g, d in zip(row, direction, strict=True)) for row in gradients]
        assert np.abs(expected).max() > 1e-3  # something depends on the parameters
        np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"k": 2, "qr_interval": 3, "transient": 2, "dt": 0.1}], ids=["all", "some"])
@pytest.mark.parametrize("detach_state", [True, False])
def test_values_are_those_of_the_spectrum(name: str, options: dict, detach_state: bool) -> None:
    _, map = model_of(name)
    arguments = drive_of(map) | options
    found = lyapunov_exponents(map, **arguments, rng=0, detach_state=detach_state)
    ds = lyapunov_spectrum(map, **({"qr_interval": 1} | arguments), rng=0)
    assert found.shape == (BATCH, options.get("k", map.state_size))
    assert found.requires_grad
    np.testing.assert_allclose(found.detach(), ds.lyapunov_exponent, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_full_derivative_is_that_of_the_spectrum(name: str) -> None:
    module, map = model_of(name)
    parameters = list(module.parameters())
    arguments = drive_of(map)
    found = lyapunov_exponents(map, **arguments, detach_state=False)

    def spectrum():
        return lyapunov_spectrum(map, **arguments, qr_interval=1, check=False).lyapunov_exponent.values.reshape(-1)

    check_gradients(gradients_of(found.flatten(), parameters), spectrum, parameters)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("k", [None, 2])
def test_detached_derivative_holds_the_trajectory(name: str, k: int | None) -> None:
    module, map = model_of(name)
    parameters = list(module.parameters())
    arguments = drive_of(map, steps=6)
    found = lyapunov_exponents(map, **arguments, k=k, rng=0)
    frames = initial_frame(
        BATCH, map.state_size, k or map.state_size, torch.Generator().manual_seed(0), torch.zeros(()).double()
    )
    gradients = [gradients_of(row, parameters) for row in found]
    for trajectory in range(BATCH):
        inputs = arguments["inputs"][:, trajectory] if map.input_size else None
        start = arguments["initial_state"][trajectory]
        reference = Reference(map, start, inputs, 6, frames[trajectory], window=6)
        np.testing.assert_allclose(found[trajectory].detach(), reference(), atol=1e-12)
        check_gradients(gradients[trajectory], reference, parameters)


@pytest.mark.parametrize("name", ["GRUCell", "autonomous callable"])
@pytest.mark.parametrize("detach_state", [True, False])
@pytest.mark.parametrize(("window", "interval", "transient"), [(1, 1, 0), (2, 1, 3), (4, 2, 1), (100, 2, 2)])
def test_windows_cut_frame_and_state_from_the_graph(
    name: str, detach_state: bool, window: int, interval: int, transient: int
) -> None:
    module, map = model_of(name)
    parameters = list(module.parameters())
    arguments = drive_of(map, batch=1)
    options = {"qr_interval": interval, "transient": transient, "rng": 3, "detach_state": detach_state}
    found = lyapunov_exponents(map, **arguments, **options, window=window)
    uncut = lyapunov_exponents(map, **arguments, **options)
    torch.testing.assert_close(found, uncut, rtol=0, atol=0)
    reference = Reference(
        map,
        arguments["initial_state"][0],
        arguments["inputs"][:, 0] if map.input_size else None,
        STEPS,
        torch.eye(map.state_size).double(),
        window=window,
        interval=interval,
        transient=transient,
        freeze_states=detach_state,
    )
    gradients, whole = gradients_of(found[0], parameters), gradients_of(uncut[0], parameters)
    check_gradients(gradients, reference, parameters)
    assert torch.equal(gradients[0][0], whole[0][0]) == (window == 100)


def test_the_sum_of_a_full_spectrum_needs_no_frame() -> None:
    """sum_i log |R_ii| = log |det J|, whatever the frame was: a window changes nothing."""
    module, map = model_of("LSTMCell")
    gradients = []
    for window in (None, 1):
        total = lyapunov_exponents(map, **drive_of(map), window=window).sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, list(module.parameters()))]))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("detach_state", [True, False])
@pytest.mark.parametrize("interval", [1, 3])
def test_diagonal_map(window: int | None, detach_state: bool, interval: int) -> None:
    """lambda_i = log |a_i|, d lambda_i / d a_j = delta_ij / a_j, for every trajectory."""
    scale = torch.tensor([0.5, -2.0, 1.25], dtype=torch.float64, requires_grad=True)
    map = as_map(lambda x: scale * x, state=torch.ones(3).double())
    found = lyapunov_exponents(
        map,
        steps=7,
        initial_state=torch.randn(2, 3).double(),
        qr_interval=interval,
        window=None if window is None else window * interval,
        detach_state=detach_state,
    )
    order = [1, 2, 0]
    exact = scale.detach()
    for row in found:
        torch.testing.assert_close(row.detach(), exact.abs().log()[order], rtol=1e-14, atol=1e-15)
        for exponent, component in zip(row, order, strict=True):
            (gradient,) = torch.autograd.grad(exponent, scale, retain_graph=True)
            expected = torch.zeros(3).double()
            expected[component] = 1 / exact[component]
            torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=1e-15)


def test_a_frame_that_has_settled_gives_the_derivative_of_the_eigenvalues() -> None:
    matrix = random_orthogonal(3, 1) @ torch.diag(torch.tensor([1.2, 0.7, -0.3]).double()) @ random_orthogonal(3, 2)
    matrix = (matrix + matrix.T).requires_grad_()
    found = lyapunov_exponents(as_map(lambda x: matrix @ x, state=torch.zeros(3).double()), steps=600, transient=300)
    exact = torch.linalg.eigvals(matrix).abs().log().sort(descending=True).values
    torch.testing.assert_close(found[0], exact, rtol=1e-10, atol=1e-12)
    for mine, eigen in zip(found[0], exact, strict=True):
        gradient = torch.autograd.grad(mine, matrix, retain_graph=True)[0]
        expected = torch.autograd.grad(eigen, matrix, retain_graph=True)[0]
        # while the derivative of the frame settles, from 0 at the start of the graph: O(1/steps)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0.02)


def test_gradcheck_of_the_full_derivative() -> None:
    def exponents(weight, bias, start):
        map = as_map(lambda x: torch.tanh(weight @ x + bias), state=torch.zeros(3).double())
        return lyapunov_exponents(map, steps=4, initial_state=start, detach_state=False, qr_interval=2)

    weight = WEIGHT.clone().requires_grad_()
    bias = torch.tensor([0.1, -0.3, 0.2], dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(exponents, (weight, bias, start))
    assert torch.autograd.gradcheck(exponents, (weight, bias, start[0].detach().requires_grad_()))


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("detach_state", [True, False])
def test_gradcheck_in_the_inputs_of_a_product_of_matrices(k: int | None, detach_state: bool) -> None:
    """The inputs are the Jacobians, so both derivatives are the same."""
    inputs = torch.randn(3, 2, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)

    def exponents(inputs):
        return lyapunov_exponents(systems.MatrixProduct(3), inputs, k=k, rng=0, detach_state=detach_state)

    assert torch.autograd.gradcheck(exponents, (inputs,))
    assert torch.autograd.gradcheck(exponents, (inputs[:, 0].detach().requires_grad_(),))


def test_inputs_from_an_encoder_get_gradients_but_not_through_the_transient() -> None:
    torch.manual_seed(0)
    encoder, cell = nn.Linear(2, 3).double(), nn.RNNCell(3, 4).double()
    encoded = encoder(torch.randn(8, 2).double())
    encoded.retain_grad()
    lyapunov_exponents(cell, encoded, transient=3).sum().backward()
    assert (encoded.grad[:3] == 0).all()
    assert (encoded.grad[3:] != 0).all()
    assert encoder.weight.grad.abs().sum() > 0


def test_arrays_and_the_maps_own_initial_state() -> None:
    _, map = model_of("GRUCell")
    inputs = torch.randn(5, 2).double()
    from_array = lyapunov_exponents(map, inputs.numpy(), initial_state=np.zeros((3, 4)), detach_state=False)
    assert from_array.shape == (3, 4)
    torch.testing.assert_close(from_array[:1], lyapunov_exponents(map, inputs, detach_state=False))


class Learnable(Steps):
    """A map whose own initial state is a parameter."""

    def __init__(self) -> None:
        super().__init__(lambda x: torch.sin(1.5 * x))
        self.start = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)

    def initial_state(self, batch: int):
        return self.start.expand(batch, -1)


def test_a_learnable_initial_state_is_in_the_full_derivative_only() -> None:
    map = Learnable()
    (gradient,) = torch.autograd.grad(lyapunov_exponents(map, steps=1, detach_state=False)[0, 0], map.start)
    # lambda_1 = log(1.5 cos(1.5 x)) of the smaller component
    torch.testing.assert_close(gradient, torch.tensor([-1.5 * np.tan(1.5 * 0.3), 0.0]).double())
    assert not lyapunov_exponents(map, steps=1).requires_grad
    assert not lyapunov_exponents(map, steps=2, transient=1, detach_state=False).requires_grad


def test_through_a_chaotic_trajectory_the_full_derivative_grows_and_the_detached_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (3 * torch.randn(40, 40, generator=generator, dtype=torch.float64) / 40**0.5).requires_grad_()
    start = torch.randn(40, generator=generator, dtype=torch.float64)
    map = as_map(lambda x: weight @ torch.tanh(x), state=start)

    def size(steps, **options):
        exponent = lyapunov_exponents(map, steps=steps, k=1, rng=0, **options)[0, 0]
        return float(torch.autograd.grad(exponent, weight)[0].norm())

    assert size(200, detach_state=False) > 1e6 * size(200)
    assert size(200) < 10 * size(20)
    assert size(200, detach_state=False, window=5) < 10 * size(20)


@pytest.mark.parametrize("detach_state", [True, False])
@pytest.mark.parametrize("k", [1, 2])
def test_a_map_without_forward_mode_goes_backwards(detach_state: bool, k: int) -> None:
    weight = torch.tensor([[0.9, -0.4], [0.7, 0.8]], dtype=torch.float64, requires_grad=True)
    results = []
    for sine in (BackwardOnly.apply, torch.sin):
        map = Steps(lambda x, sine=sine: sine(x @ weight.T))
        start = torch.tensor([[0.1, 0.7], [0.4, -0.2]]).double()
        options = {"initial_state": start, "k": k, "rng": 0, "detach_state": detach_state, "transient": 1}
        found = lyapunov_exponents(map, steps=6, **options)
        results.append((found.detach(), torch.autograd.grad(found[1, -1], weight)[0]))
    for backward, forward in zip(*results, strict=True):
        torch.testing.assert_close(backward, forward, rtol=1e-12, atol=1e-13)


def test_nothing_is_recorded_without_gradients() -> None:
    for map in (model_of("LSTM")[1], Steps(lambda x: BackwardOnly.apply(2 * x + 0.1))):
        arguments = drive_of(map)
        with torch.no_grad():
            plain = lyapunov_exponents(map, **arguments, detach_state=False)
            assert not torch.is_grad_enabled()
        assert not plain.requires_grad
        torch.testing.assert_close(plain, lyapunov_exponents(map, **arguments).detach(), rtol=1e-13, atol=1e-14)
        assert torch.is_grad_enabled()


def test_float32_maps_give_float32_exponents() -> None:
    torch.manual_seed(0)
    single, inputs = nn.GRU(2, 5), torch.randn(12, 3, 2)
    double = nn.GRU(2, 5).double()
    double.load_state_dict(single.state_dict())
    gradients = []
    for module in (single, double):
        found = lyapunov_exponents(module, inputs.to(module.weight_hh_l0), k=3, rng=0)
        assert found.dtype == module.weight_hh_l0.dtype
        gradients.append(torch.autograd.grad(found.square().sum(), module.weight_hh_l0)[0].double())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_rng_chooses_the_frame() -> None:
    _, map = model_of("GRUCell")
    first, again, other = (lyapunov_exponents(map, **drive_of(map), k=1, rng=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_annihilated_direction_leaves_the_others() -> None:
    scale = torch.tensor([1.5, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    map = as_map(lambda x: scale * x, state=torch.ones(3).double())
    with pytest.raises(FloatingPointError, match="k <= 2"):
        lyapunov_exponents(map, steps=3)
    found = lyapunov_exponents(map, steps=60, transient=50, k=2, rng=0)
    torch.testing.assert_close(found[0].detach(), torch.tensor([1.5, 0.5]).double().log(), rtol=0, atol=1e-12)
    assert torch.autograd.grad(found.sum(), scale)[0].isfinite().all()


@pytest.mark.slow
def test_the_flossing_example_brings_the_leading_exponents_to_zero(capsys) -> None:
    path = Path(__file__).parents[3] / "examples" / "gradient_flossing.py"
    assert len(path.read_text().splitlines()) < 60
    with warnings.catch_warnings(), torch.random.fork_rng():
        runpy.run_path(str(path), run_name="__main__")
    rows = re.findall(r"lambda_\d +(-?[\d.]+) +(-?[\d.]+)", capsys.readouterr().out)
    before, after = np.array(rows, dtype=float).T
    assert (before < -0.3).all()
    assert (np.abs(after) < 0.15).all()
