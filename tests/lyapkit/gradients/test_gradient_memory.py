"""Gradients are streamed: few states are in memory at a time, and what is computed again is the same to the bit."""

import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, gradient_propagation
from lyapkit.gradients.adjoint import adjoint_sweep
from lyapkit.trajectories.checkpointed import checkpointed
from lyapkit.trajectories.prepare_drive import prepare_drive
from steps import Steps


def squares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().sum()


@pytest.mark.parametrize("steps", [1, 2, 3, 99, 100, 101])
def test_about_the_square_root_of_the_states_is_kept(steps: int) -> None:
    map = as_map(lambda x: 0.9 * x, state=torch.ones(2).double())
    seen = []
    run = checkpointed(map, prepare_drive(map, None, steps, None), on_states=seen.append)
    length = math.ceil(math.sqrt(steps))
    assert [part.steps for part in run.parts[:-1]] == [length] * (len(run.parts) - 1)
    assert [part.offset for part in run.parts] == list(range(0, steps, length))
    assert sum(part.steps for part in run.parts) == steps
    expected = 0.9 ** torch.arange(1, steps + 1).double()
    torch.testing.assert_close(torch.cat(seen)[:, 0, 0], expected)  # the states after each step, each once
    torch.testing.assert_close(run.final, expected[-1].expand(1, 2))
    torch.testing.assert_close(run.parts[-1].state, (0.9 ** torch.tensor(run.parts[-1].offset)).expand(1, 2).double())


@pytest.mark.parametrize("loss_on", ["last", "every"])
@pytest.mark.parametrize("steps", [400, 2500])
def test_no_more_states_are_alive_than_a_few_square_roots(loss_on: str, steps: int) -> None:
    alive, most = weakref.WeakSet(), 0

    def step(state: torch.Tensor) -> torch.Tensor:
        nonlocal most
        after = 0.99 * state
        alive.add(after)
        most = max(most, len(alive))
        return after

    gradient_propagation(
        Steps(step), None, torch.zeros(1, 2).double(), squares, readout=nn.Identity(), steps=steps, loss_on=loss_on,
        initial_state=torch.ones(2).double(), exponent=False, check=False,
    )  # fmt: skip
    # kept ones, the segment in hand, and its detached twins
    assert math.sqrt(steps) <= most < 3 * math.sqrt(steps) + 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_length_of_segments_changes_no_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    map = as_map(nn.LSTM(2, 3).to(dtype))
    drive = prepare_drive(map, torch.randn(30, 4, 2).to(dtype), None, None)

    def sweep(segment: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        run = checkpointed(map, drive, segment=segment)
        arrived = list(adjoint_sweep(map, run.parts, lambda step, x: x if step in (7, 30) else None))
        assert [part.step for part in arrived] == list(range(30, 0, -1))
        return (
            torch.stack([part.gradient.vector for part in arrived]),
            torch.stack([part.gradient.log_scale for part in arrived]),
            torch.stack([part.state for part in arrived]),
        )

    whole = sweep(30)
    for segment in (1, 4, 7):
        for part, expected in zip(sweep(segment), whole, strict=True):
            assert torch.equal(part, expected)


def test_a_readout_that_mixes_steps_is_refused() -> None:
    """A segment is read without the others."""
    options = dict(readout=lambda x: x - x.mean(0, keepdim=True), loss_on="every", steps=9)
    map = as_map(lambda x: 0.9 * x, state=torch.ones(2).double())
    with pytest.raises(ValueError, match=r"so it mixes steps\. Let the loss combine"):
        gradient_propagation(map, None, torch.zeros(9, 1, 2).double(), squares, **options)
    options["readout"] = lambda x: x.mean(0)
    with pytest.raises(ValueError, match=r'must keep the time steps, .* with L = 3, got \(1, 2\).*loss_on="last"'):
        gradient_propagation(map, None, torch.zeros(9, 1, 2).double(), squares, **options)
    options["readout"] = lambda x: (x, x)
    with pytest.raises(TypeError, match='with loss_on="every" the readout must return a tensor, got tuple'):
        gradient_propagation(map, None, torch.zeros(9, 1, 2).double(), squares, **options)


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


@pytest.mark.parametrize("loss_on", ["last", "every"])
def test_what_differs_between_two_calls_is_refused(loss_on: str) -> None:
    map = as_map(lambda x: 0.9 * x, state=torch.ones(2).double())
    targets = torch.zeros(1, 2).double()
    options = dict(steps=9, loss_on=loss_on)
    with pytest.raises(ValueError, match="differs between two calls"):
        gradient_propagation(map, None, targets, squares, readout=Noisy(), **options)
    with pytest.raises(ValueError, match="differs between two calls"):
        gradient_propagation(
            map, None, targets, lambda o, y: (o * torch.rand(1).double()).sum(), readout=nn.Identity(), **options
        )
    with pytest.raises(ValueError, match="does not depend differentiably on the states"):
        gradient_propagation(map, None, targets, squares, readout=lambda x: x.detach(), **options)


def test_a_loss_on_every_step_may_combine_steps() -> None:
    """L = (mean over t of 1 . x_t)^2 / 2 for x_t = r^t: partial L / partial x_t = mean / T, the same at all steps."""
    r, steps = 0.9, 20
    map = as_map(lambda x: r * x, state=torch.ones(1).double())
    ds = gradient_propagation(
        map, None, None, lambda o, _: o.mean(0).square().sum() / 2, readout=nn.Identity(), steps=steps, loss_on="every",
        norms=2,
    )  # fmt: skip
    mean = (r ** np.arange(1, steps + 1)).mean()
    expected = [mean / steps * (r ** np.arange(steps - t + 1)).sum() for t in range(1, steps + 1)]
    np.testing.assert_allclose(ds.gradient_norm[0, 0], expected, rtol=1e-12)
