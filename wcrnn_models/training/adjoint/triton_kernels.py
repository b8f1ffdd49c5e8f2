"""Run the recurrence of an `Equation` and its transpose as one Triton kernel each, for all steps of a sequence.

A program carries `ROWS` sequences of one network. It reads the weights once and keeps them on chip, in the memory of
its multiprocessor, and the states in registers. So a step costs no launch. It uses the GPU's memory only to store
values for the transpose. One launch runs the programs of all networks and of all parts of the batch.

Sizes are padded: to ``ROWS`` sequences and to ``COLUMNS`` units, a power of two. Padded units have no weights, and
their states stay 0.
"""

from __future__ import annotations

import triton
import triton.language as tl

# mypy: ignore-errors
# Triton's language carries no types

ROWS = 16
"""Number of sequences of a program: the smallest that tensor cores take. With 64 and 128 units, the compiler for an
H100 would put states from registers into the GPU's memory."""


@triton.jit
def forward_kernel(
    weight,  # (K, N, E)
    diagonal,  # (K, N), the diagonal of R
    partner,  # (K, N), the entry of R beside it in its 2 x 2 block
    matrix,  # (K, N, N), R
    coupling,  # (K, N)
    inputs,  # (K, T, B, M)
    extended,  # (K, T, B, E), gets the states in its first N columns
    kept,  # (K, T, B, N), gets what passed through tanh
    final,  # (K, B, N), gets x_{T+1}
    steps,
    batch,
    units,
    width,
    channels,
    CARRIED: tl.constexpr,
    DRIVE: tl.constexpr,
    TOTAL: tl.constexpr,
    RESIDUAL: tl.constexpr,
    KEEP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute x_{T+1} from x_1 = 0 for an `Equation`. ``RESIDUAL`` is diagonal, pairs or dense."""
    network = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    sequence, unit = row < batch, column < units
    used = sequence[:, None] & unit[None, :]
    square = unit[:, None] & unit[None, :]
    weight += network * units * width
    transposed = tl.load(weight + column[None, :] * width + column[:, None], mask=square, other=0.0)
    bias = tl.load(weight + column * width + units, mask=unit, other=0.0)
    gamma = tl.load(coupling + network * units + column, mask=unit, other=0.0)
    entries = tl.load(diagonal + network * units + column, mask=unit, other=0.0)
    others = tl.load(partner + network * units + column, mask=unit, other=0.0)
    residual = transposed
    if RESIDUAL == "dense":
        matrix += network * units * units
        residual = tl.load(matrix + column[None, :] * units + column[:, None], mask=square, other=0.0)
    inputs += network * steps * batch * channels
    extended += network * steps * batch * width
    kept += network * steps * batch * units
    state = tl.full([ROWS, COLUMNS], 0.0, bias.dtype)
    for _ in range(steps):
        if KEEP:
            tl.store(extended + row[:, None] * width + column[None, :], state, mask=used)
            extended += batch * width
        drive = bias[None, :] + tl.dot(state, transposed, input_precision=PRECISION)
        for channel in range(channels):
            signal = tl.load(inputs + row * channels + channel, mask=sequence, other=0.0)
            factor = tl.load(weight + column * width + (units + 1 + channel), mask=unit, other=0.0)
            drive += signal[:, None] * factor[None, :]
        inputs += batch * channels
        carried = _apply(state, entries, others, residual, RESIDUAL, ROWS, COLUMNS, PRECISION)
        if CARRIED:
            carried = _tanh(carried)
        if DRIVE:
            drive = _tanh(drive)
        state = carried + gamma[None, :] * drive
        if TOTAL:
            state = _tanh(state)
        if KEEP and (DRIVE or TOTAL):
            saturated = state if TOTAL else drive
            tl.store(kept + row[:, None] * units + column[None, :], saturated, mask=used)
            kept += batch * units
    tl.store(final + (network * batch + row[:, None]) * units + column[None, :], state, mask=used)


@triton.jit
def backward_kernel(
    transposed_weight,  # (K, N, N), W_xx^T
    diagonal,  # (K, N), the diagonal of R
    partner,  # (K, N), the entry of R beside it in its 2 x 2 block
    partner_transposed,  # (K, N), the same of R^T
    matrix,  # (K, N, N), R
    coupling,  # (K, N)
    extended,  # (K, T, B, E), as the forward kernel left it
    kept,  # (K, T, B, N), as the forward kernel left it
    final,  # (K, B, N), dL/dx_{T+1}
    drives,  # (K, T, B, N), gets the adjoints of the drives
    steps,
    batch,
    units,
    width,
    CARRIED: tl.constexpr,
    DRIVE: tl.constexpr,
    TOTAL: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute the adjoints of all drives, from which a matrix product gives dL/dW; arguments as of `forward_kernel`."""
    network = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    sequence, unit = row < batch, column < units
    used = sequence[:, None] & unit[None, :]
    square = unit[:, None] & unit[None, :]
    transposed_weight += network * units * units
    weight = tl.load(transposed_weight + column[None, :] * units + column[:, None], mask=square, other=0.0)
    gamma = tl.load(coupling + network * units + column, mask=unit, other=0.0)
    entries = tl.load(diagonal + network * units + column, mask=unit, other=0.0)
    others = tl.load(partner + network * units + column, mask=unit, other=0.0)
    others_transposed = tl.load(partner_transposed + network * units + column, mask=unit, other=0.0)
    residual, transposed = weight, weight
    if RESIDUAL == "dense":
        matrix += network * units * units
        residual = tl.load(matrix + column[None, :] * units + column[:, None], mask=square, other=0.0)
        transposed = tl.load(matrix + column[:, None] * units + column[None, :], mask=square, other=0.0)
    last = network * steps + steps - 1
    extended += last * batch * width
    kept += last * batch * units
    drives += last * batch * units
    adjoint = tl.load(final + (network * batch + row[:, None]) * units + column[None, :], mask=used, other=0.0)
    for _ in range(steps):
        drive = adjoint
        if DRIVE or TOTAL:
            saturated = tl.load(kept + row[:, None] * units + column[None, :], mask=used, other=0.0)
            drive = (1.0 - saturated * saturated) * adjoint
        if TOTAL:
            adjoint = drive
        drive *= gamma[None, :]
        if CARRIED:
            state = tl.load(extended + row[:, None] * width + column[None, :], mask=used, other=0.0)
            carried = _tanh(_apply(state, entries, others, residual, RESIDUAL, ROWS, COLUMNS, PRECISION))
            adjoint *= 1.0 - carried * carried
        tl.store(drives + row[:, None] * units + column[None, :], drive, mask=used)
        carried_back = _apply(adjoint, entries, others_transposed, transposed, RESIDUAL, ROWS, COLUMNS, PRECISION)
        adjoint = carried_back + tl.dot(drive, weight, input_precision=PRECISION)
        extended -= batch * width
        kept -= batch * units
        drives -= batch * units


@triton.jit
def _apply(
    state,
    entries,
    others,
    matrix,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute R x for every row x: from its diagonal and the entries beside it in 2 x 2 blocks, or by its transpose."""
    if RESIDUAL == "dense":
        result = tl.dot(state, matrix, input_precision=PRECISION)
    else:
        result = state * entries[None, :]
        if RESIDUAL == "pairs":
            first, second = tl.split(tl.reshape(state, (ROWS, COLUMNS // 2, 2)))
            result += tl.reshape(tl.join(second, first), (ROWS, COLUMNS)) * others[None, :]
    return result


@triton.jit
def _tanh(value):
    """Compute tanh to rounding: by the exponential function or, near 0 where that cancels, by the Taylor series."""
    size = tl.abs(value)
    decay = tl.exp(-2.0 * size)
    far = (1.0 - decay) / (1.0 + decay)
    square = value * value
    tail = 62.0 / 2835.0 - square * (1382.0 / 155925.0 - square * (21844.0 / 6081075.0))
    near = 1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0 - square * tail)))
    return tl.where(size < 0.125, value * near, tl.where(value < 0.0, -far, far))
