r"""Compute covariant Lyapunov vectors by a forward and a backward pass.

Ginelli, Poggi, Turchi, Chaté, Livi & Politi, Phys. Rev. Lett. 99, 130601 (2007). The QR frames of Algorithm 1,

.. math:: J_n Q_{n-1} = Q_n R_n,

converge to the subspaces that have grown fastest until step n. In the coordinates of the frame,
:math:`V_n = Q_n C_n`, the covariant vectors are upper triangular. They follow the map, which carries the vector
:math:`v_{n-1}` to a multiple of :math:`v_n`, if

.. math:: C_{n-1} = R_n^{-1} C_n D_n

with a diagonal :math:`D_n`, which keeps the columns of C at length 1. Backwards in time, almost every upper triangular
C at the end of the run converges to them. The step from n back to n - 1 takes :math:`R_n`, the factor of the Jacobian
at the state n - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import (
    AGREEMENT,
    Decomposition,
    Refill,
    column_norms,
    decompose,
    random_refill,
    refill_seed,
    settle,
    suspicion,
)
from lyapkit.lyapunov.one_step import Effort
from lyapkit.tangents.along import TangentRun
from lyapkit.tangents.strategy import jacobian_of
from lyapkit.trajectories.drive import Drive, Stretch, held_at_the_end


@dataclass(frozen=True)
class CovariantVectors:
    """Covariant vectors in the window between the two settling phases: W steps, L of them recorded.

    Attributes:
        steps: Recorded steps n, ascending; the vectors belong to the state after n steps. After the end of a sequence,
            its recorded vectors are those of its own last step, and its growth is 0.
        last: Last step of the window of each trajectory, shape (B,), on the CPU.
        vectors: Vectors V_n, columns of length 1, shape (L, B, N, k), on the CPU.
        coordinates: Coordinates C_n of V_n in an orthonormal frame, which keep the angles: upper triangular, shape (L,
            B, k, k), on the CPU.
        log_growth: Logarithm of |J_n v_{n-1}| of every step of the window, shape (W, B, k).
        residual: Largest |J_n v_{n-1} / |J_n v_{n-1}| - v_n| of the window, shape (B, k).
        forward_difference: Distance of the spans of the first 1, ..., k frame vectors from those of another random
            start, at the beginning of the window: the Frobenius norm of the sines of their principal angles, shape (B,
            k).
        backward_difference: Sine of the angle between vectors from two random starts of the backward pass, at the end
            of the window, shape (B, k).
    """

    steps: list[int]
    last: Tensor
    vectors: Tensor
    coordinates: Tensor
    log_growth: Tensor
    residual: Tensor
    forward_difference: Tensor
    backward_difference: Tensor


def ginelli(
    run: TangentRun,
    *,
    settle: int,
    generator: torch.Generator,
    record_every: int = 1,
    segment: int | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> CovariantVectors:
    """Compute the leading k covariant vectors.

    States and frames are kept only at the start of each segment. The backward pass repeats a segment from there, by the
    same operations and so to the same bits. For the steps that settle the backward pass, only R is kept. With segments
    of sqrt(W) steps, the memory is of order N k sqrt(W) + k^2 settle, in addition to the recorded vectors.

    Args:
        run: The trajectory with k directions; its transient steps settle state and frame.
        settle: Number of last steps of the drive, or of each of its sequences, which settle the backward pass.
        generator: Generator of the random starts of both passes.
        record_every: Number of steps between recorded vectors; the last step of the window is always recorded.
        segment: Number of steps between checkpoints; sqrt(W) by default.
        on_step: Function called after every step forward, and after every step back through the window (progress).

    Raises:
        ValueError: If a direction is annihilated, so that R has no inverse; the message names step and trajectory.
        FloatingPointError: If state or frame are not finite; the message names step and trajectory.
    """
    drive, k = run.drive, run.k
    first, last = drive.transient, drive.steps - settle
    ends = drive.last_steps - settle  # of the window of each trajectory
    if segment is None:
        segment = math.isqrt(last - first - 1) + 1
    frames = random_frames(drive.state.shape[-1], k, generator)
    state, frame, forward_difference = settled_frame(run, frames.repeat(1, len(drive.state), 1, 1), generator, on_step)

    checkpoints: list[tuple[Drive, Tensor]] = []  # a part of the window and the frame at its start
    for start in range(first, last, segment):
        part = drive.part(start, min(segment, last - start), state)
        checkpoints.append((part, frame))
        for _, q, _, stretch in _frames(run, part, frame):
            frame, state = q, stretch.after
            on_step()
    factors: list[Tensor] = []
    if settle:
        for _, _, r, _ in _frames(run, drive.part(last, settle, state), frame):
            factors.append(r)
            on_step()

    # two starts; the second only shows how far they have settled
    starts = torch.randn(2, 1, k, k, generator=generator, dtype=torch.float64, device="cpu").triu().to(frame)
    both = _normalised(starts.repeat(1, len(frame), 1, 1))
    while factors:
        both = _back(factors.pop(), both)
    backward_difference, sign = _at_the_end(both, frame)
    after = frame @ both[0]
    unequal = bool((ends != last).any())
    if not unequal:
        both = both[:1]

    growth, vectors, recorded, steps = [], [], [], []
    residual = torch.zeros_like(backward_difference)
    while checkpoints:
        part, frame = checkpoints.pop()
        again = [(push, q, r) for push, q, r, _ in _frames(run, part, frame)]
        for index in reversed(range(part.steps)):
            step = part.offset - drive.offset + index + 1
            ends_here = unequal and bool((ends == step).any())
            if ends_here:
                difference, turned = _at_the_end(both, again[index][1])
                ending = (ends == step).to(residual.device)
                backward_difference = torch.where(ending[:, None], difference, backward_difference)
                sign = torch.where(ending[:, None, None], turned, sign)
            if (step - first) % record_every == 0 or ends_here or step == last:
                steps.append(step)
                vectors.append(after.cpu())
                recorded.append(both[0].cpu())
            push, _, r = again[index]
            both = _back(r, both)
            before = (again[index - 1][1] if index else frame) @ both[0]
            carried = push(before)
            length = column_norms(carried)
            error = torch.linalg.vector_norm(carried / length.unsqueeze(-2) - after, dim=-2)
            log = length.log()
            if unequal:
                counts = (ends >= step).to(residual.device).unsqueeze(-1)
                error, log = torch.where(counts, error, 0.0), torch.where(counts, log, 0.0)
            residual = torch.maximum(residual, error)
            growth.append(log)
            after = before
            on_step()
    steps, sign = steps[::-1], sign.cpu()
    return CovariantVectors(
        steps,
        ends,
        held_at_the_end((torch.stack(vectors[::-1]) * sign).movedim(1, 0), steps, ends).movedim(0, 1),
        held_at_the_end((torch.stack(recorded[::-1]) * sign).movedim(1, 0), steps, ends).movedim(0, 1),
        torch.stack(growth[::-1]),
        residual,
        forward_difference,
        backward_difference,
    )


def random_frames(size: int, k: int, generator: torch.Generator) -> Tensor:
    """Return two independent random orthonormal frames, shape (2, 1, N, k), on the CPU.

    Frames start at random, also for k = N: the columns of the identity may be invariant under the map, as those of a
    triangular matrix are, and would then never find the fastest growing directions.
    """
    gaussian = torch.randn(2, 1, size, k, generator=generator, dtype=torch.float64, device="cpu")
    frames: Tensor = torch.linalg.qr(gaussian).Q
    return frames


def settled_frame(
    run: TangentRun, frames: Tensor, generator: torch.Generator, on_step: Callable[[], object]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return state (B, N) and frame (B, N, k) after the transient, and the frame's distance (B, k) from another one.

    Args:
        run: The trajectory with k directions; its transient steps settle state and frame.
        frames: The frame and the other one at the start, shape (2, B, N, k).
        generator: For directions that replace annihilated ones.
        on_step: Called after every step (progress).
    """
    drive, k, state = run.drive, run.k, run.drive.state
    both = frames.to(state.device)
    refills, effort = [random_refill(refill_seed(generator)) for _ in range(2)], Effort()

    def refill(like: Tensor) -> Tensor:  # (2 B, N, k)
        return torch.cat([source(part) for source, part in zip(refills, like.chunk(2), strict=True)])

    if drive.transient:
        part = drive.part(0, drive.transient, state)
        for push, stretch, step in run.steps(part, 2 * k):
            pushed = push(torch.cat((both[0], both[1]), dim=-1))
            pushed = torch.stack((pushed[..., :k], pushed[..., k:]))
            q, r = _decompose(pushed, part.offset + step + 1)
            if bool(_suspect(pushed, r).any()):
                q = _refilled(push, pushed, both, refill, effort)
            both = q
            state = stretch.after
            on_step()
    return state, both[0], _flag_distance(both[0], both[1])


def _frames(
    run: TangentRun, drive: Drive, frame: Tensor
) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor, Tensor, Stretch]]:
    """Yield for each step of a part of the run a function that carries vectors over it, Q_n, R_n, and the stretch."""
    effort = Effort()
    for push, stretch, index in run.steps(drive):
        pushed = push(frame)
        step = drive.offset + index + 1
        q, r = _decompose(pushed, step)
        if bool(_suspect(pushed, r).any()):
            settled = settle(decompose(pushed), frame, partial(jacobian_of, push, frame), torch.zeros_like, effort)
            _refuse_annihilation(settled, pushed, r, step)
        frame = q
        yield push, frame, r, stretch


def _decompose(frame: Tensor, step: int) -> tuple[Tensor, Tensor]:
    finite = torch.isfinite(frame).all(dim=-1).all(dim=-1)  # (..., B)
    if not bool(finite.all()):
        trajectory = int((~finite).nonzero()[0, -1])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} is not finite after step {step}: the map's derivative is "
            "not finite there."
        )
    q, r = torch.linalg.qr(frame)  # Householder
    return q, r


def _suspect(frame: Tensor, r: Tensor) -> Tensor:
    """Return true for columns that may be rounding noise, shape (..., k)."""
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    return diagonal <= suspicion(frame.dtype, frame.shape[-2]) * column_norms(frame)


def _refilled(
    push: Callable[[Tensor], Tensor], pushed: Tensor, before: Tensor, refill: Refill, effort: Effort
) -> Tensor:
    """Return frames in which annihilated columns are replaced at random, (2, B, N, k)."""
    flat = before.flatten(end_dim=1)
    wide = torch.cat((before[0], before[1]), dim=-1)  # as push takes them

    def jacobian() -> Tensor:
        return jacobian_of(push, wide).repeat(2, 1, 1)

    part = decompose(pushed.flatten(end_dim=1))
    return settle(part, flat, jacobian, refill, effort, restart_at_random=True).q.reshape(before.shape)


def _refuse_annihilation(settled: Decomposition, frame: Tensor, r: Tensor, step: int) -> None:
    """Refuse an R that has no inverse or is rounding noise, by the rule of `lyapkit.lyapunov_spectrum`."""
    found = r.diagonal(dim1=-2, dim2=-1).abs().log()
    agrees = (settled.log_growth - found).abs() <= 1000 * AGREEMENT
    gone = ~agrees & _suspect(frame, r)  # (B, k)
    if bool(gone.any()):
        trajectory, direction = gone.nonzero()[0].tolist()
        if direction == 0:
            remedy = "No direction survives this step, so there are no covariant vectors along this trajectory."
        else:
            remedy = f"Directions that a step annihilates cannot be followed backwards; lower k to {direction} or less."
        raise ValueError(
            f"direction {direction + 1} of trajectory {trajectory} is annihilated at step {step}: what is left of it "
            f"is at most rounding noise. {remedy}"
        )


def _at_the_end(both: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sine (B, k) between two starts at a window's end, and the signs (B, 1, k) that fix the vectors."""
    difference = torch.linalg.vector_norm(_across(both[1], both[0]), dim=-2)
    vectors = frame @ both[0]
    return difference, vectors.gather(-2, vectors.abs().argmax(dim=-2, keepdim=True)).sign()


def _back(r: Tensor, coordinates: Tensor) -> Tensor:
    """Carry C_n, shape (..., k, k), back to C_{n-1}: R_n^{-1} C_n with columns of length 1."""
    return _normalised(torch.linalg.solve_triangular(r, coordinates, upper=True).triu())


def _normalised(columns: Tensor) -> Tensor:
    return columns / column_norms(columns).unsqueeze(-2)


def _across(columns: Tensor, directions: Tensor) -> Tensor:
    """Return the part of each column that is orthogonal to the same unit column of the other, (..., N, k)."""
    return columns - directions * (directions * columns).sum(dim=-2, keepdim=True)


def _flag_distance(frame: Tensor, other: Tensor) -> Tensor:
    """Return Frobenius norms of the sines of angles between the spans of the first 1, ..., k columns, (B, k)."""
    overlap = frame.mT @ other
    outside = other - frame @ overlap  # orthogonal to the whole frame
    # squares[i, j]: the part of the columns 1..j of the other frame that lies along columns i.. of this one
    squares = overlap.square().cumsum(dim=-1).flip(-2).cumsum(dim=-2).flip(-2)
    beyond = torch.cat((squares.diagonal(offset=-1, dim1=-2, dim2=-1), torch.zeros_like(squares[..., :1, 0])), dim=-1)
    return (beyond + outside.square().sum(dim=-2).cumsum(dim=-1)).sqrt()
