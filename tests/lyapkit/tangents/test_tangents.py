"""How tangents are carried: forward mode where the map allows it, reverse mode otherwise, exact either way."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, variational_term
from lyapkit.tangents import ForwardTangents, ReverseTangents
from steps import BackwardOnly, Steps


@pytest.mark.parametrize("batch", [1, 3])
def test_a_map_without_forward_mode_goes_backwards_and_is_exact(batch: int) -> None:
    weight = torch.tensor([[0.9, -0.4], [0.7, 0.8]]).double()
    start = torch.linspace(0.1, 0.7, 2 * batch).double().reshape(batch, 2)
    backward_only = Steps(lambda x: BackwardOnly.apply(x @ weight.T))
    plain = Steps(lambda x: torch.sin(x @ weight.T))
    for analysis in (lyapunov_spectrum, variational_term):
        for k in (1, 2):
            options = {"rng": 3} if analysis is lyapunov_spectrum else {}
            found = analysis(backward_only, steps=50, initial_state=start, k=k, **options)
            expected = analysis(plain, steps=50, initial_state=start, k=k, **options)
            assert json.loads(found.attrs["config_json"])["tangents"] == ReverseTangents.name
            assert json.loads(expected.attrs["config_json"])["tangents"] == ForwardTangents.name
            np.testing.assert_allclose(found.running_exponent, expected.running_exponent, atol=1e-12)


def test_a_callable_without_forward_mode_is_exact_too() -> None:
    ds = lyapunov_spectrum(as_map(BackwardOnly.apply, state=torch.tensor([0.5, 1.0]).double()), steps=30)
    x, total = torch.tensor([0.5, 1.0]).double(), torch.zeros(2).double()
    for _ in range(30):
        total += x.cos().log()
        x = x.sin()
    np.testing.assert_allclose(ds.lyapunov_exponent.values[0], (total / 30).sort(descending=True).values, atol=1e-14)
    config = json.loads(ds.attrs["config_json"])
    assert (config["tangents"], config["batching"]) == (ReverseTangents.name, "loop")


def test_strategies_agree_on_shapes_and_numbers() -> None:
    torch.manual_seed(0)
    map = as_map(nn.LSTM(2, 3).double())
    state, input = torch.randn(4, 5, 6).double(), torch.randn(4, 5, 2).double()
    frame = torch.randn(4, 5, 6, 2).double()
    forward, reverse = ForwardTangents(), ReverseTangents()
    torch.testing.assert_close(forward.push(map, state, input, frame), reverse.push(map, state, input, frame))
    torch.testing.assert_close(forward.jacobian(map, state, input) @ frame, forward.push(map, state, input, frame))
    assert forward.jacobian(map, state, input).shape == (4, 5, 6, 6)


@pytest.mark.parametrize("step", [torch.ones_like, lambda x: 0 * x + 1], ids=["constant", "zero slope"])
def test_a_map_without_memory_has_exponents_of_minus_infinity(step) -> None:
    for start in (torch.zeros(1, 2), torch.zeros(3, 2)):
        ds = lyapunov_spectrum(Steps(step), steps=6, initial_state=start.double())
        assert (ds.lyapunov_exponent.values == -math.inf).all()
        assert (ds.kaplan_yorke_dimension.values == 0).all()
