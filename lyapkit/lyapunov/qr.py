"""Algorithm 1: growth of a tangent frame by repeated QR decomposition.

With V_t = J_t ... J_1 (eq. 3 of Dubinin & Effenberger 2024) and the frame Q_0,

    J_t Q_{t-1} = Q_t R_t,        lambda_i = lim 1/T sum_t log |(R_t)_ii|,

the discrete QR method of Benettin et al. (1980), as in Sandri (1996) and the paper's appendix A. The
decomposition may be done every q steps, J_{t+q-1} ... J_t Q = Q' R.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.drive import Drive, Stretch, run
from lyapkit.lyapunov.decomposition import Decomposition, decompose
from lyapkit.lyapunov.interval import IntervalRule, replayable_steps
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy

JACOBIAN_BYTES = 8 * 2**20
"""Memory for Jacobians that are computed side by side; chosen so that a chunk stays near the cache."""


@dataclass(frozen=True)
class Growth:
    """What Algorithm 1 collects; W windows of one or more steps, B trajectories, k directions.

    Attributes:
        log_growth: log |R_ii| of each window, shape (W, B, k); -inf where the direction is annihilated.
        window: steps in each window, shape (W,).
        log_volume_residual: |sum of log |R_ii| - log volume| per step, shape (B,), the volume computed
            without QR (log |det| for a full frame, the singular values otherwise).
        condition: the largest condition number that the frame reached before a decomposition, shape (B,); inf where
            a direction was annihilated.
        state: the final state, shape (B, N).
        frame: the final frame, shape (B, N, k).
    """

    log_growth: Tensor
    window: Tensor
    log_volume_residual: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor

    @property
    def steps(self) -> int:
        """Counted steps."""
        return int(self.window.sum())

    def followed_by(self, later: Growth) -> Growth:
        """Both together; ``later`` has started from this one's state and frame."""
        steps = self.steps + later.steps
        residual = (self.log_volume_residual * self.steps + later.log_volume_residual * later.steps) / steps
        return Growth(
            torch.cat((self.log_growth, later.log_growth)),
            torch.cat((self.window, later.window)),
            residual,
            torch.maximum(self.condition, later.condition),
            later.state,
            later.frame,
        )


def initial_frame(batch: int, size: int, k: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """The identity when k = N (Algorithm 1), else a random orthonormal frame; shape (B, N, k)."""
    if k == size:
        return torch.eye(size, dtype=like.dtype, device=like.device).repeat(batch, 1, 1)
    gaussian = torch.randn(batch, size, k, generator=generator, dtype=torch.float64)
    orthonormal: Tensor = torch.linalg.qr(gaussian).Q
    return orthonormal.to(like)


def pushed_frames(
    map: RecurrentMap, drive: Drive, tangents: TangentStrategy, k: int, dtype: torch.dtype
) -> Iterator[tuple[Callable[[Tensor], Tensor], Stretch, int]]:
    """Yield for each step a function that carries a frame (B, N, k) over it, with the step's number.

    Jacobians are computed for many steps at once where the frame is wide (4 k >= N); a narrow frame is
    pushed directly and no Jacobian is formed. Both are exact to rounding.
    """
    batch, size = drive.state.shape
    dense = 4 * k >= size
    item = torch.finfo(map.dtype).bits // 8
    length = max(1, min(256, JACOBIAN_BYTES // (batch * size * size * item))) if dense else 256
    for stretch in run(map, drive, length):
        if dense:
            jacobians = tangents.jacobian(map, stretch.states, stretch.inputs).to(dtype)  # (L, B, N, N)
        for index in range(stretch.states.shape[0]):
            if dense:
                jacobian = jacobians[index]
                yield jacobian.matmul, stretch, stretch.start + index
            else:
                state = stretch.states[index]
                input = None if stretch.inputs is None else stretch.inputs[index]

                def push(frame: Tensor, state: Tensor = state, input: Tensor | None = input) -> Tensor:
                    return tangents.push(map, state, input, frame).to(dtype)

                yield push, stretch, stretch.start + index


def qr_growth(
    map: RecurrentMap,
    drive: Drive,
    frame: Tensor,
    *,
    tangents: TangentStrategy,
    rule: IntervalRule,
    on_step: Callable[[], object] = lambda: None,
) -> Growth:
    """Run Algorithm 1.

    A window in which the frame overflows, underflows or loses a direction to rounding is done again with a
    decomposition at every step; only what a *single* step annihilates counts as annihilated.

    Args:
        map: the map.
        drive: initial states and inputs; its transient steps settle state and frame.
        frame: orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        tangents: how tangents are carried.
        rule: steps between decompositions, q.
        on_step: called after every step (progress).

    Raises:
        FloatingPointError: state or frame are not finite, or a window too long to be kept lost a direction; the message
            names step and trajectory.
    """
    k = frame.shape[-1]
    replayable = replayable_steps(frame)
    lengths, logs, errors, conditions = [], [], [], []
    opening, pushes = frame, list[Callable[[Tensor], Tensor]]()
    counted = 0
    state = drive.state
    for push, stretch, step in pushed_frames(map, drive, tangents, k, frame.dtype):
        frame = push(frame)
        counted += 1
        if counted <= replayable:
            pushes.append(push)
        on_step()
        state = stretch.after
        done = step + 1
        if counted >= rule.interval or done == drive.steps or done == drive.transient:
            window = [(counted, decompose(frame))]
            if bool(window[0][1].lost.any()) and (counted > 1 or not bool(window[0][1].finite.all())):
                window = _again(window[0][1], opening, pushes, counted, drive.offset + done)
            rule.update(counted, float(window[-1][1].condition.max()))
            if done > drive.transient:
                lengths += [length for length, _ in window]
                logs += [part.log_growth for _, part in window]
                errors += [part.volume_error for _, part in window]
                conditions += [part.condition for _, part in window]
            opening = frame = window[-1][1].q
            pushes, counted = [], 0
    steps = torch.tensor(lengths, dtype=torch.float64, device=frame.device)
    return Growth(
        torch.stack(logs),
        steps,
        torch.stack(errors).sum(dim=0).abs() / steps.sum(),
        torch.stack(conditions).amax(dim=0),
        state,
        frame,
    )


def _again(
    failed: Decomposition, frame: Tensor, pushes: list[Callable[[Tensor], Tensor]], counted: int, step: int
) -> list[tuple[int, Decomposition]]:
    """A window with a decomposition at every step."""
    if counted > len(pushes):
        trajectory = int(failed.lost.nonzero()[0])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} overflowed, underflowed or lost a direction to rounding in "
            f"the {counted} steps before step {step}; choose a smaller qr_interval."
        )
    results = []
    for index, push in enumerate(pushes):
        part = decompose(push(frame))
        if not bool(part.finite.all()):
            trajectory = int((~part.finite).nonzero()[0])
            raise FloatingPointError(
                f"the tangent frame of trajectory {trajectory} is not finite after step {step - counted + index + 1}: "
                "the map's derivative is not finite there, or too large for the frame's type."
            )
        results.append((1, part))
        frame = part.q
    return results
