"""What `lyapunov_exponents` refuses, and how."""

import pytest
import torch
from torch import nn

from lyapkit import lyapunov_exponents
from steps import BackwardOnly, Steps

IDENTITY = Steps(lambda x: 1.0 * x)
REFUSALS = {
    "not a model": (TypeError, "cannot make a recurrent map of int", lambda: lyapunov_exponents(3, steps=2)),
    "no steps": (TypeError, "steps=", lambda: lyapunov_exponents(IDENTITY)),
    "inputs and steps": (
        TypeError,
        "steps= is for autonomous maps",
        lambda: lyapunov_exponents(nn.RNNCell(1, 2), torch.zeros(3, 1), steps=3),
    ),
    "integer inputs": (
        TypeError,
        "must be floating point",
        lambda: lyapunov_exponents(nn.RNNCell(1, 2), torch.zeros(3, 1).long()),
    ),
    "dtype of inputs": (
        ValueError,
        "the map computes in torch.float32",
        lambda: lyapunov_exponents(nn.RNNCell(1, 2), torch.zeros(3, 1).double()),
    ),
    "k too large": (ValueError, "between 1 and the state size 2, got 3", lambda: call(k=3)),
    "k not an integer": (TypeError, "k must be an integer", lambda: call(k=1.0)),
    "only transient": (ValueError, "no steps left", lambda: call(transient=4)),
    "automatic interval": (TypeError, "qr_interval must be an integer", lambda: call(qr_interval="auto")),
    "interval of zero": (ValueError, "qr_interval must be at least 1", lambda: call(qr_interval=0)),
    "window of zero": (ValueError, "window must be at least 1", lambda: call(window=0)),
    "window not an integer": (TypeError, "window must be an integer", lambda: call(window=True)),
    "window between decompositions": (
        ValueError,
        "multiple of qr_interval.* got window=3 and qr_interval=2",
        lambda: call(window=3, qr_interval=2),
    ),
    "dt": (ValueError, "dt must be positive", lambda: call(dt=0)),
    "rng": (TypeError, "rng must be", lambda: call(rng="0")),
    "no derivative": (
        ValueError,
        "does not depend differentiably on the state",
        lambda: call(Steps(lambda x: BackwardOnly.apply(x).detach())),
    ),
    "state overflows": (
        FloatingPointError,
        "state of trajectory 1 is not finite after step 3",
        lambda: call(Steps(lambda x: x**3 + 0.5 * x), initial_state=torch.tensor([[0.1, 0.1], [1e30, 0.1]]).double()),
    ),
    "frame overflows": (
        FloatingPointError,
        "tangent frame of trajectory 0 is not finite after step 2: choose a smaller qr_interval",
        lambda: call(Steps(lambda x: 1e200 * x), qr_interval=2),
    ),
    "derivative is not finite": (
        ValueError,
        "the derivative of the first step is not finite; check the map at its initial state",
        lambda: call(Steps(lambda x: x.abs().sqrt()), initial_state=torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()),
    ),
    "derivative is not finite, unchecked": (
        FloatingPointError,
        "tangent frame of trajectory 1 is not finite after step 1",
        lambda: call(
            Steps(lambda x: x.abs().sqrt()),
            initial_state=torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double(),
            check=False,
        ),
    ),
    "direction annihilated": (
        FloatingPointError,
        r"tangent direction 2 of trajectory 1 is annihilated by step 2: .* derivative; ask for .* k <= 1",
        lambda: call(
            Steps(lambda x: torch.stack((0.9 * x[..., 0], torch.relu(x[..., 1]) - 0.25), -1)),
            initial_state=torch.tensor([[1.0, 9.0], [1.0, 0.2]]).double(),
        ),
    ),
    "everything annihilated": (
        FloatingPointError,
        "direction 1 of trajectory 0 is annihilated by step 1: .* check the map's derivative there",
        lambda: call(Steps(lambda x: 0 * x + 1)),
    ),
    "direction lost between decompositions": (
        FloatingPointError,
        r"direction 2 of trajectory 0 is annihilated by step 4 or the 3 before: .* smaller qr_interval.* k <= 1",
        lambda: call(Steps(lambda x: x @ torch.tensor([[1.0, 1.0], [1.0, 1.00001]]).double()), qr_interval=4),
    ),
    "direction rounded away between decompositions": (
        FloatingPointError,
        r"direction 2 of trajectory 0 grows so much less than others at step 3 or the 2 before that the decomposition "
        r"loses it to rounding, .* smaller qr_interval, or ask for fewer exponents, k <= 1\. lyapunov_spectrum finds",
        lambda: call(Steps(lambda x: x @ torch.tensor([[1.0, 1.0], [1.0, 1.0001]]).double()), qr_interval=3),
    ),
}


def call(map=IDENTITY, **options):
    return lyapunov_exponents(map, steps=4, **options)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    error, message, action = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()
    assert torch.is_grad_enabled()
