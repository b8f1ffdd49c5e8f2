"""Run whole sequences of K networks: final states, and the gradient with respect to the weights.

Forward and backward are lists of operations on buffers that stay where they are. There is one matrix product per step
in each direction, and the gradient of the weights is one matrix product over many steps at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.training.adjoint.kernel import STEPS_AT_ONCE, Backward, Kernel
from wcrnn_models.training.adjoint.products import Bound
from wcrnn_models.training.adjoint.recurrence import Recurrence

_PROGRAMS = 8
"""Number of pairs of length and batch size whose operations are kept. Training has two, and the test set one."""


class SequenceKernel(Kernel):
    """Kernel with one call into PyTorch per operation: for the CPU, and for GPUs if `FusedKernel` does not fit.

    Args:
        networks: The K networks, all on one device.
    """

    def __init__(self, networks: Sequence[WCRNN]) -> None:
        super().__init__(networks)
        self.recurrence = Recurrence(networks, self.width)
        self._programs: dict[tuple[int, int, bool], _Program] = {}

    def _evolve(self, weight: Tensor, inputs: Sequence[Tensor], keep: bool) -> tuple[Tensor, Backward | None]:
        steps, batch = inputs[0].shape[:2]
        program = self._program(steps, batch, keep)
        self.recurrence.load(weight)
        return program.forward(inputs), program.backward if keep else None

    def _program(self, steps: int, batch: int, keep: bool) -> _Program:
        key = steps, batch, keep
        if key not in self._programs:
            moved = self.buffers.moved
            program = _Program(self, steps, batch, keep)
            if self.buffers.moved > moved or len(self._programs) == _PROGRAMS:
                self._programs.clear()  # in the first case, their buffers are out of use
            self._programs[key] = program
        return self._programs[key]


class _Program:
    """The operations for one length and batch size, bound to their buffers."""

    def __init__(self, kernel: SequenceKernel, steps: int, batch: int, keep: bool) -> None:
        self.kernel, self.steps, self.batch = kernel, steps, batch
        count, units, width, recurrence = kernel.count, kernel.units, kernel.width, kernel.recurrence
        name = "kept" if keep else "passing"
        slots = steps + 1 if keep else 2
        take = kernel.buffers.take
        self.inputs = take("inputs", count, steps, batch, kernel.inputs)
        self.extended = take(f"{name} extended states", count, slots, batch, width)
        kept = [take(f"{name} {i}", count, steps if keep else 1, batch, units) for i in range(recurrence.kept)]
        rows = [self.extended[:, slot] for slot in range(slots)]
        states = [row[..., :units] for row in rows]
        kept_rows = [[tensor[:, slot] for tensor in kept] for slot in range(steps if keep else 1)]
        self.initial, self.final = states[0], states[steps % slots]
        self._forward: list[Bound] = []
        for step in range(steps):
            row = rows[step % slots]
            self._forward.append(partial(row[..., units + 1 : units + 1 + kernel.inputs].copy_, self.inputs[:, step]))
            kept_row = kept_rows[step % len(kept_rows)]
            self._forward += recurrence.step(row, row[..., :units], kept_row, states[(step + 1) % slots])
        if keep:
            self.adjoint = take("adjoint", count, batch, units)
            self.gradient = take("gradient", count, units, width)
            self.drive = take("drive", count, min(STEPS_AT_ONCE, steps), batch, units)
            self._backward = list(self._transposes(states, kept_rows))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the final states, shape (K, B, N), in memory of their own."""
        for target, sequence in zip(self.inputs, inputs, strict=True):
            target.copy_(sequence)
        units = self.kernel.units
        self.extended[..., units].fill_(1)  # another program may have used the memory
        self.extended[..., units + 1 + self.kernel.inputs :].zero_()
        self.initial.zero_()
        for run in self._forward:
            run()
        return self.final.clone(memory_format=torch.contiguous_format)

    def backward(self, adjoint: Tensor) -> Tensor:
        """Compute dL/dW from dL/dx_{T+1}, shape (K, N, E)."""
        self.adjoint.copy_(adjoint)
        self.gradient.zero_()
        for run in self._backward:
            run()
        return self.gradient * self.kernel.recurrence.gradient_scale

    def _transposes(self, states: list[Tensor], kept: list[list[Tensor]]) -> Iterator[Bound]:
        for start in reversed(range(0, self.steps, STEPS_AT_ONCE)):
            stop = min(start + STEPS_AT_ONCE, self.steps)
            for step in reversed(range(start, stop)):
                yield from self.kernel.recurrence.transpose(
                    states[step + 1], kept[step], self.adjoint, self.drive[:, step - start]
                )
            drives = self.drive[:, : stop - start].flatten(1, 2)  # (K, steps B, N)
            yield partial(self.gradient.baddbmm_, drives.transpose(1, 2), self.extended[:, start:stop].flatten(1, 2))
