"""Steps of a run done again when it is over: maps that are another one by then, or among other trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lyapkit
from lyapkit import as_map, lyapunov_spectrum
from lyapkit.trajectories.repeated_steps import unlike
from steps import BackwardOnly, Steps

SIZE, LATE = 6, 60


class Wide(Steps):
    """A third party's map of six components."""

    state_size, unit_names = SIZE, tuple("abcdef")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = 2 * numbers(SIZE, SIZE) / SIZE**0.5
STARTS = numbers(3, SIZE, seed=1)
INPUTS = torch.cat((torch.zeros(LATE, 1), torch.ones(40, 1))).double()  # what is wrong begins with the ones

ANALYSES: dict[str, Callable[..., Any]] = {
    "spectrum": lambda map, *a, **o: lyapunov_spectrum(map, *a, rng=0, **o),
    "exponents": lambda map, *a, **o: lyapkit.lyapunov_exponents(map, *a, **o),
    "variational": lambda map, *a, **o: lyapkit.variational_term(map, *a, **o),
    "covariant": lambda map, *a, **o: lyapkit.covariant_vectors(map, *a, k=1, rng=0, **o),
    "gradients": lambda map, *a, **o: lyapkit.gradient_propagation(
        map, *(a or (None,)), None, lambda outputs, _: outputs.square().mean(), readout=nn.Identity(), **o
    ),
}


def noisy() -> Callable[[Tensor, Tensor], Tensor]:
    source = np.random.default_rng(0)
    return lambda x, s: torch.tanh(WEIGHT @ x) + (0.1 * source.standard_normal() if float(s[0]) > 0 else 0)


def counting() -> Callable[[Tensor, Tensor], Tensor]:
    calls = [0]

    def step(x: Tensor, s: Tensor) -> Tensor:
        calls[0] += int(s[0] > 0)
        return torch.tanh(WEIGHT @ x) * (1 + 1e-3 * calls[0])

    return step


def state_in_place(x: Tensor, s: Tensor) -> Tensor:
    if float(s[0]) > 0:
        x.mul_(1.1)
    return torch.tanh(WEIGHT @ x)


def input_in_place(x: Tensor, s: Tensor) -> Tensor:
    after = torch.tanh(WEIGHT @ x + s)
    if float(s[0]) > 0:
        s.mul_(0.5)
    return after


LATER = {
    "noise": (noisy, "two calls with the same state and input differ"),
    "counter": (counting, "two calls with the same state and input differ"),
    "state changed in place": (lambda: state_in_place, "changes its state argument in place"),
    "input changed in place": (lambda: input_in_place, "changes its input argument in place|mutate a captured Tensor"),
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("analysis", ["spectrum", "variational", "covariant"])
def test_what_begins_after_the_first_step_is_refused(analysis: str, name: str) -> None:
    make, message = LATER[name]
    map = as_map(make(), state=STARTS[0], input=torch.zeros(1).double())
    with pytest.raises((ValueError, RuntimeError), match=message):
        ANALYSES[analysis](map, INPUTS.clone())


@pytest.mark.parametrize("analysis", ["spectrum", "variational", "covariant"])
def test_random_numbers_of_torch_are_refused_even_where_they_change_nothing(analysis: str) -> None:
    def step(state: Tensor, input: Tensor) -> Tensor:
        if bool((input > 0).any()):
            torch.rand(())
        return BackwardOnly.apply(state @ WEIGHT.T)

    with pytest.raises(ValueError, match="the map draws random numbers, so its exponents are not defined"):
        ANALYSES[analysis](Wide(step, input_size=1), INPUTS)


COUPLED: dict[str, Callable[[Tensor], Tensor]] = {
    "maximum": lambda x: torch.tanh(x @ WEIGHT.T - 0.5 * x.amax(0, keepdim=True)),
    "mean, where it is large": lambda x: torch.tanh(x @ WEIGHT.T - 0.5 * torch.relu(x.mean(0, keepdim=True) - 0.2)),
    "length of the batch": lambda x: torch.tanh(x @ WEIGHT.T) * (1 + 0.1 * (len(x) > 3)),
    "batch norm without memory": lambda x: (
        torch.tanh(nn.functional.batch_norm(x @ WEIGHT.T, None, None, training=True))
        if len(x) > 1
        else torch.tanh(x @ WEIGHT.T)
    ),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", COUPLED)
@pytest.mark.parametrize("analysis", ANALYSES)
def test_trajectories_that_see_each_other_are_refused(analysis: str, name: str, batch: int) -> None:
    map = Wide(lambda x: COUPLED[name](x.reshape(-1, SIZE)).reshape(x.shape))
    with pytest.raises(ValueError, match=r"not alone in its batch|has changed during the run|disagrees"):
        ANALYSES[analysis](map, steps=100, initial_state=0.1 * STARTS[:batch])


def test_a_step_in_float32_between_float64_states_passes() -> None:
    weight = WEIGHT.float()
    map = as_map(lambda x: torch.tanh(weight @ x.float()).double(), state=STARTS[0])
    exact = as_map(lambda x: torch.tanh(weight.double() @ x), state=STARTS[0])
    found, right = (lyapunov_spectrum(one, steps=20).lyapunov_exponent for one in (map, exact))
    np.testing.assert_allclose(found, right, atol=1e-3)


def test_rounding_and_jumps_are_like_and_anything_else_is_not() -> None:
    map = Steps(lambda x: (3 * x).round())
    states = torch.tensor([[0.5, 0.1], [0.2, 0.4]], dtype=torch.float64)  # 1.5 jumps
    after = map.step(states)
    other = after.clone()
    other[0, 0] = 1.0 if after[0, 0] == 2 else 2.0
    assert unlike(map, states, None, other, after).tolist() == [False, False]
    other[1, 0] += 1e-6
    assert unlike(map, states, None, other, after).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rest", [-65.0, 1e3, 1e6])
def test_a_detach_is_seen_wherever_the_state_rests(rest: float, dtype: torch.dtype) -> None:
    weight, start = (3 * numbers(20, 20)).to(dtype), (rest + numbers(20, seed=1)).to(dtype)

    def neurons(gate: Callable[[Tensor], Tensor]) -> lyapkit.RecurrentMap:
        return as_map(lambda v: v + 0.1 * (rest - v + weight @ torch.sigmoid(gate(v) - rest)), state=start)

    with pytest.raises(ValueError, match="disagrees with a finite difference"):
        lyapunov_spectrum(neurons(torch.detach), steps=200, k=2, rng=0)
    lyapunov_spectrum(neurons(lambda v: v), steps=200, k=2, rng=0)
