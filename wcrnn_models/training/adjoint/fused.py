"""Run whole sequences of K networks in one launch each way, on GPUs that Triton compiles for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from wcrnn_models.models.residuals import Residual
from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.training.adjoint.kernel import STEPS_AT_ONCE, Backward, Kernel

_COMPUTE_CAPABILITY = 8, 0
"""Compute capability of the first GPUs whose tensor cores multiply float32 in parts."""

_PRECISION = "tf32x3"
"""Precision of float32 products on tensor cores: three products of upper and lower parts, to about float32's
rounding."""


def fused_kernel_fits(networks: Sequence[WCRNN]) -> bool:
    """Tell whether `FusedKernel` is the kernel to train these networks with.

    Triton must be installed. Networks must be in float32, which tensor cores multiply in parts, on a CUDA device of
    compute capability 8.0 or later. Their weights must fit on it (128 units on an A100 or H100, or 64 if a residual is
    dense). tanh may act on the drive or on the total, not on both.
    """
    weight, equation = networks[0].recurrent.weight, networks[0].equation
    if equation.drive and equation.total:  # there is room for one result of tanh
        return False
    if not weight.is_cuda or weight.dtype != torch.float32 or torch.version.hip or find_spec("triton") is None:
        return False
    device = torch.cuda.get_device_properties(weight.device)
    needed = shared_memory(len(weight), _kind([network.residual for network in networks]))
    available: int = getattr(device, "shared_memory_per_block_optin", 48 * 1024)  # the older limit, of all devices
    return (device.major, device.minor) >= _COMPUTE_CAPABILITY and needed <= available


def shared_memory(units: int, kind: str) -> int:
    """Return the bytes of a multiprocessor's memory that may hold the matrices and the states of a program.

    Args:
        units: Number of units, N.
        kind: Form in which the residual is applied: diagonal, pairs or dense.
    """
    matrices = 3 if kind == "dense" else 1  # W, and R both ways
    columns = _columns(units)
    per_matrix = 2 * columns * columns + 2 * 2 * 16 * columns  # in two parts each, like the states before and after it
    return 4 * matrices * per_matrix


class FusedKernel(Kernel):
    """Kernel with one launch for all steps forward, one for all steps back, and matrix products for the gradient.

    If the residual has only a diagonal or 2 x 2 blocks on the diagonal, it is applied by these entries, else as a
    matrix.

    Args:
        networks: The K networks, all on one device, with at most 128 units.
    """

    def __init__(self, networks: Sequence[WCRNN]) -> None:
        super().__init__(networks)
        first = networks[0]
        columns, kind = _columns(self.units), _kind([network.residual for network in networks])
        self.options: dict[str, Any] = {
            **{name.upper(): saturates for name, saturates in asdict(first.equation).items()},
            "RESIDUAL": kind,
            "COLUMNS": columns,
            "PRECISION": _PRECISION,
            "num_warps": min(columns // 16, 8) * (2 if kind == "dense" else 1),  # so that registers suffice
            "enable_fp_fusion": True,
        }
        like, shape = first.recurrent.weight.detach(), (self.count, self.units)
        self.coupling, self.diagonal = like.new_empty(shape), like.new_empty(shape)
        self.partner, self.partner_transposed = like.new_empty(shape), like.new_empty(shape)
        self.matrix = like.new_empty(*shape, self.units) if kind == "dense" else like.new_empty(0)
        self._present: list[tuple[Tensor, int]] = []  # buffers with their versions

    def _evolve(self, weight: Tensor, inputs: Sequence[Tensor], keep: bool) -> tuple[Tensor, Backward | None]:
        from wcrnn_models.training.adjoint import triton_kernels  # needs Triton

        self._refresh()
        weight = weight.contiguous()
        steps, batch = inputs[0].shape[:2]
        shape = self.count, steps if keep else 0, batch
        signals = self.buffers.take("inputs", self.count, steps, batch, self.inputs)
        for target, sequence in zip(signals, inputs, strict=True):
            target.copy_(sequence)
        extended = self.buffers.take("extended states", *shape, self.width)
        extended[..., self.units] = 1
        extended[..., self.units + 1 : self.units + 1 + self.inputs] = signals if keep else signals[:, :0]
        extended[..., self.units + 1 + self.inputs :] = 0
        equation = self.networks[0].equation
        saturates = equation.drive or equation.total
        kept = self.buffers.take("kept", self.count, steps if keep and saturates else 0, batch, self.units)
        final = weight.new_empty(self.count, batch, self.units)
        with torch.cuda.device_of(weight):  # type: ignore[no-untyped-call]  # where Triton launches
            triton_kernels.forward_kernel[-(-batch // triton_kernels.ROWS), self.count](
                *(weight, self.diagonal, self.partner, self.matrix, self.coupling, signals, extended, kept, final),
                *(steps, batch, self.units, self.width, self.inputs),
                KEEP=keep,
                ROWS=triton_kernels.ROWS,
                **self.options,
            )
        return final, partial(self._transpose, weight, extended, kept) if keep else None

    def _transpose(self, weight: Tensor, extended: Tensor, kept: Tensor, final: Tensor) -> Tensor:
        from wcrnn_models.training.adjoint import triton_kernels

        steps, batch = extended.shape[1:3]
        drives = self.buffers.take("drives", *extended.shape[:3], self.units)
        with torch.cuda.device_of(weight):  # type: ignore[no-untyped-call]  # where Triton launches
            triton_kernels.backward_kernel[-(-batch // triton_kernels.ROWS), self.count](
                weight[..., : self.units].transpose(1, 2).contiguous(),
                *(self.diagonal, self.partner, self.partner_transposed, self.matrix, self.coupling),
                *(extended, kept, final.contiguous(), drives, steps, batch, self.units, self.width),
                ROWS=triton_kernels.ROWS,
                **self.options,
            )
        gradient = torch.zeros_like(weight)
        for start in range(0, steps, STEPS_AT_ONCE):  # in parts, as a long sum in float32 has larger errors
            part = slice(start, start + STEPS_AT_ONCE)
            gradient.baddbmm_(drives[:, part].flatten(1, 2).transpose(1, 2), extended[:, part].flatten(1, 2))
        return gradient

    def _refresh(self) -> None:
        """Copy the present couplings and residuals, if they have changed since."""
        present = [(buffer, buffer._version) for network in self.networks for buffer in network.buffers()]
        if len(present) == len(self._present) and all(
            one is other and version == seen
            for (one, version), (other, seen) in zip(present, self._present, strict=True)
        ):
            return
        self._present = present
        unit = torch.arange(self.units, device=self.coupling.device)
        other = (unit ^ 1).clamp(max=self.units - 1)  # an odd last unit has no partner; it is not read
        for row, network in enumerate(self.networks):
            residual = network.residual.matrix()
            self.coupling[row] = network.coupling
            self.diagonal[row] = residual.diagonal()
            self.partner[row] = residual[unit, other]
            self.partner_transposed[row] = residual[other, unit]
            if len(self.matrix):
                self.matrix[row] = residual


def _kind(residuals: Sequence[Residual]) -> str:
    """Say how all residuals are applied: by the diagonal, by 2 x 2 blocks on it, or by the whole matrix."""
    if all(residual.diagonal() is not None for residual in residuals):
        return "diagonal"
    factors = [factor for residual in residuals for factor in residual.chain()]
    blocks = all(factor.diagonal() is not None or factor.rotation_entries() is not None for factor in factors)
    return "pairs" if blocks else "dense"


def _columns(units: int) -> int:
    """Return a power of two that is at least 16, the smallest size for tensor cores."""
    return max(16, 1 << (units - 1).bit_length())
