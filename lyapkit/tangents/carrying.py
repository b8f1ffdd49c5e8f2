"""Frames carried along a trajectory, many steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy, TracedTangents
from lyapkit.tangents.tracing.confirming import confirm
from lyapkit.tangents.tracing.traced_step import TracedStep
from lyapkit.trajectories.drive import Drive, Stretch, refuse_overflow, run

STRETCH_BYTES = 8 * 2**20
"""Memory for Jacobians or factors that are computed side by side; chosen so that a stretch stays near the cache."""

LONGEST_STRETCH = 1024


class Carry(Protocol):
    """Carries a frame over some steps of a stretch."""

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        """J_last-1 ... J_first times the frame, (B, N, k) -> (B, N, k), steps counted within the stretch."""
        ...


def carried_stretches(
    map: RecurrentMap, drive: Drive, tangents: TangentStrategy, k: int, dtype: torch.dtype
) -> Iterator[tuple[Stretch, Carry]]:
    """Yield the drive in stretches, each with what carries frames (B, N, k) of a dtype over its steps.

    A traced step carries the frame itself. Without one, Jacobians are computed for many steps at once where the frame
    is wide (4 k >= N), and a narrow frame is pushed directly, so that no Jacobian is formed. All are exact to rounding.
    """
    batch, size = drive.state.shape
    traced = tangents.traced if isinstance(tangents, TracedTangents) and tangents.fits(batch, k, dtype) else None
    dense = traced is None and 4 * k >= size
    kept = step_bytes(tangents, torch.empty(batch, size, k, dtype=dtype, device="meta"))
    length = max(1, min(LONGEST_STRETCH, STRETCH_BYTES // max(1, kept)))
    for stretch in run(map, drive, length) if traced is None else _run_traced(map, traced, drive, length):
        carry: Carry
        if traced is not None:
            assert isinstance(tangents, TracedTangents), "nothing else is traced"
            carry = _TracedCarry(traced, stretch)
            confirm(traced, map, tangents.plain, stretch, carry.factors, _active(drive, stretch))
        elif dense:
            carry = _JacobianCarry(map, tangents, stretch, dtype)
        else:
            carry = _PushCarry(map, tangents, stretch, dtype)
        yield stretch, carry if drive.lengths is None else _EndingCarry(carry, drive, stretch)


def jacobian_of(carry: Carry, like: Tensor, step: int) -> Tensor:
    """Return the Jacobian of a step of a stretch, shape (B, N, N): the identity, carried as many columns at a time.

    Args:
        carry: Carries frames over the stretch.
        like: A frame that it carries, shape (B, N, k).
        step: Counted within the stretch.
    """
    batch, size, k = like.shape
    identity = torch.eye(size, -(-size // k) * k, dtype=like.dtype, device=like.device)  # padded with zeros
    parts = [carry(part.repeat(batch, 1, 1), step, step + 1) for part in torch.split(identity, k, dim=-1)]
    return torch.cat(parts, dim=-1)[..., :size]


def _run_traced(map: RecurrentMap, traced: TracedStep, drive: Drive, length: int) -> Iterator[Stretch]:
    """`lyapkit.trajectories.drive.run` with a traced step, which writes each state where the stretch keeps it."""
    state = drive.state
    for start in range(0, drive.steps, length):
        steps = min(length, drive.steps - start)
        states, places = traced.stretch_memory(steps + 1)
        slots = list(states)
        slots[0].copy_(state)
        with torch.no_grad():  # closed before the yield, or the caller would be without gradients too
            for index in range(steps):
                before, slot = slots[index], slots[index + 1]
                after = traced.step(before, drive.input_at(start + index), places[index + 1])
                active = None if drive.lengths is None else drive.active(start + index)
                if active is not None:
                    after = torch.where(active.unsqueeze(-1), after, before)
                if after.data_ptr() != slot.data_ptr():
                    slot.copy_(after)
        refuse_overflow(states[1:], drive.offset + start)
        state = slots[-1].clone()  # or it would keep the whole stretch in memory
        inputs = None if drive.inputs is None else drive.inputs[start : start + steps]
        found = Stretch(start, states[:-1], inputs, state)
        drive.keep_some(found)
        drive.watch(map, start, states[:-1], inputs)
        yield found


def _active(drive: Drive, stretch: Stretch) -> Tensor | None:
    """Which trajectories do each step of a stretch, shape (L, B)."""
    if drive.lengths is None:
        return None
    steps = torch.arange(stretch.states.shape[0], device=drive.lengths.device) + drive.offset + stretch.start
    return drive.lengths > steps.unsqueeze(-1)


class _EndingCarry:
    """Leaves the frames of trajectories that have ended as they are."""

    def __init__(self, carry: Carry, drive: Drive, stretch: Stretch) -> None:
        self._carry, self._drive, self._start = carry, drive, stretch.start

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        if self._drive.active(self._start + last - 1) is None:
            return self._carry(frame, first, last)
        for step in range(first, last):
            active = self._drive.active(self._start + step)
            pushed = self._carry(frame, step, step + 1)
            frame = pushed if active is None else torch.where(active[:, None, None], pushed, frame)
        return frame


class _TracedCarry:
    def __init__(self, traced: TracedStep, stretch: Stretch) -> None:
        self._traced = traced
        self.factors = traced.factors(stretch.states, stretch.inputs)

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        return self._traced.carry(frame, self.factors[first:last])


class _JacobianCarry:
    def __init__(self, map: RecurrentMap, tangents: TangentStrategy, stretch: Stretch, dtype: torch.dtype) -> None:
        self._jacobians = tangents.jacobian(map, stretch.states, stretch.inputs).to(dtype)  # (L, B, N, N)

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        for jacobian in self._jacobians[first:last]:
            frame = jacobian @ frame
        return frame


class _PushCarry:
    def __init__(self, map: RecurrentMap, tangents: TangentStrategy, stretch: Stretch, dtype: torch.dtype) -> None:
        self._map, self._tangents, self._stretch, self._dtype = map, tangents, stretch, dtype

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        states, inputs = self._stretch.states, self._stretch.inputs
        for step in range(first, last):
            input = None if inputs is None else inputs[step]
            frame = self._tangents.push(self._map, states[step], input, frame).to(self._dtype)
        return frame


def pushed_frames(
    map: RecurrentMap, drive: Drive, tangents: TangentStrategy, k: int, dtype: torch.dtype
) -> Iterator[tuple[Callable[[Tensor], Tensor], Stretch, int]]:
    """Yield for each step a function that carries a frame (B, N, k) over it, with the step's number."""
    for stretch, carry in carried_stretches(map, drive, tangents, k, dtype):
        for index in range(stretch.states.shape[0]):

            def push(frame: Tensor, carry: Carry = carry, index: int = index) -> Tensor:
                return carry(frame, index, index + 1)

            yield push, stretch, stretch.start + index


def step_bytes(tangents: TangentStrategy, frame: Tensor) -> int:
    """What carrying a frame (B, N, k) over a step keeps in memory beside the frame: factors, Jacobians or states."""
    batch, size, k = frame.shape
    state = int(batch * size * frame.dtype.itemsize)
    if isinstance(tangents, TracedTangents) and tangents.fits(batch, k, frame.dtype):
        return state + tangents.traced.factor_bytes
    return state * size if 4 * k >= size else state
