"""Traced steps: the map's own values to the bit, exact tangents, and a way out where a step cannot be traced."""

import json
import math
from collections.abc import Callable, Iterator
from operator import mul

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lyapkit
import lyapkit.tangents.tracing.traced
from lyapkit import as_map, lyapunov_spectrum, systems
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import ForwardTangents, TracedTangents, choose_derivative
from lyapkit.tangents.tracing.recording import Untraceable
from lyapkit.tangents.tracing.traced import trace_step
from lyapkit.tangents.tracing.traced_step import TracedStep
from machine_code import without_machine_code


@pytest.fixture(autouse=True)
def traced_steps_only() -> Iterator[None]:
    with without_machine_code():
        yield


KERNEL = torch.randn(6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / 2


def double(module: nn.Module) -> RecurrentMap:
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return as_map(module.double())


def callable_map(function: Callable[..., object], state: object = None, **kwargs: object) -> RecurrentMap:
    return as_map(function, state=torch.zeros(6, dtype=torch.float64) if state is None else state, **kwargs)  # type: ignore[arg-type]


MAPS = {
    "rate network": callable_map(lambda x: 0.9 * x + 0.1 * (KERNEL @ torch.tanh(x))),
    "linear": callable_map(lambda x: KERNEL @ x),
    "no memory": callable_map(lambda x: torch.ones_like(x)),
    "product of states": callable_map(lambda x: x * x.roll(1) - torch.cumsum(x, 0) / 3),
    "nested": callable_map(
        lambda s: {"m": torch.tanh(s["m"] @ s["m"]), "v": s["v"] * s["m"].sum() + s["m"].diagonal()[:2]},
        {"m": torch.zeros(3, 3, dtype=torch.float64), "v": torch.ones(2, dtype=torch.float64)},
    ),
    "kinks": callable_map(lambda x: torch.relu(KERNEL @ x).clamp(max=1.5) - torch.maximum(x, x.flip(0)).abs()),
    "driven": callable_map(
        lambda x, s: torch.sigmoid(KERNEL @ x + s.sum()) * s[0], input=torch.zeros(2, dtype=torch.float64)
    ),
    "henon": systems.henon().map,
    "RNN": double(nn.RNN(2, 5)),
    "relu RNN": double(nn.RNN(2, 5, nonlinearity="relu")),
    "GRU": double(nn.GRU(2, 4, num_layers=2)),
    "LSTM": double(nn.LSTM(2, 4, num_layers=2)),
    "projected LSTM": double(nn.LSTM(2, 4, proj_size=3)),
    "cell without bias": double(nn.GRUCell(2, 4, bias=False)),
}


def example(map: RecurrentMap, batch: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(batch, map.state_size, generator=generator, dtype=torch.float64).to(map.dtype)
    if not map.input_size:
        return state, None
    return state, torch.randn(batch, map.input_size, generator=generator, dtype=torch.float64).to(map.dtype)


def jacobians(map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
    """By reverse mode, one trajectory at a time."""
    rows = []
    for index in range(state.shape[0]):
        given = None if input is None else input[index : index + 1]
        rows.append(torch.autograd.functional.jacobian(lambda x, s=given: map.step(x[None], s)[0], state[index]))
    return torch.stack(rows)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", MAPS)
def test_step_and_tangents(name: str, batch: int) -> None:
    map = MAPS[name]
    for k in {map.state_size, 2, 1}:
        traced = trace_step(map, *example(map, batch), k, torch.float64, ForwardTangents())
        stops = [example(map, batch, seed) for seed in (1, 2, 3)]
        states = torch.stack([state for state, _ in stops])
        inputs = torch.stack([input for _, input in stops if input is not None]) if map.input_size else None
        frame = torch.randn(batch, map.state_size, k, dtype=torch.float64)
        expected = frame
        for state, input in stops:
            assert torch.equal(traced.step(state, input), map.step(state, input))
            expected = jacobians(map, state, input) @ expected
        found = traced.carry(frame, traced.factors(states, inputs))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["rate network", "LSTM", "nested", "kinks"])
def test_tangents_of_another_type_than_the_state(name: str) -> None:
    map = MAPS[name]
    state, input = example(map, 2)
    exact = jacobians(map, state, input)
    frame = torch.eye(map.state_size).repeat(2, 1, 1)
    traced = trace_step(map, state, input, map.state_size, torch.float32, ForwardTangents())
    pushed = traced.carry(frame, traced.factors(state[None], None if input is None else input[None]))
    assert pushed.dtype == torch.float32
    torch.testing.assert_close(pushed.double(), exact, rtol=1e-5, atol=1e-6)


def test_tangents_of_a_single_precision_map_are_exact_at_its_state() -> None:
    weight = KERNEL.float()
    map = as_map(lambda x: torch.tanh(weight @ x), state=torch.zeros(6))
    state, _ = example(map, 2)
    frame = torch.eye(6, dtype=torch.float64).repeat(2, 1, 1)
    traced = trace_step(map, state, None, 6, torch.float64, ForwardTangents())
    pushed = traced.carry(frame, traced.factors(state[None], None))
    slope = 1 - torch.tanh(torch.einsum("ij,bj->bi", weight, state)) ** 2  # float32, as the map computes it
    torch.testing.assert_close(pushed, slope.double().unsqueeze(-1) * weight.double(), rtol=1e-6, atol=1e-7)
    assert pushed.dtype == torch.float64


def test_a_map_that_casts_inside_keeps_its_types() -> None:
    map = callable_map(lambda x: torch.tanh(KERNEL.float() @ x.float()).double() + 0.5 * x)
    state, _ = example(map, 2)
    for dtype in (torch.float64, torch.float32):
        traced = trace_step(map, state, None, 6, dtype, ForwardTangents())
        pushed = traced.carry(torch.eye(6, dtype=dtype).repeat(2, 1, 1), traced.factors(state[None], None))
        assert pushed.dtype == dtype
        torch.testing.assert_close(pushed.double(), jacobians(map, state, None), rtol=1e-5, atol=1e-6)


OPERATIONS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda a, b: torch.tanh(a),
    lambda a, b: torch.sigmoid(b) * 0.7,
    lambda a, b: a - b,
    lambda a, b: a + 0.3 * b,
    lambda a, b: a * torch.sigmoid(b),
    lambda a, b: -a,
    lambda a, b: KERNEL @ a,
    lambda a, b: b @ KERNEL,
    lambda a, b: torch.cat((a[:2], b[2:])),
    lambda a, b: torch.stack((a[::2], b[::2])).T.reshape(-1),
    lambda a, b: 2.0 * (KERNEL @ a) - 0.5 * a,
    lambda a, b: torch.where(a > b, a, torch.relu(b)),
    lambda a, b: torch.softmax(a, 0) * b.mean(),
    lambda a, b: torch.exp(-a.square()) / (1 + b.square()),
    lambda a, b: (a.reshape(2, 3).T @ b.reshape(2, 3)).reshape(-1)[:6],
    lambda a, b: torch.ones_like(a) * 0.5 - b.detach() * 0 + a.clone(),
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1, max_size=6), st.sampled_from([1, 2]))
def test_any_composition(program: list[tuple[int, int, int]], batch: int) -> None:
    def step(x: Tensor) -> Tensor:
        values = [x, torch.sin(x)]
        for operation, left, right in program:
            a, b = values[left % len(values)], values[right % len(values)]
            values.append(OPERATIONS[operation % len(OPERATIONS)](a, b))
        return values[-1]

    map = callable_map(step)
    state, _ = example(map, batch, 7)
    if isinstance(choose_derivative(map, state, None), ForwardTangents):
        try:
            traced = trace_step(map, state, None, 6, torch.float64, ForwardTangents())
        except Untraceable:  # only where all derivatives cancel, so that nothing but rounding is left to compare
            assert float(jacobians(map, state, None).abs().max()) < 1e-12
            return
        frame = torch.randn(batch, 6, 6, dtype=torch.float64)
        assert torch.equal(traced.step(state), map.step(state))
        exact = jacobians(map, state, None) @ frame
        torch.testing.assert_close(
            traced.carry(frame, traced.factors(state[None], None)), exact, rtol=1e-11, atol=1e-12
        )


def branching(x: Tensor) -> Tensor:
    return 0.5 * x if float(x[0]) > 0 else 0.25 * x


def reading(x: Tensor) -> Tensor:
    return x * min(0.5, abs(x.tolist()[0]))


def converting(x: Tensor) -> Tensor:
    return x * float(np.asarray(x.detach())[0] * 0 + 0.5)


def writing(x: Tensor) -> Tensor:
    after = 0.5 * x
    after[0] = 0.25 * x[0]
    return after


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (branching, "data-dependent"),
        (reading, r"reads values out of tensors \(tolist\)"),
        (converting, "reads values out of tensors"),
        (writing, "in place"),
    ],
)
def test_what_cannot_be_traced_says_why(step: Callable[[Tensor], Tensor], reason: str) -> None:
    map = as_map(step, state=torch.ones(2, dtype=torch.float64))
    with pytest.raises(Untraceable, match=reason):
        trace_step(map, torch.ones(1, 2, dtype=torch.float64), None, 2, torch.float64, ForwardTangents())


@pytest.mark.parametrize(
    ("step", "exponents"), [(branching, [0.5, 0.5]), (converting, [0.5, 0.5]), (writing, [0.5, 0.25])]
)
def test_what_cannot_be_traced_is_analysed_all_the_same(
    step: Callable[[Tensor], Tensor], exponents: list[float]
) -> None:
    ds = lyapunov_spectrum(as_map(step, state=torch.ones(2, dtype=torch.float64)), steps=400)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], np.log(exponents), atol=1e-12)
    config = json.loads(ds.attrs["config_json"])
    assert config["tangents"] != TracedTangents.name
    assert config["tangents_not_traced_because"]


D = torch.float64


def logistic(x: Tensor) -> Tensor:
    return 3.8 * x * (1 - x)


def counted(x: Tensor) -> Tensor:
    return 3.9 * x * (1 - x) / (1 + 0.1 * torch.nonzero(x > 0.8).shape[0])


def selected(x: Tensor) -> Tensor:
    return logistic(x) * (0.9 if x[x > 0.8].numel() == 0 else 1.0)


def broadcast(x: Tensor) -> Tensor:
    out = torch.zeros(3, dtype=D)
    out.copy_(logistic(x[0]))
    return out


def two_buffers(x: Tensor) -> Tensor:
    first, second = torch.zeros(3, dtype=D), torch.zeros(3, dtype=D)
    first.copy_(logistic(x[0]))
    second.copy_(logistic(x[1]))
    return torch.where(x > 0.9, 0.5 * first + 0.5 * second, logistic(x))


def overflowing(x: Tensor) -> Tensor:
    n = torch.floor(x).to(torch.int8)
    return torch.remainder(x * n * n * 0.25 + 0.5 * x + 1.37, 20.0)


def masked(x: Tensor) -> Tensor:
    mask = x > 0.5
    return torch.where(mask, 0.3 * x * mask, 0) + 1.3 * torch.sin(2.1 * x) * 0.5 + 0.1


def reinterpreted(x: Tensor) -> Tensor:
    big = x.view(torch.int64)[:2][:1] > 4605380978949069210  # x > 0.8, as bits
    return logistic(x) * torch.where(big, 0.7, 1.0)


def relaid(x: Tensor) -> Tensor:
    y = torch.cat((x, x)).reshape(3, 2).t().contiguous().as_strided((3,), (1,))
    return torch.where(x > 0.8, 0.9 * logistic(y), logistic(x))


def rank_of_product(jacobians: list[np.ndarray]) -> int:
    """Rank of J_T ... J_1, not rounded: floats are fractions, and these are multiplied modulo a large prime."""
    prime = 2**521 - 1
    product = [[int(row == column) for column in range(3)] for row in range(3)]
    for jacobian in jacobians:
        parts = [[float(value).as_integer_ratio() for value in row] for row in jacobian]
        exact = [[above * pow(below, -1, prime) for above, below in row] for row in parts]
        columns = list(zip(*product, strict=True))
        product = [[sum(map(mul, row, column)) % prime for column in columns] for row in exact]
    rank = 0
    for column in range(3):
        pivot = next((row for row in range(rank, 3) if product[row][column]), None)
        if pivot is None:
            continue
        product[rank], product[pivot] = product[pivot], product[rank]
        inverse = pow(product[rank][column], -1, prime)
        for row in range(rank + 1, 3):
            factor = product[row][column] * inverse
            product[row] = [(a - factor * b) % prime for a, b in zip(product[row], product[rank], strict=True)]
        rank += 1
    return rank


@pytest.mark.parametrize(
    "step",
    [counted, selected, broadcast, two_buffers, overflowing, masked, reinterpreted, relaid],
    ids=lambda step: step.__name__,
)
@pytest.mark.parametrize("start", [(0.3, 0.2, 0.35), (0.01, 0.02, 0.013), (2.2, 2.4, 2.7)])
def test_steps_that_differ_elsewhere_than_where_they_were_traced(
    step: Callable[[Tensor], Tensor], start: tuple[float, ...]
) -> None:
    if start[0] > 1 and step is not overflowing:
        start = (0.9, 0.45, 0.6)
    state = torch.tensor(start, dtype=D)
    try:
        ds = lyapunov_spectrum(as_map(step, state=state), steps=600, qr_interval=1, check=False)
    except FloatingPointError:
        pytest.skip("the orbit leaves the numbers")
    frame, growth, jacobians = np.eye(3), np.zeros(3), []
    for _ in range(600):
        jacobian = torch.autograd.functional.jacobian(step, state).numpy()
        jacobians.append(jacobian)
        state = step(state).detach()
        frame, r = np.linalg.qr(jacobian @ frame)
        with np.errstate(divide="ignore"):
            diagonal = np.abs(np.diag(r))
            lost = diagonal <= 3e-15 * np.abs(jacobian).max()
            growth += np.where(lost, -np.inf, np.log(diagonal))
        order = np.argsort(lost, kind="stable")  # what is annihilated takes no part of what survives
        frame, growth = frame[:, order], growth[order]
    exact = np.sort(growth / 600)[::-1]
    assert np.isfinite(exact).sum() == rank_of_product(jacobians)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], exact, atol=1e-9)


ANALYSES = [lyapunov_spectrum, lyapkit.variational_term, lyapkit.covariant_vectors]


@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize(("spoiled", "what"), [("step", "step differs from the map's"), ("carry", "tangents differ")])
def test_a_traced_step_that_goes_wrong_along_the_run_is_abandoned(
    analysis: Callable[..., object], spoiled: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    right = getattr(TracedStep, spoiled)

    def wrong(self: TracedStep, *arguments: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return right(self, *arguments) * (1.001 if calls > 40 else 1.0)  # tried twice, and then for 38 steps

    map = MAPS["rate network"]
    start = torch.full((6,), 0.3, dtype=D)
    expected = analysis(map, steps=255, initial_state=start, **({} if analysis is not ANALYSES[2] else {"rng": 0}))
    assert json.loads(expected.attrs["config_json"])["tangents"] == ForwardTangents.name  # type: ignore[attr-defined]
    monkeypatch.setattr(lyapkit.tangents.tracing.traced, "WORTH_TRACING", 1)
    monkeypatch.setattr(TracedStep, spoiled, wrong)
    if spoiled == "carry":
        calls = 38  # tried twice; along the run it is called for whole windows
    ds = analysis(map, steps=255, initial_state=start, **({} if analysis is not ANALYSES[2] else {"rng": 0}))
    config = json.loads(ds.attrs["config_json"])  # type: ignore[attr-defined]
    assert config["tangents"] == ForwardTangents.name
    assert what in config["tangents_not_traced_because"]
    if analysis is not ANALYSES[2]:  # whose random frames are drawn anew
        name = "lyapunov_exponent" if analysis is lyapunov_spectrum else "running_exponent"
        np.testing.assert_allclose(ds[name], expected[name], atol=1e-12)  # type: ignore[index]


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [("step", "^the traced step differs from the map's$"), ("carry", "^the traced tangents differ from forward mode$")],
)
def test_a_traced_step_that_is_wrong_from_the_beginning_is_not_taken(
    spoiled: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(TracedStep, spoiled)
    monkeypatch.setattr(TracedStep, spoiled, lambda *arguments: 1.001 * right(*arguments))
    with pytest.raises(Untraceable, match=reason):
        trace_step(MAPS["rate network"], torch.full((1, 6), 0.3, dtype=D), None, 6, D, ForwardTangents())


def test_the_path_is_recorded() -> None:
    map = MAPS["rate network"]
    long, short = (json.loads(lyapunov_spectrum(map, steps=steps).attrs["config_json"]) for steps in (256, 255))
    assert (long["tangents"], long["tangents_not_traced_because"]) == ("forward mode (traced)", "")
    assert (short["tangents"], short["tangents_not_traced_because"]) == (
        "forward mode (vmap of jvp)",
        "too few steps (255)",
    )


class NoForward(torch.autograd.Function):
    """Half of its argument, with a backward pass only."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 0.5 * x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 0.5 * gradient


def test_reverse_mode_is_not_traced() -> None:
    ds = lyapunov_spectrum(as_map(NoForward.apply, state=torch.ones(2, dtype=torch.float64)), steps=300)
    config = json.loads(ds.attrs["config_json"])
    assert config["tangents"].startswith("reverse mode")
    assert config["tangents_not_traced_because"] == "no forward mode"
    np.testing.assert_allclose(ds.lyapunov_exponent[0], math.log(0.5), rtol=1e-12)


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("name", ["rate network", "driven", "GRU", "LSTM", "henon"])
def test_spectra_agree_with_the_plain_path(name: str, k: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    map = MAPS[name]
    generator = torch.Generator().manual_seed(0)
    if map.input_size:
        arguments = {"inputs": torch.rand(300, 2, map.input_size, generator=generator, dtype=torch.float64)}
    else:
        state = 0.1 * torch.rand(2, map.state_size, generator=generator, dtype=torch.float64)
        arguments = {"steps": 300, "initial_state": state}
    fast = lyapunov_spectrum(map, k=k, rng=1, transient=10, **arguments)
    monkeypatch.setattr(lyapkit.tangents.tracing.traced, "WORTH_TRACING", 10**9)
    plain = lyapunov_spectrum(map, k=k, rng=1, transient=10, **arguments)
    assert json.loads(fast.attrs["config_json"])["tangents"] == TracedTangents.name
    assert json.loads(plain.attrs["config_json"])["tangents"] == ForwardTangents.name
    np.testing.assert_array_equal(fast.final_state, plain.final_state)
    # rounding alone moves the lowest exponents of this LSTM by 4e-6, with a decomposition at every step too
    tolerance = 1e-5 if name == "LSTM" and k is None else 1e-9
    np.testing.assert_allclose(fast.lyapunov_exponent, plain.lyapunov_exponent, atol=tolerance)


def test_few_operations_are_left() -> None:
    def lines(map: RecurrentMap) -> int:
        traced = TracedStep(map, *example(map, 1), 6, torch.float64)
        code = traced._push.function.__code__
        return code.co_nlocals - code.co_argcount  # one local per operation

    assert lines(MAPS["rate network"]) == 4  # a view, a factor, one fused product, a view
    assert lines(MAPS["linear"]) == 3
    assert lines(MAPS["RNN"]) <= 4
