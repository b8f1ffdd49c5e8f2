"""Straight-line functions and the memory they write into."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from lyapkit import as_map, lyapunov_spectrum, systems
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import ForwardTangents
from lyapkit.tangents.tracing.memory import Memory
from lyapkit.tangents.tracing.straight import StraightLine
from lyapkit.tangents.tracing.traced import MANY_TRAJECTORIES, trace_step

D = torch.float64
KERNEL = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=D)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


class Graph:
    """The operations of a function of one tensor, with their values at an example."""

    def __init__(self, function: Callable[[Tensor], Any], example: Tensor) -> None:
        self.graph = make_fx(function)(example).graph
        self.values: dict[fx.Node, Any] = {}
        (self.input,) = (node for node in self.graph.nodes if node.op == "placeholder")
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = example
            elif node.op == "call_function":
                args, kwargs = fx.map_arg((node.args, node.kwargs), self.values.__getitem__)
                self.values[node] = node.target(*args, **kwargs)
        (returned,) = self.graph.output_node().args
        self.outputs = list(returned) if isinstance(returned, list | tuple) else [returned]
        self.needed = [node for node in self.graph.nodes if node.op == "call_function"]


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "one operation": torch.tanh,
    "a chain": lambda x: torch.sigmoid(torch.exp(torch.tanh(x) * 0.5) - x) + 1.5,
    "reversed difference": lambda x: 1 - x * x,
    "a stack": lambda x: torch.stack((1 - x[0] ** 2 + x[1], 0.3 * x[0], x[2].sin(), -x[3])),
    "a stack in the last dimension": lambda x: torch.stack((x[0] * x[1], x[2] / 3, x[3].cos(), x[0] - x[1]), dim=-1),
    "a stack of one thing twice": lambda x: torch.stack([y := 2 * x[0], y, y, y]),
    "a stack of products": lambda x: torch.stack([torch.mv(x, x[i]) for i in range(4)]),
    "parts that are used again": lambda x: torch.stack([y := 2 * x[0], y + 1, y * y, x[0].clone()]),
    "products": lambda x: (x @ x) @ x + x,
    "a view at the end": lambda x: (x * 2).t(),
    "a part at the end": lambda x: (x * 2)[1],
    "two outputs": lambda x: (x * 2, (x * 2).tanh()),
    "two views of one result": lambda x: ((y := x * 2)[0], y.t()),
    "the input itself": lambda x: x,
    "no place to write": lambda x: torch.relu(x) + torch.cumsum(x, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_function_to_the_bit(name: str) -> None:
    example = numbers(4, 4)
    graph = Graph(FUNCTIONS[name], example)
    plain = StraightLine([graph.input], graph.outputs)
    placed = StraightLine([graph.input], graph.outputs, graph.values)
    assert plain.new_results() == []
    for seed in (1, 2):
        given = numbers(4, 4, seed=seed)
        kept = given.clone()
        expected = FUNCTIONS[name](given)
        expected = expected if isinstance(expected, tuple) else (expected,)
        results = placed.new_results()
        for found in (plain.function(given), placed.function(given, *results)):
            assert len(found) == len(expected)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert torch.equal(given, kept)


def test_results_are_written_where_the_caller_says() -> None:
    graph = Graph(FUNCTIONS["a stack"], numbers(4, 4))
    placed = StraightLine([graph.input], graph.outputs, graph.values)
    first, second = placed.new_results(), placed.new_results()
    (found,) = placed.function(numbers(4, 4, seed=1), *first)
    kept = found.clone()
    assert found.data_ptr() == first[0].data_ptr() != second[0].data_ptr()
    placed.function(numbers(4, 4, seed=2), *second)
    assert torch.equal(found, kept)  # what has been handed out stays what it is


def test_no_tensor_is_written_while_it_is_needed() -> None:
    graph = Graph(lambda x: torch.exp(torch.sin(torch.cos(y := torch.tanh(x)))) + y, numbers(4, 4))
    memory = Memory(graph.needed, graph.outputs, graph.values, None)
    assert len(memory.tensors) == 3  # the hyperbolic tangent to the end, the others by turns
    assert sum(target.startswith("memory") for target in memory.target.values()) == 4


def test_stacks_are_written_by_their_parts() -> None:
    graph = Graph(FUNCTIONS["a stack"], numbers(4, 4))
    memory = Memory(graph.needed, graph.outputs, graph.values, None)
    (stack,) = memory.written
    assert stack.target is torch.ops.aten.stack.default
    assert sorted(memory.views) == [f"result0_{place}" for place in range(4)]
    for name in ("a stack of one thing twice", "a stack of products", "parts that are used again"):
        graph = Graph(FUNCTIONS[name], numbers(4, 4))
        assert not Memory(graph.needed, graph.outputs, graph.values, None).written


def test_results_may_be_of_another_type_than_the_example() -> None:
    graph = Graph(lambda x: torch.tanh(x * 2) - 0.5, numbers(4, 4))
    placed = StraightLine([graph.input], graph.outputs, graph.values, torch.float32)
    given = numbers(4, 4, seed=1).float()
    (found,) = placed.function(given, *placed.new_results())
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.tanh(given * 2) - 0.5)


@pytest.mark.parametrize("length", [1, 5])
def test_carried_frames_stay_what_they_are(length: int) -> None:
    map = as_map(lambda x: 0.9 * x + 0.1 * (KERNEL @ torch.tanh(x)), state=torch.zeros(4, dtype=D))
    traced = trace_step(map, numbers(1, 4), None, 4, D, ForwardTangents())
    factors = traced.factors(numbers(length, 1, 4), None)
    start = numbers(1, 4, 4)
    kept = start.clone()
    first = traced.carry(start, factors)
    copy = first.clone()
    second = traced.carry(first, factors)
    assert torch.equal(start, kept)
    assert torch.equal(first, copy)
    assert torch.equal(traced.carry(first, factors), second)


TWO = as_map(lambda x: torch.stack((1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0])), state=torch.zeros(2, dtype=D))
COUPLED = as_map(lambda x: 0.9 * x + 0.1 * (KERNEL @ torch.tanh(x)), state=torch.zeros(4, dtype=D))
DRIVEN = as_map(
    lambda x, s: torch.tanh(x.roll(1) + s[0]) * s[1], state=torch.zeros(3, dtype=D), input=torch.ones(2).double()
)


class Turned(RecurrentMap):
    """A map whose next state is the transpose of what its step computes."""

    state_size = 4
    input_size = 0
    dtype = D
    device = torch.device("cpu")
    unit_names = ("a", "b", "c", "d")

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        return torch.tanh(KERNEL @ state.mT).mT


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_states_that_are_computed_in_another_order(batch: int) -> None:
    start = numbers(batch, 4)
    ds = lyapunov_spectrum(Turned(), steps=300, initial_state=start)
    assert json.loads(ds.attrs["config_json"])["tangents_not_traced_because"] == ""
    state = start
    for _ in range(300):
        state = Turned().step(state)
    np.testing.assert_allclose(ds.final_state, state, rtol=1e-12)


def test_products_round_as_the_map_rounds_them() -> None:
    state = 0.3 * numbers(MANY_TRAJECTORIES, 4)
    traced = trace_step(COUPLED, state, None, 4, D, ForwardTangents())
    assert torch.equal(traced.step(state), COUPLED.step(state))
    found = traced.carry(numbers(MANY_TRAJECTORIES, 4, 4), traced.factors(state[None], None))
    expected = ForwardTangents().push(COUPLED, state, None, numbers(MANY_TRAJECTORIES, 4, 4))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("map", [TWO, DRIVEN], ids=["two", "driven"])
def test_many_small_states_lie_side_by_side(map: Any) -> None:
    batch, size = MANY_TRAJECTORIES, map.state_size
    state = 0.3 * numbers(batch, size)
    inputs = numbers(4, batch, 2, seed=1) if map.input_size else None
    for k in (size, 1):
        traced = trace_step(map, state, None if inputs is None else inputs[0], k, D, ForwardTangents())
        assert traced.side_by_side
        few = trace_step(map, state[:-1], None if inputs is None else inputs[0, :-1], k, D, ForwardTangents())
        assert not few.side_by_side
        states, places = traced.stretch_memory(5)
        assert states.stride(1) == 1
        states[0].copy_(state)
        frame = expected = numbers(batch, size, k, seed=2)
        for step in range(4):
            input = None if inputs is None else inputs[step]
            after = traced.step(states[step], input, places[step + 1])
            assert torch.equal(after, map.step(states[step], input))
            states[step + 1].copy_(after)
            expected = ForwardTangents().push(map, states[step], input, expected)
        found = traced.carry(frame, traced.factors(states[:-1], inputs))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_many_trajectories_have_the_exponents_that_few_have() -> None:
    reference = systems.henon()
    starts = 0.1 * torch.rand(MANY_TRAJECTORIES, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    many = lyapunov_spectrum(reference.map, steps=300, initial_state=starts, qr_interval=3)
    few = lyapunov_spectrum(reference.map, steps=300, initial_state=starts[:7], qr_interval=3)
    assert torch.equal(torch.tensor(many.final_state.values[:7]), torch.tensor(few.final_state.values))
    difference = many.lyapunov_exponent.values[:7] - few.lyapunov_exponent.values
    assert abs(difference).max() < 1e-12
    np.testing.assert_allclose(many.lyapunov_exponent.sum("exponent"), math.log(0.3), rtol=1e-12)
