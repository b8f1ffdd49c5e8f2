"""Maps of third parties that are none, and steps without a right derivative, in every analysis that probes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapkit import (
    as_map,
    lyapunov_spectrum,
)
from lyapkit.tangents.probe import probe_step
from probing import ONE, PROBING, TRAINING, ZERO, B, Buffered, gradients, numbers
from steps import Steps


class Jumping(nn.Module):
    """Python control flow, so that vmap cannot trace it, and a memory that rests at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.h = torch.zeros(2).double()

    def forward(self, x):
        self.h = 0.5 * self.h + (x if float(x.sum()) >= 0 else -x)
        return 0.5 * self.h


def coupled(x: Tensor) -> Tensor:
    return 0.5 * x + 0.1 * (x - x.mean(dim=0, keepdim=True)) if x.ndim == 2 else 0.5 * x


def remembering_its_shape():
    memory: list[Tensor] = []

    def step(x: Tensor) -> Tensor:
        memory.append(x)
        return 0.5 * x + 0 * memory[0]

    return step


def at_rest():
    """A hidden state that stays at zero as long as the state does."""
    memory = [torch.zeros(1, 2).double()]

    def step(x: Tensor) -> Tensor:
        if x.shape[0] == 2 or len(memory) > 1:
            memory.append(0.5 * memory[-1] + x[-1:])
        return 0.5 * x + 0.1 * memory[-1]

    return step


MAPS = {  # of a third party, which no adapter has looked at; states
    "trajectories see each other": (
        lambda: coupled,
        numbers(B, 2),
        ValueError,
        "not alone in its batch, as",
    ),
    "one trajectory, of a coupled map": (lambda: coupled, numbers(1, 2), ValueError, "not alone in its batch"),
    "one batch size only": (
        remembering_its_shape,
        numbers(B, 2),
        ValueError,
        "takes 3 states at once, but not one or two: .* keep nothing between calls",
    ),
    "a hidden state at rest": (at_rest, torch.zeros(1, 2).double(), ValueError, "two calls .* keeps a hidden state"),
    "dropout": (lambda: nn.Dropout(0.5), numbers(B, 2), ValueError, f"Dropout {TRAINING}"),
    "batch norm": (lambda: nn.BatchNorm1d(2).double(), numbers(B, 2), ValueError, f"BatchNorm1d {TRAINING}"),
    "a buffer": (lambda: Buffered(in_place=False), numbers(1, 2), ValueError, "changes the buffer 'h' of Buffered"),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("analysis", PROBING)
def test_maps_that_are_none_are_refused_by_every_analysis_that_probes(analysis: str, name: str) -> None:
    make, start, error, message = MAPS[name]
    with pytest.raises(error, match=message):
        PROBING[analysis](Steps(make()), steps=5, initial_state=start)


def test_a_driven_map_in_which_trajectories_see_each_other() -> None:
    map = Steps(lambda x, s: 0.5 * x + s - (x.mean(dim=0) if x.ndim > 1 else x), input_size=2)
    with pytest.raises(ValueError, match="not alone in its batch"):
        probe_step(map, numbers(2, 2), numbers(2, 2))
    probe_step(Steps(lambda x, s: 0.5 * x + s, input_size=2), numbers(2, 2), numbers(2, 2))


@pytest.mark.parametrize("start", [[[0.5, 0.0]], [[0.25, 0.25], [0.5, 0.5]]])
def test_a_jump_at_the_state_is_no_coupling(start) -> None:
    """Sums of exact halves land on the jump, where a batched product may round to the other side."""
    matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]]).double()
    ds = lyapunov_spectrum(
        as_map(lambda x: (matrix @ x).remainder(1.0), state=ZERO), steps=60, initial_state=torch.tensor(start).double()
    )
    golden = math.log((3 + math.sqrt(5)) / 2)
    np.testing.assert_allclose(
        ds.running_exponent[0, -1] - ds.running_exponent[0, -1].mean(), [golden, -golden], atol=0.02
    )


def test_a_hidden_state_at_rest_in_a_looped_callable() -> None:
    """`as_map` cannot see it, since it calls in the example state alone; the probe goes elsewhere."""
    map = as_map(Jumping(), state=ZERO)
    assert map.batching == "loop"
    with pytest.raises(ValueError, match="keeps a hidden state"):
        lyapunov_spectrum(map, steps=5)


NOT_DIFFERENTIABLE = {
    "detached": (lambda x: 0.5 * x.detach(), "disagrees with a finite difference"),
    "partly detached": (lambda x: 0.5 * x + 0.2 * x.detach(), "disagrees with a finite difference"),
    "out of the graph": (lambda x: torch.tensor([0.5 * float(x[0]), 0.3 * float(x[1])]).double(), "disagrees with a"),
    "straight through": (lambda x: x + (x.round() - x).detach(), "disagrees with a finite difference"),
    "through NumPy": (lambda x: torch.from_numpy(np.tanh(x.detach().numpy())), "does not depend differentiably"),
}


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
@pytest.mark.parametrize("analysis", PROBING)
def test_steps_without_a_right_derivative_are_refused(analysis: str, name: str) -> None:
    step, message = NOT_DIFFERENTIABLE[name]
    with pytest.raises(ValueError, match=message):
        PROBING[analysis](as_map(step, state=torch.tensor([0.3, 0.4]).double()), steps=5)


def test_a_step_under_no_grad_has_a_derivative_forwards_alone() -> None:
    map = as_map(torch.no_grad()(lambda x: 0.5 * x), state=ONE)
    np.testing.assert_allclose(lyapunov_spectrum(map, steps=5).lyapunov_exponent, math.log(0.5), atol=1e-14)
    with pytest.raises(ValueError, match="backwards, which gradients use, differs from its derivative forwards"):
        gradients(map, steps=5)


PIECEWISE = {
    "rounding": (lambda x: x.round() * 0.5 + 0.1, [-math.inf, -math.inf]),
    "sign": (lambda x: x.sign() + 0.1, [-math.inf, -math.inf]),
    "the largest alone": (lambda x: nn.functional.one_hot(x.argmax(), 2).double(), [-math.inf, -math.inf]),
    "plus a smooth part": (lambda x: 0.5 * x + nn.functional.one_hot(x.argmax(), 2), [math.log(0.5)] * 2),
    "a choice": (lambda x: torch.where(x > 0.35, 0.25 * x, 2 * x), None),
}


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_maps_have_the_derivative_of_their_pieces(name: str) -> None:
    """Steps and jumps are what the mathematics says: slope zero (-inf, flagged) or that of the piece."""
    step, expected = PIECEWISE[name]
    start = torch.tensor([0.3, 0.4]).double()
    if expected is None:
        x, total = start, torch.zeros(2).double()
        for _ in range(50):
            total += torch.where(x > 0.35, 0.25, 2.0).log()
            x = step(x)
        expected = (total / 50).sort(descending=True).values.tolist()
    ds = lyapunov_spectrum(as_map(step, state=start), steps=50)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=1e-13)
    assert np.isneginf(ds.lyapunov_exponent).all() == (ds.frame_condition.item() == math.inf)
