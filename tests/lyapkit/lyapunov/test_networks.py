"""Any trained network, with values: low-rank and leaky networks, reservoirs, saturated gates, built-in layers."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    covariant_vectors,
    gradient_propagation,
    lyapunov_exponents,
    lyapunov_spectrum,
    variational_term,
)
from references import sorted_log_magnitudes


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def textbook_exponents(jacobians: list[np.ndarray], transient: int = 0) -> np.ndarray:
    """Algorithm 1 in NumPy, with a decomposition at every step."""
    frame, total = np.eye(len(jacobians[0])), 0
    for step, jacobian in enumerate(jacobians):
        frame, triangle = np.linalg.qr(jacobian @ frame)
        if step >= transient:
            with np.errstate(divide="ignore"):  # a direction may be gone
                total = total + np.log(np.abs(np.diag(triangle)))
    return np.sort(total / (len(jacobians) - transient))[::-1]


LEAK, SIZE = 0.3, 12


def low_rank(rank: int, gain: float):
    """x' = (1 - a) x + a (M N' tanh x + s), driven."""
    left, right = gaussian(SIZE, rank, seed=1), gain * gaussian(SIZE, rank, seed=2) / SIZE
    map = as_map(
        lambda x, s: (1 - LEAK) * x + LEAK * (left @ (right.T @ torch.tanh(x)) + s),
        state=torch.zeros(SIZE).double(),
        input=torch.zeros(SIZE).double(),
    )
    return map, left.numpy(), right.numpy()


def states_of(map, inputs: Tensor) -> np.ndarray:
    """x_0, ..., x_{T-1}, shape (T, N)."""
    states = [map.initial_state(1)[0]]
    for input in inputs[:-1]:
        states.append(map.step(states[-1], input))
    return torch.stack(states).numpy()


@pytest.mark.parametrize(("rank", "gain"), [(1, 2.0), (2, 8.0), (3, 8.0)])
def test_low_rank_networks_leak_in_all_directions_but_their_rank(rank: int, gain: float) -> None:
    """J maps the columns of M to themselves and is (1 - a) I across them: N - r exponents are log |1 - a| exactly.

    The other r are those of (1 - a) I + a N' diag(tanh') M, the map on the columns of M.
    """
    map, left, right = low_rank(rank, gain)
    inputs = 0.3 * gaussian(700, SIZE, seed=3)
    slope = 1 - np.tanh(states_of(map, inputs)) ** 2
    reduced = [(1 - LEAK) * np.eye(rank) + LEAK * right.T @ (row[:, None] * left) for row in slope]
    inner = textbook_exponents(reduced, transient=200)
    expected = np.sort(np.concatenate((inner, np.full(SIZE - rank, math.log(1 - LEAK)))))[::-1]
    ds = lyapunov_spectrum(map, inputs, transient=200)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=5e-3)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(expected.sum(), abs=1e-10)
    closest = np.sort(np.abs(ds.lyapunov_exponent[0] - math.log(1 - LEAK)))[: SIZE - rank]
    assert closest.max() < 5e-3
    assert np.abs(inner - math.log(1 - LEAK)).min() > 0.02  # the others are others
    leading = lyapunov_spectrum(map, inputs, k=2, transient=200, rng=0)
    np.testing.assert_allclose(leading.lyapunov_exponent[0], expected[:2], atol=5e-3)


def test_a_rank_one_network_at_its_fixed_point() -> None:
    """kappa = n' tanh(m kappa) by bisection; the exponents there are logarithms of eigenvalues of one matrix."""
    left = gaussian(SIZE, seed=1).numpy()
    right = 3 * left / (left @ left) + 0.05 * gaussian(SIZE, seed=2).numpy()  # feedback enough for kappa > 0
    low, high = 1e-3, 100.0
    for _ in range(200):
        kappa = (low + high) / 2
        low, high = (kappa, high) if right @ np.tanh(left * kappa) > kappa else (low, kappa)
    assert kappa > 0.5
    slope = 1 - np.tanh(left * kappa) ** 2
    weight = torch.tensor(np.outer(left, right))
    map = as_map(lambda x: (1 - LEAK) * x + LEAK * (weight @ torch.tanh(x)), state=torch.tensor(1.1 * kappa * left))
    ds = lyapunov_spectrum(map, steps=700, transient=400)
    np.testing.assert_allclose(ds.final_state[0], kappa * left, atol=1e-9)
    inner = 1 - LEAK + LEAK * right @ (slope * left)
    expected = np.sort([math.log(inner), *[math.log(1 - LEAK)] * (SIZE - 1)])[::-1]
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=1e-8)

    term = variational_term(map, steps=60, initial_state=ds.final_state.values, horizon=5)
    jacobian = (1 - LEAK) * np.eye(SIZE) + LEAK * weight.numpy() * slope
    power = np.linalg.svd(np.linalg.matrix_power(jacobian, 5), compute_uv=False)
    np.testing.assert_allclose(term.log_singular_value[0], np.tile(np.log(power), (56, 1)), atol=1e-8)


def sparse_weight(radius: float, size: int = 30, density: float = 0.15) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = gaussian(size, size) * (torch.rand(size, size, generator=generator, dtype=torch.float64) < density)
    return weight * radius / torch.linalg.eigvals(weight).abs().max()


def reservoir(weight: Tensor, activation=torch.tanh):
    """An echo-state network, x' = (1 - a) x + a f(W x + V s)."""
    feed = 0.5 * gaussian(weight.shape[0], 2, seed=4)
    return as_map(
        lambda x, s: (1 - LEAK) * x + LEAK * activation(weight @ x + feed @ s),
        state=torch.zeros(weight.shape[0]).double(),
        input=torch.zeros(2).double(),
    )


def test_a_linear_reservoir_has_the_exponents_of_its_matrix() -> None:
    weight = sparse_weight(0.9)
    ds = lyapunov_spectrum(reservoir(weight, lambda x: x), gaussian(3000, 2), transient=1000)
    matrix = (1 - LEAK) * torch.eye(30).double() + LEAK * weight
    np.testing.assert_allclose(ds.lyapunov_exponent[0], sorted_log_magnitudes(matrix), atol=4e-3)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(float(torch.linalg.slogdet(matrix).logabsdet), abs=1e-9)


@pytest.mark.parametrize("layout", ["strided", "coo", "csr"])
def test_a_sparse_leaky_reservoir_against_hand_written_jacobians(layout: str) -> None:
    weight = sparse_weight(0.9)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        stored = {"strided": weight, "coo": weight.to_sparse(), "csr": weight.to_sparse_csr()}[layout]
    inputs = gaussian(200, 2)
    states = states_of(reservoir(weight), inputs)
    fed = states @ weight.numpy().T + inputs.numpy() @ (0.5 * gaussian(30, 2, seed=4)).numpy().T
    jacobians = [(1 - LEAK) * np.eye(30) + LEAK * (1 - np.tanh(row) ** 2)[:, None] * weight.numpy() for row in fed]
    ds = lyapunov_spectrum(reservoir(stored), inputs, qr_interval=1)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], textbook_exponents(jacobians), atol=1e-11)


def test_the_conditional_exponent_is_the_rate_at_which_a_reservoir_forgets_its_start() -> None:
    """The echo-state property, seen in two runs from different states under the same input."""
    map = reservoir(sparse_weight(1.1))
    inputs = gaussian(400, 2)
    exponent = float(lyapunov_spectrum(map, inputs, k=1, transient=50, rng=0).lyapunov_exponent[0, 0])
    assert exponent < -0.03
    state, other = torch.zeros(30).double(), 1e-4 * gaussian(30, seed=8)
    distances = []
    for input in inputs:
        state, other = map.step(state, input), map.step(other, input)
        distances.append(float((state - other).norm()))
    usable = [index for index, distance in enumerate(distances) if distance > 1e-12 and index >= 50]
    slope = math.log(distances[usable[-1]] / distances[50]) / (usable[-1] - 50)
    run = lyapunov_spectrum(map, inputs[: usable[-1] + 1], k=1, transient=51, rng=0)
    assert slope == pytest.approx(float(run.lyapunov_exponent[0, 0]), abs=0.01)


def gated(kind: str, bias: float, dtype: torch.dtype = torch.float64) -> nn.RNNCellBase:
    """Without recurrent weights; the bias is that of the update gate (GRU) or the forget gate (LSTM)."""
    torch.manual_seed(0)
    cell = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[kind](2, 3).to(dtype)
    with torch.no_grad():
        cell.weight_hh.zero_()
        cell.bias_ih[3:6] = bias
    return cell


def log_gates(cell: nn.RNNCellBase, inputs: Tensor) -> np.ndarray:
    """Logarithm of the gate that remembers, shape (T, 3)."""
    fed = inputs @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh
    return nn.functional.logsigmoid(fed.detach().double())[:, 3:6].numpy()


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("bias", [1000.0, 40.0, -40.0, -300.0, -690.0])
def test_saturated_gates_remember_or_forget_exactly(kind: str, bias: float) -> None:
    cell, inputs = gated(kind, bias), 0.1 * gaussian(100, 2)
    gates = log_gates(cell, inputs)
    expected = np.sort(gates.mean(axis=0))[::-1]
    ds = lyapunov_spectrum(cell, inputs)
    np.testing.assert_allclose(ds.lyapunov_exponent[0, :3], expected, rtol=1e-13, atol=1e-14)
    assert (ds.lyapunov_exponent[0, 3:] == -math.inf).all()  # the LSTM's h is made anew in every step
    unknown = ("standard_error", "half_difference")  # of what is annihilated
    assert not any(np.isnan(ds[name]).any() for name in ds.data_vars if name not in unknown)
    assert all((np.isnan(ds[name]) == np.isneginf(ds.lyapunov_exponent)).all() for name in unknown)
    assert (ds.memory_timescale[0] > 0.001).sum() == 3
    if bias > 30:
        assert (ds.memory_timescale[0, :3] > 1e12).all()

    last = gates[-10:].sum(axis=0)
    window = variational_term(cell, inputs, horizon=10).log_singular_value[0, -1]
    excess = window[:3] - np.sort(last)[::-1]
    if kind == "gru":
        np.testing.assert_allclose(excess, 0, atol=1e-11)
    else:  # V = [[0, o tanh'(c) F], [0, F]]: at most sqrt(1 + o^2) above the product of forget gates
        assert (excess > -1e-11).all()
        assert (excess < 0.5 * math.log(2)).all()
    assert (window[3:] == -math.inf).all()

    if kind == "gru" and bias > -600:  # gradients go back through the same gates
        found = gradient_propagation(cell, inputs, None, lambda h, _: h[:, 0].sum(), readout=nn.Identity(), norms=2)
        np.testing.assert_allclose(np.diff(found.log_gradient_norm[0, 0]), -gates[1:, 0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gates_that_are_shut_to_the_last_bit_annihilate(kind: str, dtype: torch.dtype) -> None:
    """sigmoid(-1000) is zero in either precision: no memory at all, and no NaN."""
    cell, inputs = gated(kind, -1000.0, dtype), gaussian(50, 2).to(dtype)
    ds = lyapunov_spectrum(cell, inputs)
    assert (ds.lyapunov_exponent == -math.inf).all()
    assert (ds.kaplan_yorke_dimension.item(), ds.entropy_rate.item(), ds.probability_positive.item()) == (0, 0, 0)
    assert (ds.memory_timescale == 0).all()
    assert (variational_term(cell, inputs, horizon=7).log_singular_value == -math.inf).all()
    found = gradient_propagation(cell, inputs, None, lambda h, _: h.sum(), readout=nn.Identity())
    assert (found.growth_rate == -math.inf).all()
    with pytest.raises(FloatingPointError, match="annihilated by step 1: its exponent is -inf and has no derivative"):
        lyapunov_exponents(cell, inputs)
    with pytest.raises(ValueError, match="annihilated at step 1"):
        covariant_vectors(cell, inputs)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_open_gates_in_single_precision(kind: str) -> None:
    ds = lyapunov_spectrum(gated(kind, 1000.0, torch.float32), gaussian(50, 4, 2).float())
    np.testing.assert_allclose(ds.lyapunov_exponent[:, :3], 0, atol=1e-7)
    assert (ds.lyapunov_exponent[:, 3:] == -math.inf).all()


def test_a_gru_with_open_gates_remembers_whatever_its_recurrent_weights_are() -> None:
    torch.manual_seed(0)
    cell = nn.GRUCell(2, 5).double()
    with torch.no_grad():
        cell.bias_ih[5:10] = 1000.0
    ds = lyapunov_spectrum(cell, gaussian(100, 2))
    np.testing.assert_allclose(ds.lyapunov_exponent, 0, atol=1e-14)


LAYERS = {
    "RNN 2 layers": lambda: nn.RNN(2, 4, num_layers=2),
    "RNN relu no bias": lambda: nn.RNN(2, 6, nonlinearity="relu", bias=False),
    "GRU 2 layers batch_first": lambda: nn.GRU(2, 3, num_layers=2, batch_first=True),
    "LSTM": lambda: nn.LSTM(2, 4),
    "LSTM 2 layers proj": lambda: nn.LSTM(2, 4, num_layers=2, proj_size=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_exponents_of_built_in_layers_against_their_own_forward(name: str) -> None:
    """Jacobians by autograd through the module's fused forward, and the textbook algorithm on them."""
    torch.manual_seed(3)
    layer = LAYERS[name]().double()
    is_lstm, steps = isinstance(layer, nn.LSTM), 60
    emitted = layer.proj_size or layer.hidden_size
    size = emitted + (layer.hidden_size if is_lstm else 0)
    inputs = gaussian(steps, 2)

    def own_step(state: Tensor, input: Tensor) -> Tensor:
        parts = state.reshape(layer.num_layers, 1, size)
        hidden, cells = parts[..., :emitted].contiguous(), parts[..., emitted:].contiguous()
        _, final = layer(input.reshape(1, 1, -1), (hidden, cells) if is_lstm else hidden)
        return (torch.cat(final, dim=-1) if is_lstm else final).reshape(-1)

    state = 0.1 * gaussian(layer.num_layers * size, seed=5)
    start, jacobians = state.clone(), []
    for input in inputs:
        jacobians.append(torch.autograd.functional.jacobian(lambda x, s=input: own_step(x, s), state).numpy())
        state = own_step(state, input).detach()
    expected = textbook_exponents(jacobians)
    ds = lyapunov_spectrum(layer, inputs, initial_state=start, qr_interval=1)
    np.testing.assert_allclose(ds.final_state[0], state, atol=1e-12)
    if name == "RNN relu no bias":  # a unit at rest is annihilated, of which the textbook sees rounding noise or zero
        assert (np.isneginf(ds.lyapunov_exponent[0]) == (expected < -10)).all()
    kept = np.isfinite(ds.lyapunov_exponent[0].values)
    assert kept.any()
    np.testing.assert_allclose(ds.lyapunov_exponent[0].values[kept], expected[kept], atol=1e-9)
