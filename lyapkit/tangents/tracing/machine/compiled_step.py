"""Call the compiled functions of a step and its tangents with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.tracing.machine.code import Code, compiled
from lyapkit.tangents.tracing.machine.loops import Loops, write_advance
from lyapkit.tangents.tracing.machine.numbers import Numbers
from lyapkit.tangents.tracing.machine.program import without_state, without_tangents
from lyapkit.tangents.tracing.machine.reading import Reader
from lyapkit.tangents.tracing.machine.threads import one_blas_thread
from lyapkit.tangents.tracing.machine.unrolled import write_run
from lyapkit.tangents.tracing.recording import Untraceable, record_without_values

MOST_UNROLLED = 64
"""Largest size of state and frame together that is kept in registers. Larger windows are decomposed one by one."""


@dataclass(frozen=True)
class Windows:
    """Results of W windows of a run, for B trajectories.

    Attributes:
        state: State at their end, shape (B, N).
        frame: Frame at their end, shape (B, N, k).
        lengths: Lengths |R_ii| of each window, shape (W, B, k).
        shares: Smallest share of a column that the other columns leave, shape (W, B).
        before: Frames before the decomposition of some of the windows, shape (C, B, N, k).
    """

    state: Tensor
    frame: Tensor
    lengths: Tensor
    shares: Tensor
    before: Tensor


class CompiledStep:
    """A step and its tangents for k directions, as machine code for the CPU, in float64.

    Args:
        map: The map.
        state: State, shape (N,).
        input: Input, shape (M,), or None.
        k: Number of directions.

    Raises:
        Untraceable: If the step depends on values in Python, or an operation has no machine code.
    """

    def __init__(self, map: RecurrentMap, state: Tensor, input: Tensor | None, k: int) -> None:
        self.size, self.k = map.state_size, k
        self._program = Reader(record_without_values(map, state, input, k), k).program()

    @cached_property
    def _walker(self) -> _Advance:
        return _Advance(write_advance(without_tangents(self._program)), self.size, 0)

    @cached_property
    def _pusher(self) -> _Advance:
        return _Advance(write_advance(without_state(self._program)), self.size, self.k)

    @cached_property
    def _runner(self) -> _Run | None:
        if self.size * (self.k + 1) > MOST_UNROLLED:
            return None
        try:
            return _Run(*write_run(self._program), self.size, self.k)
        except Untraceable:  # too long
            return None

    @property
    def decomposes(self) -> bool:
        """True if there is code for whole windows."""
        return self._runner is not None

    def walk(self, state: Tensor, inputs: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
        """Compute the states of some steps.

        Args:
            state: First state, shape (B, N).
            inputs: Inputs, shape (L, B, M), or None.
            steps: Number of steps, L.

        Returns:
            The states before each step, shape (L, B, N), and the state after the last one, shape (B, N).
        """
        states = torch.empty(len(state), steps, self.size, dtype=torch.float64, device="cpu").transpose(0, 1)
        points = state.detach().clone(memory_format=torch.contiguous_format).unsqueeze(1)
        self._walker(points, inputs, steps, kept=states)
        return states, points[:, 0]

    def push(self, frame: Tensor, states: Tensor, inputs: Tensor | None) -> Tensor:
        """Carry a frame over steps whose states are known: return J_L ... J_1 times the frame, (B, N, k) -> (B, N, k).

        Args:
            frame: Frame, shape (B, N, k).
            states: States before each step, shape (L, B, N).
            inputs: Inputs, shape (L, B, M), or None.
        """
        points = torch.empty(frame.shape[0], 1 + self.k, self.size, dtype=torch.float64, device="cpu")
        points[:, 1:] = frame.mT
        self._pusher(points, inputs, len(states), given=states)
        return points[:, 1:].mT

    def windows(
        self,
        state: Tensor,
        frame: Tensor,
        inputs: Tensor | None,
        every: int,
        count: int,
        *,
        floor: Tensor,
        limits: Sequence[float],
        certified: range,
    ) -> tuple[Windows | None, int]:
        """Go through windows, each with a decomposition at its end.

        Args:
            state: First state, shape (B, N).
            frame: Orthonormal frame, shape (B, N, k).
            inputs: Inputs, shape (L, B, M), or None.
            every: Number of steps of a window.
            count: Number of windows, W.
            floor: Lower bound of |R_ii|, shape (B,).
            limits: Lower bound of the share of a column that the others leave, and bounds of |R_ii|.
            certified: Windows whose frames before the decomposition are returned, too.

        Returns:
            Results of the windows, and how many windows are sound in all trajectories. If not all are sound, only this
            number is returned, since the trajectories have stopped at different windows.
        """
        assert self._runner is not None, "asked before"
        return self._runner(state, frame, inputs, every, count, floor, limits, certified)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None or not tensor.numel() else tensor.data_ptr()


def _dense(inputs: Tensor | None) -> tuple[Tensor | None, int, int]:
    """Return inputs whose components lie side by side, with the distances between steps and between trajectories."""
    if inputs is None:
        return None, 0, 0
    if inputs.shape[-1] > 1 and inputs.stride(-1) != 1:
        inputs = inputs.contiguous()
    return inputs, inputs.stride(0), inputs.stride(1)


_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64


class _Advance:
    """The function `advance` of `lyapkit.tangents.tracing.machine.loops`."""

    def __init__(self, loops: Loops, size: int, k: int) -> None:
        self._code: Code = compiled(loops.text, "advance")
        self._function = ctypes.CFUNCTYPE(
            None, *[_POINTER] * 3, *[_INTEGER] * 2, *[_POINTER] * 3, *[_INTEGER] * 2, *[_POINTER] * 2, *[_INTEGER] * 2
        )(self._code.address)
        self._weights = loops.weights  # kept, since the code reads them in their place
        self._addresses = (ctypes.c_void_p * (len(loops.weights) + 1))(*[one.ctypes.data for one in loops.weights])
        self._numbers = np.array([*loops.numbers.values, 0.0])
        self._work = loops.work
        self._products = "blas." in loops.text
        self._row = (1 + k) * size

    def __call__(
        self,
        points: Tensor,
        inputs: Tensor | None,
        steps: int,
        *,
        given: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> None:
        if steps < 1:
            return
        inputs, input_step, input_trajectory = _dense(inputs)
        if given is not None and given.stride(-1) != 1:
            given = given.contiguous()
        states = kept if given is None else given
        memory = torch.empty(self._row + self._work + 16, dtype=torch.float64, device="cpu")
        other = memory.data_ptr() + (-memory.data_ptr()) % 64
        work = other + 8 * (-(-self._row // 8) * 8)
        with one_blas_thread(self._products):
            self._function(
                points.data_ptr(),
                other,
                _pointer(inputs),
                input_step,
                input_trajectory,
                ctypes.addressof(self._addresses),
                self._numbers.ctypes.data,
                work,
                points.shape[0],
                steps,
                _pointer(given),
                _pointer(kept),
                0 if states is None else states.stride(0),
                0 if states is None else states.stride(1),
            )


class _Run:
    """The function `run` of `lyapkit.tangents.tracing.machine.unrolled`."""

    def __init__(self, text: str, numbers: Numbers, size: int, k: int) -> None:
        self._code: Code = compiled(text, "run")
        kinds = [*[_POINTER] * 3, *[_INTEGER] * 2, _POINTER, *[_INTEGER] * 4, *[_POINTER] * 4, *[_INTEGER] * 3]
        self._function = ctypes.CFUNCTYPE(None, *kinds, *[_POINTER] * 3)(self._code.address)
        self._numbers = np.array([*numbers.values, 0.0])
        self._size, self._k = size, k

    def __call__(
        self,
        state: Tensor,
        frame: Tensor,
        inputs: Tensor | None,
        every: int,
        count: int,
        floor: Tensor,
        limits: Sequence[float],
        certified: range,
    ) -> tuple[Windows | None, int]:
        batch = state.shape[0]
        state = state.detach().clone(memory_format=torch.contiguous_format)
        rows = frame.mT.clone(memory_format=torch.contiguous_format)  # (B, k, N)
        lengths = torch.empty(batch, count, self._k, dtype=torch.float64, device="cpu")
        shares = torch.empty(batch, count, dtype=torch.float64, device="cpu")
        before = torch.empty(batch, len(certified), self._k, self._size, dtype=torch.float64, device="cpu")
        bounds = torch.tensor(limits, dtype=torch.float64, device="cpu")
        done = torch.empty(batch, dtype=torch.int64, device="cpu")
        floor = floor.contiguous()
        inputs, input_step, input_trajectory = _dense(inputs)
        self._function(
            state.data_ptr(),
            rows.data_ptr(),
            _pointer(inputs),
            input_step,
            input_trajectory,
            self._numbers.ctypes.data,
            0,
            batch,
            count,
            every,
            lengths.data_ptr(),
            shares.data_ptr(),
            None,
            before.data_ptr(),
            certified.start,
            certified.step,
            len(certified),
            floor.data_ptr(),
            bounds.data_ptr(),
            done.data_ptr(),
        )
        sound = int(done.min())
        if sound < count:
            return None, sound
        return Windows(state, rows.mT, lengths.transpose(0, 1), shares.T, before.transpose(0, 1).mT), sound
