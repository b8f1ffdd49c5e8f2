"""Curvature products by recursion through time against double backward and closed forms."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy, mse_loss

from lyapkit import RecurrentMap, as_map
from lyapkit.cell_derivatives import AffineCell, Place, Pointwise
from lyapkit.curvature.parameters import choose_parameters
from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.curvature.recurrent import jacobian as recurrent_jacobian
from lyapkit.curvature.recurrent import trajectory as recurrent_trajectory
from lyapkit.curvature.recurrent.products import RecurrentProducts, recurrent_products
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.losses.unrolled import UnrolledNetwork
from lyapkit.testing import check_map

OPERATORS = ("hessian", "ggn", "residual")
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "RNN tanh": lambda: nn.RNN(2, 4),
    "RNN relu": lambda: nn.RNN(2, 4, nonlinearity="relu"),
    "RNN 2 layers": lambda: nn.RNN(2, 3, num_layers=2),
    "GRU": lambda: nn.GRU(2, 3),
    "GRU 3 layers, no bias": lambda: nn.GRU(2, 3, num_layers=3, bias=False),
    "LSTM": lambda: nn.LSTM(2, 3),
    "LSTM 2 layers": lambda: nn.LSTM(2, 3, num_layers=2),
    "RNNCell": lambda: nn.RNNCell(2, 4),
    "GRUCell": lambda: nn.GRUCell(2, 3),
    "LSTMCell": lambda: nn.LSTMCell(2, 3),
}


def unrolled(name: str, readout: nn.Module | Callable | None = None) -> UnrolledNetwork:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    return UnrolledNetwork(as_map(layer), nn.Linear(layer.hidden_size, 3).double() if readout is None else readout)


def batches(sizes=(4, 2), steps=9) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(steps, size, 2, generator=generator, dtype=torch.float64),
            torch.randint(3, (size,), generator=generator),
        )
        for size in sizes
    ]


def objective_of(network: UnrolledNetwork, loss=cross_entropy, data=None) -> WeightedLoss:
    data = batches() if data is None else data
    weights = [len(targets) / sum(len(t) for _, t in data) for _, targets in data]
    parameters = choose_parameters(dict(network.named_parameters()), None)
    return WeightedLoss(network, parameters, data, weights, loss)


def assert_products_agree(objective: WeightedLoss, operators=OPERATORS, columns: int = 3, **options) -> None:
    fast = recurrent_products(objective, **options)
    assert fast is not None
    generator = torch.Generator().manual_seed(2)
    block = torch.randn(objective.size, columns, generator=generator, dtype=torch.float64)
    for operator in operators:
        expected = objective.product(operator)(block)
        found = fast.product(operator)(block)
        assert found.dtype == torch.float64
        assert not found.requires_grad
        scale = max(float(expected.abs().max()), 1e-3)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * scale)


@pytest.fixture
def short_segments(monkeypatch):
    """Segments of a few steps: 3, 3, 3 for the first batch, 5, 4 for the second."""
    monkeypatch.setattr(recurrent_trajectory, "LEAST_STEPS", 2)
    monkeypatch.setattr(recurrent_trajectory, "ROWS_AT_ONCE", 9)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_are_those_of_the_step(name: str) -> None:
    assert unrolled(name).map.cell_derivatives() is not None
    check_map(unrolled(name).map)


@pytest.mark.parametrize("name", LAYERS)
def test_products_equal_double_backward(name: str) -> None:
    assert_products_agree(objective_of(unrolled(name)))


@pytest.mark.parametrize("budget", [0, 5000, 2**30])
@pytest.mark.parametrize("name", ["RNN tanh", "GRU", "LSTM 2 layers"])
def test_recomputing_changes_nothing(name: str, budget: int, short_segments) -> None:
    network = unrolled(name)
    inputs, _ = batches()[0]
    lengths = [
        segment.stop - segment.start
        for segment in Trajectory(network.map.cell_derivatives(), network.map.initial_state(4), inputs).segments
    ]
    assert lengths == [3, 3, 3]
    assert_products_agree(objective_of(network), columns=33, memory_budget=budget)


def test_the_hessian_of_the_modules_own_forward() -> None:
    """No part of lyapkit in the reference: torch.func through the layer's own, unfused here, forward."""
    network = unrolled("GRU")
    layer, readout = network.map.module, network.readout
    model = nn.ModuleDict({"layer": layer, "readout": readout})
    (inputs, targets), *_ = batches()
    names = [name for name, _ in model.named_parameters()]
    start = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs):
            return self.model["readout"](self.model["layer"](inputs)[0][-1])

    def value(vector):
        parts = vector.split([parameter.numel() for parameter in model.parameters()])
        weights = {
            f"model.{name}": part.reshape(parameter.shape)
            for name, part, parameter in zip(names, parts, model.parameters(), strict=True)
        }
        return cross_entropy(functional_call(Whole(), weights, (inputs,)), targets)

    fast = recurrent_products(objective_of(network, data=[(inputs, targets)]))
    found = fast.product("hessian")(torch.eye(len(start), dtype=torch.float64))
    torch.testing.assert_close(found, hessian(value)(start), rtol=0, atol=1e-12)
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-13)


@given(
    steps=st.integers(1, 12),
    batch=st.integers(1, 5),
    units=st.integers(1, 5),
    outputs=st.integers(1, 4),
    columns=st.integers(1, 6),
    seed=st.integers(0, 100),
)
def test_any_sizes(steps: int, batch: int, units: int, outputs: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer, readout = nn.GRU(2, units).double(), nn.Linear(units, outputs).double()
    data = [(torch.randn(steps, batch, 2).double(), torch.randn(batch, outputs).double())]
    assert_products_agree(objective_of(UnrolledNetwork(as_map(layer), readout), mse_loss, data), columns=columns)


def test_subsets_of_the_parameters() -> None:
    whole = objective_of(unrolled("LSTM"))
    for names in (["weight_hh_l0"], ["readout.bias"], ["readout.weight", "bias_ih_l0"], ["weight_ih_l0", "bias_hh_l0"]):
        assert_products_agree(replace(whole, parameters={name: whole.parameters[name] for name in names}))


class Frozen(nn.Module):
    """A readout of two layers, one of them without gradients, with curvature of its own."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(units, 4).double(), nn.Linear(4, 3).double()
        self.inner.requires_grad_(False)

    def forward(self, state):
        return self.outer(torch.sin(self.inner(state))) ** 2


def test_readouts_of_any_kind() -> None:
    assert_products_agree(objective_of(unrolled("GRU", lambda state: state * state[..., :1])))
    network = unrolled("GRU", Frozen(3))
    chosen = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert_products_agree(replace(objective_of(network), parameters=chosen))


def test_a_readout_that_shares_a_parameter_with_the_layer() -> None:
    layer = nn.RNN(2, 3).double()
    readout = nn.Linear(3, 3).double()
    readout.weight = layer.weight_hh_l0
    assert_products_agree(objective_of(UnrolledNetwork(as_map(layer), readout)))


def test_a_readout_that_mixes_sequences() -> None:
    """The Jacobian of one output of all sequences at once would be wrong here, and is not used."""
    linear = nn.Linear(3, 3).double()

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, state):
            return self.linear(state - state.mean(dim=0))

    assert_products_agree(objective_of(unrolled("GRU", Centred())))


def test_a_loss_that_mixes_sequences() -> None:
    assert_products_agree(objective_of(unrolled("GRU"), lambda f, t: (f.sum() ** 2 + f.var(dim=0).sum()).sqrt()))


def test_outputs_without_a_batch_dimension_of_their_own() -> None:
    assert_products_agree(objective_of(unrolled("RNN tanh", lambda state: state.mean()), lambda f, t: f**3))


def test_linear_losses_and_regularised_ones() -> None:
    network = unrolled("LSTM")
    assert_products_agree(objective_of(network, lambda f, t: f.sum()))
    weight = network.map.module.weight_hh_l0
    assert_products_agree(objective_of(network, lambda f, t: cross_entropy(f, t) + (weight**4).sum()))


@pytest.mark.parametrize("reason", ["outputs", "memory"])
def test_the_gauss_newton_matrix_with_and_without_its_jacobian(reason: str, monkeypatch) -> None:
    built = []
    original = recurrent_jacobian.OutputJacobian.__init__
    monkeypatch.setattr(
        recurrent_jacobian.OutputJacobian, "__init__", lambda *args: (built.append(1), original(*args))[1]
    )
    objective = objective_of(unrolled("LSTM 2 layers"))
    assert_products_agree(objective, ["ggn"])
    assert len(built) == 2  # one for each batch
    if reason == "outputs":
        monkeypatch.setattr(recurrent_jacobian, "MOST_OUTPUTS", 2)
        assert_products_agree(objective, ["ggn"])
    else:
        assert_products_agree(objective, ["ggn"], memory_budget=1000)
    assert len(built) == 2


def test_scalar_linear_rnn_in_closed_form() -> None:
    """f = c b a^(T-1) for an impulse, r = f - y: G = grad f grad f', R = r Hess f."""
    a, b, c, y, steps = 0.95, 0.5, 1.3, 0.1, 40
    map = Linear(a, b)
    readout = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(readout.weight, c)
    impulse = torch.zeros(steps, 1, 1, dtype=torch.float64)
    impulse[0] = 1
    target = torch.full((1, 1), y, dtype=torch.float64)
    network = UnrolledNetwork(map, readout)
    fast = recurrent_products(objective_of(network, lambda f, t: 0.5 * ((f - t) ** 2).sum(), [(impulse, target)]))
    n = steps - 1
    slope = np.array([c * b * n * a ** (n - 1), c * a**n, b * a**n])
    second = np.array(
        [
            [c * b * n * (n - 1) * a ** (n - 2), c * n * a ** (n - 1), b * n * a ** (n - 1)],
            [c * n * a ** (n - 1), 0, a**n],
            [b * n * a ** (n - 1), a**n, 0],
        ]
    )
    residual = (c * b * a**n - y) * second
    eye = torch.eye(3, dtype=torch.float64)
    np.testing.assert_allclose(fast.product("ggn")(eye), np.outer(slope, slope), rtol=1e-12)
    np.testing.assert_allclose(fast.product("residual")(eye), residual, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fast.product("hessian")(eye), np.outer(slope, slope) + residual, rtol=1e-12)


class Identity(Pointwise):
    linear_residual = True

    def advance(self, preactivation, state):
        return preactivation

    def linearise(self, preactivation, state):
        return {(0, 0): torch.ones_like(preactivation[..., 0, :])}, lambda adjoint: {}


class Linear(RecurrentMap):
    """x_{t+1} = a x_t + b s_t, as a third party would register it."""

    state_size = input_size = 1
    dtype, device, unit_names = torch.float64, torch.device("cpu"), ("x",)

    def __init__(self, a: float, b: float, pointwise: Pointwise | None = None) -> None:
        self.a, self.b = (nn.Parameter(torch.tensor([[value]], dtype=torch.float64)) for value in (a, b))
        self.pointwise = Identity() if pointwise is None else pointwise

    def step(self, state, input=None):
        return state * self.a + input * self.b

    def parameters(self):
        return iter((("a", self.a), ("b", self.b)))

    def cell_derivatives(self):
        weight = torch.cat((self.a, self.b, torch.zeros_like(self.a)), dim=1).detach()
        first = torch.arange(1)
        return [AffineCell(self.pointwise, 1, weight, [Place(self.a, first, 0), Place(self.b, first, 1)], slice(0, 1))]


def test_wrong_derivatives_are_refused() -> None:
    class Wrong(Identity):
        def linearise(self, preactivation, state):
            return {(0, 0): torch.full_like(preactivation[..., 0, :], 1.01)}, lambda adjoint: {}

    class Bent(Identity):
        def linearise(self, preactivation, state):
            first, _ = super().linearise(preactivation, state)
            return first, lambda adjoint: {(0, 0): 0.01 * adjoint[..., 0, :]}

    data = [(torch.randn(5, 2, 1).double(), torch.randn(2, 1).double())]
    for pointwise in (Wrong(), Bent()):
        objective = objective_of(UnrolledNetwork(Linear(0.9, 0.5, pointwise), nn.Identity()), mse_loss, data)
        with pytest.raises(ValueError, match="cell_derivatives disagree with its step"):
            recurrent_products(objective)
        assert recurrent_products(objective, check=False) is not None


def test_networks_without_derivatives_have_no_fast_route() -> None:
    projected = nn.LSTM(2, 3, proj_size=2).double()
    assert as_map(projected).cell_derivatives() is None
    network = UnrolledNetwork(as_map(projected), nn.Linear(2, 3).double())
    assert recurrent_products(objective_of(network)) is None
    function = as_map(lambda x, s: 0.9 * x + s, state=torch.zeros(2).double(), input=torch.zeros(2).double())
    assert function.cell_derivatives() is None
    layer = nn.RNN(2, 3).double()
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    assert as_map(layer).cell_derivatives() is None
    model = nn.Linear(2, 3).double()
    objective = WeightedLoss(model, dict(model.named_parameters()), batches(), [0.5, 0.5], cross_entropy)
    assert recurrent_products(objective) is None


def test_wrong_inputs_are_refused() -> None:
    objective = objective_of(unrolled("GRU"), data=[(torch.zeros(5, 4, 1).double(), torch.zeros(4))])
    with pytest.raises(ValueError, match="inputs must have shape"):
        recurrent_products(objective)


def test_float32_products_are_within_its_rounding() -> None:
    """Relative to the largest entry, over 100 steps, against the float64 network with the same weights."""
    torch.manual_seed(0)
    for layer in (nn.RNN(2, 16), nn.GRU(2, 8), nn.LSTM(2, 8)):
        readout = nn.Linear(layer.hidden_size, 3)
        inputs, targets = torch.randn(100, 8, 2), torch.randint(3, (8,))
        single = recurrent_products(objective_of(UnrolledNetwork(as_map(layer), readout), data=[(inputs, targets)]))
        block = torch.randn(sum(p.numel() for p in (*layer.parameters(), *readout.parameters())), 2).double()
        found = {operator: single.product(operator)(block) for operator in OPERATORS}
        network = UnrolledNetwork(as_map(layer.double()), readout.double())
        double = objective_of(network, data=[(inputs.double(), targets)])
        for operator in OPERATORS:
            expected = double.product(operator)(block)
            scale = float(expected.abs().max())
            torch.testing.assert_close(found[operator], expected, rtol=0, atol=2e-5 * scale)


def test_the_budget_is_kept_to() -> None:
    network = unrolled("LSTM 2 layers")
    inputs, _ = batches(sizes=(4,), steps=400)[0]
    cells = network.map.cell_derivatives()
    trajectory = Trajectory(cells, network.map.initial_state(4), inputs, rows_at_once=32)
    gradient = torch.ones(4, network.map.state_size).double()
    with torch.no_grad():
        everything = trajectory.carry_back(gradient, 2**40)
        assert everything == sum(
            8 * layer.numbers() for index in range(len(trajectory.segments)) for layer in trajectory.segment(index)
        )
        for budget in (0, everything // 3, everything - 1):
            fresh = trajectory.in_segments(32)
            used = fresh.carry_back(gradient, budget)
            assert budget - everything / 10 <= used <= budget
            assert trajectory.in_segments(32).keep(budget) <= budget


@pytest.mark.slow
def test_a_long_sequence_needs_no_more_memory_than_its_states() -> None:
    """Without a budget, a Hessian product of 3,000 steps keeps states at segment starts, a fraction of a graph."""
    torch.manual_seed(0)
    layer, readout = nn.RNN(1, 32), nn.Linear(32, 2)
    network = UnrolledNetwork(as_map(layer), readout)
    data = [(torch.randn(3000, 64, 1), torch.randint(2, (64,)))]
    objective = objective_of(network, data=data)
    block = torch.randn(objective.size, 1).double()
    product = RecurrentProducts(objective, network.map.cell_derivatives(), 0).product("hessian")
    allocated = peak_allocation(lambda: product(block))
    states = 3000 * 64 * 32 * 4
    assert allocated < 0.5 * states


def peak_allocation(call: Callable[[], object]) -> int:
    """Largest sum of bytes that PyTorch held at once during a call, from the profiler's record of allocations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    held = peak = 0
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert peak > 0
    return peak


def test_expanding_maps() -> None:
    """Products of 20 orders of magnitude, to the same relative accuracy."""
    network = UnrolledNetwork(Linear(1.5, 0.5), nn.Identity())
    data = [(torch.randn(60, 2, 1).double(), torch.randn(2, 1).double())]
    objective = objective_of(network, mse_loss, data)
    block = torch.eye(2, dtype=torch.float64)
    expected, found = objective.product("hessian")(block), recurrent_products(objective).product("hessian")(block)
    assert math.log10(float(expected.abs().max())) > 20
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
