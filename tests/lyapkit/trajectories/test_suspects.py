"""Derivatives that are wrong at very few steps of a run."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, covariant_vectors, gradient_propagation, lyapunov_spectrum, variational_term
from lyapkit.trajectories.visited import SUSPECTS, Visited


class Logistic(nn.Module):
    """x' = 4 x (1 - x) with half of its derivative where x lies in a narrow window."""

    def __init__(self, width: float, driven: bool) -> None:
        super().__init__()
        self.width, self.driven = width, driven

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        x = given[-1] if self.driven else given[0]
        after = 4 * x * (1 - x)
        if self.driven:
            after = after + 0 * given[0]
        half = after.detach() + 0.5 * (after - after.detach())
        return torch.where((x > 0.3) & (x < 0.3 + self.width), half, after)


def inside(width: float, steps: int, start: float) -> int:
    """Return how many steps a run has in the window."""
    x, found = start, 0
    for _ in range(steps):
        found += 0.3 < x < 0.3 + width
        x = 4 * x * (1 - x)
    return found


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize(("width", "steps"), [(1e-2, 300), (1e-3, 3000)])
def test_a_derivative_that_is_wrong_at_a_few_steps_is_refused(width, steps, driven):
    assert 0 < inside(width, steps, 0.1234567) <= 6
    state = torch.tensor([0.1234567], dtype=torch.float64)

    def run(width):
        if not driven:
            return lyapunov_spectrum(as_map(Logistic(width, False), state=state), steps=steps)
        model = as_map(Logistic(width, True), state=state, input=torch.zeros(1).double(), order="input_first")
        inputs = torch.zeros(steps, 1, dtype=torch.float64)
        return lyapunov_spectrum(model, inputs, initial_state=state)

    exponent = run(0.0).lyapunov_exponent.item()
    assert exponent == pytest.approx(0.6931, abs=0.01)
    with pytest.raises(ValueError, match="disagrees with a finite difference"):
        run(width)


@pytest.mark.parametrize("analysis", [variational_term, covariant_vectors])
def test_every_analysis_refuses_it(analysis):
    state = torch.tensor([0.1234567], dtype=torch.float64)
    with pytest.raises(ValueError, match="disagrees with a finite difference"):
        analysis(as_map(Logistic(1e-3, False), state=state), steps=2000)


def test_one_step_of_one_trajectory_is_found():
    """Of up to three trajectories, every step is looked at."""
    states = torch.tensor([[0.11], [0.23], [0.35]], dtype=torch.float64)
    for row in range(3):
        at = states[row].item()
        for _ in range(57):
            at = 4 * at * (1 - at)

        def step(x, at=at):
            after = 4 * x * (1 - x)
            return torch.where((x - at).abs() < 1e-12, after.detach(), after)

        with pytest.raises(ValueError, match=rf"at step 58 of trajectory {row}"):
            lyapunov_spectrum(as_map(step, state=states[0]), steps=100, initial_state=states, k=1)


def test_gradients_refuse_it():
    layer = Logistic(1e-3, True)
    state = torch.tensor([0.1234567], dtype=torch.float64)
    map = as_map(layer, state=state, input=torch.zeros(1).double(), order="input_first")
    inputs, targets = torch.zeros(2000, 1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="disagrees with a finite difference"):
        gradient_propagation(
            map, inputs, targets, nn.functional.mse_loss, readout=nn.Identity(), initial_state=state.unsqueeze(0)
        )


def test_kinks_and_jumps_are_no_wrong_derivatives():
    """Networks of rectifiers pass by kinks all the time, and a step function jumps."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 30, generator=generator, dtype=torch.float64) * (2 / 30) ** 0.5
    for nonlinearity in (torch.relu, torch.abs, lambda x: x.clamp(-0.5, 0.5), lambda x: x - torch.floor(x)):
        map = as_map(lambda x, f=nonlinearity: f(x @ weight.T), state=torch.rand(30, dtype=torch.float64))
        checked, unchecked = (
            lyapunov_spectrum(map, steps=2000, k=3, rng=0, transient=5, check=check) for check in (True, False)
        )
        assert json.loads(checked.attrs["config_json"])["derivatives"] == "checked"
        np.testing.assert_array_equal(checked.lyapunov_exponent, unchecked.lyapunov_exponent)


@pytest.mark.parametrize(("steps", "share"), [(0, 1.0), (2**20 // 3, 1.0), (10 * 2**20 // 3, 0.1)])
def test_of_long_runs_some_states_are_screened_all_over_the_run(steps, share):
    seen = []

    def look(states, inputs, after):
        assert torch.equal(after, states + 1)
        seen.append(states[:, 0])
        return torch.zeros(len(states))

    visited = Visited(steps)
    visited.suspicion = look
    states = torch.arange(3000.0).reshape(3000, 1, 1).expand(-1, 3, -1)
    for begin in range(0, 3000, 600):
        visited.take(states[begin : begin + 600], None, torch.full((3, 1), begin + 600.0), begin)
    assert visited.visits
    screened = torch.cat(seen)
    for begin in range(0, 3000, 200):  # three trajectories at each step
        count = int(((screened >= begin) & (screened < begin + 200)).sum())
        assert abs(count - 600 * share) <= 12 * (share < 1)


def test_the_most_suspicious_states_are_kept():
    visited = Visited()
    visited.suspicion = lambda states, inputs, after: states[:, 0] * (states[:, 0] > 5)
    states = torch.arange(40.0).reshape(40, 1, 1)
    visited.take(states[:20], None, states[20], 0)
    visited.take(states[20:], None, torch.full((1, 1), 40.0), 20)
    assert len(visited.visits) > SUSPECTS  # screens the rest
    suspects = [visit for _, visit in visited._suspects]
    assert len(suspects) == SUSPECTS
    assert sorted(visit.states.item() for visit in suspects) == list(range(40 - SUSPECTS, 40))
    assert all(visit.step == visit.states.item() + 1 == visit.after.item() for visit in suspects)
