"""Drawn models and inputs: of the stated kinds and sizes, in float64, without a trace in the global generator."""

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, systems
from lyapkit.testing import callables, cells, check_map, inputs, layers, maps
from lyapkit.testing.maps import random_callable, random_cell, random_inputs, random_layer

QUICK = settings(max_examples=40, database=None, derandomize=True)


@given(st.data())
def test_every_model_is_analysed_with_its_inputs(data: st.DataObject) -> None:
    model = data.draw(maps())
    given_inputs = data.draw(inputs(model, max_steps=6))
    before = torch.get_rng_state()
    ds = lyapunov_spectrum(model, given_inputs)
    assert torch.equal(before, torch.get_rng_state())
    assert ds.sizes["exponent"] == as_map(model).state_size
    assert (ds.sizes["trajectory"], int(ds.last_step[0])) == (given_inputs.shape[1], given_inputs.shape[0])


@settings(max_examples=8)
@given(maps())
def test_every_model_conforms(model) -> None:
    check_map(as_map(model))


def test_weights_and_inputs_are_those_of_their_seed() -> None:
    before = torch.get_rng_state()
    for kind in ("rnn", "gru", "lstm", "relu"):
        one, same, other = (random_cell(kind, 2, 3, 1.5, seed) for seed in (0, 0, 1))
        assert all(torch.equal(*pair) for pair in zip(one.parameters(), same.parameters(), strict=True))
        assert not torch.equal(one.weight_hh, other.weight_hh)
    assert torch.equal(random_inputs(3, 2, 1, 2.0, 5), 2 * random_inputs(3, 2, 1, 1.0, 5))
    assert torch.equal(before, torch.get_rng_state())


def test_weights_have_the_stated_spread() -> None:
    layer = random_layer("gru", 40, 100, 1, 1.5, 0)
    assert float(layer.weight_hh_l0.detach().std()) == pytest.approx(1.5 / 10, rel=0.05)
    assert float(layer.bias_hh_l0.detach().std()) == pytest.approx(0.5, rel=0.2)
    assert isinstance(random_cell("relu", 1, 1, 1.0, 0), nn.RNNCell)
    assert random_layer("relu", 1, 1, 1, 1.0, 0).nonlinearity == "relu"


def test_functions_are_those_described() -> None:
    state, input = torch.tensor([0.1, -0.2, 0.3]).double(), torch.tensor([0.7]).double()
    linear, leaky, nested = (random_callable(kind, 1, 3, 1.0, 4) for kind in ("linear", "leaky", "nested"))
    fed = linear.step(state, input)
    torch.testing.assert_close(leaky.step(state, input), 0.7 * state + 0.3 * torch.tanh(fed))
    torch.testing.assert_close(nested.step(state, input), leaky.step(state, input))
    assert list(nested.unit_names) == ["a[0]", "b[0]", "b[1]"]
    torch.testing.assert_close(linear.step(2 * state, 2 * input), 2 * fed)


@pytest.mark.slow
def test_all_kinds_are_drawn_and_shrink() -> None:
    for strategy, kinds in (
        (cells(kinds=["rnn", "gru", "lstm", "relu"]), (nn.RNNCell, nn.GRUCell, nn.LSTMCell)),
        (layers(), (nn.RNN, nn.GRU, nn.LSTM)),
    ):
        for kind in kinds:
            found = find(strategy, lambda module, kind=kind: isinstance(module, kind), settings=QUICK)
            assert (found.input_size, found.hidden_size) == (1, 1)
            assert next(found.parameters()).dtype == torch.float64
    assert find(callables(), lambda map: map.unit_names[0] == "a[0]", settings=QUICK).state_size == 1
    smallest = find(inputs(2), lambda drawn: True, settings=QUICK)
    np.testing.assert_array_equal(smallest, np.zeros((1, 1, 2)))


def test_inputs_have_the_layout_and_type_of_the_model() -> None:
    layer = nn.GRU(3, 2, batch_first=True)
    found = find(inputs(layer, min_steps=7), lambda drawn: len(drawn) == 2, settings=QUICK)
    assert (found.shape, found.dtype) == ((2, 7, 3), torch.float32)


def test_models_without_inputs_and_empty_ranges_are_refused() -> None:
    with pytest.raises(TypeError, match="the model is autonomous: it takes no inputs"):
        inputs(systems.henon().map)
    with pytest.raises(ValueError, match="1 <= min_steps <= max_steps, and max_batch be at least 1, got 9, 8 and 3"):
        inputs(1, min_steps=9, max_steps=8)
    for strategy in (cells, layers, callables):
        with pytest.raises(ValueError, match=r"kinds must be some of .*, got \['tanh'\]"):
            strategy(kinds=["tanh"])
        with pytest.raises(ValueError, match=r"kinds must be some of .*, got \[\]"):
            strategy(kinds=[])
