"""A hostile user: every analysis meets every kind of bad input with one clear error, or with a flagged result."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    lyapunov_exponents,
    lyapunov_spectrum,
    systems,
)
from probing import PROBING, B, M, N, T, numbers

ANALYSES = PROBING | {"lyapunov_exponents": lyapunov_exponents}  # runs in training loops and does not probe


def with_value(tensor: Tensor, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


def driven():
    weight = 0.5 * numbers(N, N)
    return as_map(
        lambda x, s: torch.tanh(weight @ x + s.sum()), state=torch.ones(N).double(), input=torch.ones(M).double()
    )


def autonomous():
    return as_map(lambda x: 0.9 * x, state=torch.ones(N).double())


ARGUMENTS = {  # map, positional arguments, options, error, message
    "inputs are nan": (driven, [with_value(numbers(T, B, M), math.nan)], {}, ValueError, r"inputs .* \(7, 2, 1\)"),
    "inputs are inf": (driven, [with_value(numbers(T, M), -math.inf)], {}, ValueError, "not finite at index"),
    "state is nan": (
        autonomous,
        [],
        {"steps": T, "initial_state": with_value(numbers(B, N), math.nan)},
        ValueError,
        r"initial_state .* not finite at index \(2, 2\)",
    ),
    "inputs are integers": (driven, [torch.ones(T, M).long()], {}, TypeError, "floating point, got torch.int64"),
    "inputs are truth values": (driven, [torch.ones(T, M).bool()], {}, TypeError, "got torch.bool"),
    "inputs are complex": (driven, [numbers(T, M).cdouble()], {}, TypeError, "got torch.complex128"),
    "state is integers": (
        autonomous,
        [],
        {"steps": T, "initial_state": torch.ones(N).long()},
        TypeError,
        "initial_state must be floating point, got torch.int64",
    ),
    "inputs are single": (driven, [numbers(T, M).float()], {}, ValueError, "torch.float32 but the map computes in"),
    "state is single": (
        autonomous,
        [],
        {"steps": T, "initial_state": torch.ones(N)},
        ValueError,
        "initial_state has type torch.float32",
    ),
    "inputs are too wide": (driven, [numbers(T, M + 1)], {}, ValueError, r"M = 2, got \(8, 3\)"),
    "inputs are one vector": (driven, [numbers(M)], {}, ValueError, r"got \(2,\)"),
    "state is too long": (
        autonomous,
        [],
        {"steps": T, "initial_state": numbers(N + 1)},
        ValueError,
        r"N = 3, got \(4,\)",
    ),
    "batches differ": (
        driven,
        [numbers(T, B, M)],
        {"initial_state": numbers(2, N)},
        ValueError,
        "drive 3 trajectories .* has 2",
    ),
    "state is a sampler": (
        autonomous,
        [],
        {"steps": T, "initial_state": lambda batch: numbers(batch, N)},
        TypeError,
        "initial_state must be a tensor or an array, got function",
    ),
    "inputs are text": (driven, ["abc"], {}, TypeError, "inputs must be a tensor or an array, got str"),
    "no inputs in time": (driven, [numbers(0, M)], {}, ValueError, "at least 1"),
    "no sequences": (driven, [numbers(T, 0, M)], {}, ValueError, "no trajectories"),
    "no steps": (autonomous, [], {"steps": 0}, ValueError, "at least 1"),
    "steps are negative": (autonomous, [], {"steps": -1}, ValueError, "at least 1, got -1"),
    "steps are a float": (autonomous, [], {"steps": 5.0}, TypeError, r"steps must be an integer, got 5\.0"),
    "no inputs": (driven, [], {}, TypeError, r"needs inputs of shape \(T, 2\)"),
    "inputs for an autonomous map": (autonomous, [numbers(T, N)], {}, TypeError, "autonomous .* give steps="),
    "inputs and steps": (driven, [numbers(T, M)], {"steps": T}, TypeError, "steps= is for autonomous maps"),
    "not a model": (lambda: "gru", [numbers(T, M)], {}, TypeError, "cannot make a recurrent map of str"),
    "a callable without a state": (lambda: torch.tanh, [], {"steps": T}, TypeError, "needs an example state"),
    "a whole model": (
        lambda: nn.Sequential(nn.GRU(M, N), nn.Linear(N, 1)),
        [numbers(T, M)],
        {},
        TypeError,
        r"recurrent part is 0: name it, as_map\(model, core='0'\)",
    ),
    "active dropout": (
        lambda: nn.LSTM(M, N, num_layers=2, dropout=0.5).double(),
        [numbers(T, M)],
        {},
        ValueError,
        r"dropout=0.5 is active.*\.eval\(\)",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("analysis", ANALYSES)
def test_every_analysis_refuses_bad_arguments(analysis: str, name: str) -> None:
    make, positional, options, error, message = ARGUMENTS[name]
    with pytest.raises(error, match=message):
        ANALYSES[analysis](make(), *positional, **options)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "k must be between 1 and the state size 3, got 0"),
        (-1, ValueError, "got -1"),
        (4, ValueError, "got 4"),
        (2.0, TypeError, r"k must be an integer or None, got 2\.0"),
        ("2", TypeError, "got '2'"),
        (True, TypeError, "got True"),
    ],
)
@pytest.mark.parametrize("analysis", [name for name in ANALYSES if name != "gradient_propagation"])
def test_k_is_between_1_and_the_state_size(analysis: str, k, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ANALYSES[analysis](autonomous(), steps=T, k=k)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_inference_mode_is_refused(analysis: str) -> None:
    map = autonomous()
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.* call the analysis outside"):
        ANALYSES[analysis](map, steps=T)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_growth_without_bound_names_step_and_trajectory(analysis: str) -> None:
    map = as_map(lambda x: x * x, state=torch.ones(2).double())
    start = torch.tensor([[0.5, 0.5], [0.5, 2.0]]).double()  # 2^(2^n) leaves float64 at n = 10
    with pytest.raises(FloatingPointError, match="state of trajectory 1 is not finite after step 10"):
        ANALYSES[analysis](map, steps=40, initial_state=start)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_derivative_that_is_not_finite_is_no_number_in_the_result(analysis: str) -> None:
    """sqrt has no slope at 0, where the second trajectory arrives in step 5."""
    map = as_map(lambda x, s: (x + s).sqrt(), state=torch.ones(2).double(), input=torch.ones(2).double())
    inputs = torch.zeros(T, 2, 2).double()
    inputs[4, 1, 1] = -1.0  # x stays at 1 until then, and 0 afterwards
    with pytest.raises(FloatingPointError, match=r"trajectory 1 is not finite (after|at) step") as caught:
        ANALYSES[analysis](map, inputs)
    step = int(str(caught.value).partition("step ")[2].partition(":")[0].partition(";")[0])
    assert step == (7 if analysis == "gradient_propagation" else 5)  # it comes from the end


def test_sampled_initial_states_are_one_trajectory_each() -> None:
    """x' = 4 x (1 - x) from sampled states: every finite-time exponent is the mean of log |4 - 8 x| along its own."""
    map = systems.logistic().map
    start = torch.rand(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ds = lyapunov_spectrum(map, steps=40, initial_state=start)
    x, total = start, torch.zeros(6, 1).double()
    for _ in range(40):
        total += (4 - 8 * x).abs().log()
        x = 4 * x * (1 - x)
    np.testing.assert_allclose(ds.lyapunov_exponent, total / 40, rtol=1e-8)
    assert len(set(ds.lyapunov_exponent.values.ravel())) == 6
