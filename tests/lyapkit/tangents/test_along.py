"""A trajectory with its tangents: every strategy carries the same frames, and the run says which one did."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lyapkit
import pages
from lyapkit import RecurrentMap, as_map, lyapunov_spectrum
from lyapkit.tangents import ForwardTangents, ReverseTangents, TangentRun, TracedTangents
from lyapkit.tangents.tracing.confirming import TracingFailed
from lyapkit.tangents.tracing.traced_step import TracedStep
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.prepare_drive import prepare_drive
from machine_code import switch_machine_code_off

D = torch.float64
ROOT = Path(__file__).parents[3]
WEIGHT = 0.4 * torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=D)
RATE = as_map(lambda x: torch.tanh(WEIGHT @ x), state=torch.full((6,), 0.3, dtype=D))


def gru() -> RecurrentMap:
    torch.manual_seed(0)
    return as_map(nn.GRU(2, 6).double())


def driven(steps: int, lengths: list[int] | None = None) -> tuple[RecurrentMap, Drive]:
    map = gru()
    inputs = torch.randn(steps, 3, 2, generator=torch.Generator().manual_seed(1), dtype=D)
    return map, prepare_drive(map, inputs, None, None, 0, lengths)


def walked(run: TangentRun, k: int, window: int = 1) -> tuple[Tensor, Tensor]:
    """States before each step, and the frame after the last, whose columns have length 1 at the end of each window."""
    batch, size = run.drive.state.shape
    frame = torch.eye(size, k, dtype=D).repeat(batch, 1, 1)
    states = []
    for stretch, carry in run:
        states.append(stretch.states.detach())
        for first in range(0, stretch.steps, window):
            frame = carry(frame, first, min(first + window, stretch.steps))
            frame = frame / torch.linalg.vector_norm(frame, dim=-2, keepdim=True)
    return torch.cat(states), frame


def expected(map: RecurrentMap, drive: Drive, k: int) -> tuple[Tensor, Tensor]:
    """The same by a loop of its own: each trajectory by itself, with its Jacobians by reverse mode."""
    all_states, frames = [], []
    for trajectory in range(len(drive.state)):
        state, frame, states = drive.state[trajectory], torch.eye(map.state_size, k, dtype=D), []
        for step in range(drive.steps):
            states.append(state)
            if step >= int(drive.last_steps[trajectory]):
                continue
            input = None if drive.inputs is None else drive.inputs[step, trajectory]
            frame = ReverseTangents().jacobian(map, state, input) @ frame
            frame = frame / torch.linalg.vector_norm(frame, dim=-2, keepdim=True)
            state = map.step(state, input).detach()
        all_states.append(torch.stack(states))
        frames.append(frame)
    return torch.stack(all_states, dim=1), torch.stack(frames)


@pytest.mark.parametrize("lengths", [None, [40, 7, 23]])
@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("way", ["forward", "reverse", "traced", "recorded"])
def test_every_strategy_carries_the_same_frames_through_the_same_states(
    way: str, k: int, lengths: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    map, drive = driven(40, lengths)
    monkeypatch.setattr("lyapkit.tangents.tracing.traced.WORTH_TRACING", 1 if way == "traced" else 10**9)
    if way == "recorded":
        run = TangentRun.recorded(map, drive, k, D, detach_state=False, window=None)
    else:
        run = TangentRun(map, drive, k, D, ReverseTangents() if way == "reverse" else ForwardTangents())
    states, frame = walked(run, k)
    own_states, own_frame = expected(map, drive, k)
    torch.testing.assert_close(states, own_states, rtol=0, atol=1e-13)
    torch.testing.assert_close(frame.detach(), own_frame, rtol=0, atol=1e-11)
    assert frame.requires_grad == (way == "recorded")
    assert way in str(run.notes["tangents"]) or way == "recorded"


@pytest.mark.parametrize("lengths", [None, [40, 7, 23]])
def test_several_steps_at_once_are_as_good_as_one_by_one(lengths: list[int] | None) -> None:
    map, drive = driven(40, lengths)
    frames = [walked(TangentRun(map, drive, 3, D, ForwardTangents()), 3, window)[1] for window in (1, 5)]
    torch.testing.assert_close(frames[0], frames[1], rtol=0, atol=1e-12)


def test_steps_go_one_by_one_and_are_numbered() -> None:
    map, drive = driven(30)
    run = TangentRun.prepare(map, drive, 2, D)
    frame = torch.eye(6, 2, dtype=D).repeat(3, 1, 1)
    numbers = []
    for push, _, number in run.steps(drive):
        frame = push(frame)
        frame = frame / torch.linalg.vector_norm(frame, dim=-2, keepdim=True)
        numbers.append(number)
    assert numbers == list(range(30))
    torch.testing.assert_close(frame, expected(map, drive, 2)[1], rtol=0, atol=1e-12)


def test_parts_of_a_run_and_other_widths_continue_it() -> None:
    map, drive = driven(30)
    run = TangentRun(map, drive, 2, D, ForwardTangents())
    frame, state = torch.eye(6, 4, dtype=D).repeat(3, 1, 1), drive.state
    for start, length in ((0, 11), (11, 19)):
        for stretch, carry in run.along(drive.part(start, length, state), 4):
            frame, state = carry(frame, 0, stretch.steps), stretch.after
            frame = frame / torch.linalg.vector_norm(frame, dim=-2, keepdim=True)
    torch.testing.assert_close(frame, expected(map, drive, 4)[1], rtol=0, atol=1e-11)


def gone_wrong(spoiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., Tensor] = getattr(TracedStep, spoiled)
    calls = 0

    def wrong(self: TracedStep, *arguments: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return right(self, *arguments) * (1.001 if calls > 2 else 1.0)  # right where it is tried

    switch_machine_code_off(monkeypatch)
    monkeypatch.setattr(TracedStep, spoiled, wrong)


@pytest.mark.parametrize("spoiled", ["step", "carry"])
def test_a_run_whose_fast_way_disagrees_is_done_again_directly(spoiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = prepare_drive(RATE, None, 300, None)
    own = expected(RATE, drive, 2)[1]
    gone_wrong(spoiled, monkeypatch)
    run = TangentRun.prepare(RATE, drive, 2, D)
    seen = []

    def analysis(run: TangentRun) -> Tensor:
        seen.append(run.strategy.name)
        return walked(run, 2)[1]

    torch.testing.assert_close(run.follow(analysis), own, rtol=0, atol=1e-11)
    run.confirm()
    assert seen == [TracedTangents.name, ForwardTangents.name]
    assert run.notes["tangents"] == ForwardTangents.name
    assert "differ" in str(run.notes["tangents_not_traced_because"])
    assert run.notes["derivatives"] == "checked"


def test_a_gradient_exponent_survives_a_traced_step_that_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def analysis() -> float:
        ds = lyapkit.gradient_propagation(
            gru(), inputs, torch.zeros(2, 6, dtype=D), nn.functional.mse_loss, readout=nn.Identity(), rng=0
        )
        return float(ds.leading_exponent[0])

    inputs = torch.randn(400, 2, 2, generator=torch.Generator().manual_seed(1), dtype=D)
    right = analysis()
    gone_wrong("step", monkeypatch)
    assert analysis() == pytest.approx(right, abs=1e-12)


def test_a_step_that_is_not_the_maps_is_seen_without_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_wrong("step", monkeypatch)
    run = TangentRun.prepare(RATE, prepare_drive(RATE, None, 300, None), 2, D)
    with pytest.raises(TracingFailed, match="differs from the map's"):
        walked(run, 2)


def test_a_map_that_changes_is_refused_when_the_run_is_over() -> None:
    weight = WEIGHT.clone()
    map = as_map(lambda x: torch.tanh(weight @ x), state=torch.full((6,), 0.3, dtype=D))
    run = TangentRun.prepare(map, prepare_drive(map, None, 20, None), 2, D)
    walked(run, 2)
    weight.mul_(1.1)
    with pytest.raises(ValueError, match="changed during the run"):
        run.confirm()


def test_the_loop_of_algorithm_1_equals_the_spectrum() -> None:
    page = ROOT / "docs" / "concepts" / "algorithm_1.md"
    scope: dict[str, object] = {}
    exec(compile(pages.blocks(page)[0].code, str(page), "exec"), scope)
    algorithm: Callable[[TangentRun], Tensor] = scope["algorithm_1"]  # type: ignore[assignment]
    for map, drive in (driven(300), (RATE, prepare_drive(RATE, None, 40, None))):
        exponents = TangentRun.prepare(map, drive, 6, D).follow(algorithm)
        given = {"steps": 40} if drive.inputs is None else {"inputs": drive.inputs}
        ds = lyapunov_spectrum(map, qr_interval=1, **given)
        sorted_ones = exponents.sort(dim=-1, descending=True).values
        np.testing.assert_allclose(sorted_ones, ds.lyapunov_exponent, rtol=0, atol=1e-12)
