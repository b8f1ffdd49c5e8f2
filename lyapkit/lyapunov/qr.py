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
from lyapkit.lyapunov.interval import IntervalRule, frame_condition
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

    Args:
        map: the map.
        drive: initial states and inputs; its transient steps settle state and frame.
        frame: orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        tangents: how tangents are carried.
        rule: steps between decompositions, q.
        on_step: called after every step (progress).

    Raises:
        FloatingPointError: state or frame are not finite; the message names step and trajectory.
    """
    k = frame.shape[-1]
    log_growth, windows = [], []
    volume_error = torch.zeros(frame.shape[0], dtype=torch.float64, device=frame.device)
    worst = torch.ones_like(volume_error)
    counted = 0
    state = drive.state
    for push, stretch, step in pushed_frames(map, drive, tangents, k, frame.dtype):
        frame = push(frame)
        counted += 1
        on_step()
        state = stretch.after
        done = step + 1
        if counted >= rule.interval or done == drive.steps or done == drive.transient:
            frame, logs, error, condition = _decompose(frame, drive.offset + done)
            rule.update(counted, float(condition.max()))
            if done > drive.transient:
                log_growth.append(logs)
                windows.append(counted)
                volume_error += error
                worst = torch.maximum(worst, condition)
            counted = 0
    return Growth(
        torch.stack(log_growth),
        torch.tensor(windows, dtype=torch.float64, device=frame.device),
        volume_error.abs() / sum(windows),
        worst,
        state,
        frame,
    )


def _decompose(frame: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q, log |R_ii| (B, k), sum log |R_ii| - log volume (B,) and the condition number (B,)."""
    finite = torch.isfinite(frame).all(dim=-1).all(dim=-1)
    if not bool(finite.all()):
        trajectory = int((~finite).nonzero()[0])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} is not finite after step {step}: it overflowed between two "
            "QR decompositions (choose a smaller qr_interval), or the map's derivative is not finite there."
        )
    q, r = torch.linalg.qr(frame)  # Householder
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()  # (B, k)
    # what is left of a column after removing the others is rounding noise below this: the direction is annihilated
    noise = frame.shape[-2] * torch.finfo(frame.dtype).eps * torch.linalg.vector_norm(frame, dim=-2)
    diagonal = torch.where(diagonal <= noise, torch.zeros_like(diagonal), diagonal)
    logs = diagonal.double().log()
    return q, logs, _volume_error(frame.double(), logs), frame_condition(r, diagonal)


def _volume_error(frame: Tensor, logs: Tensor) -> Tensor:
    if frame.shape[-1] == frame.shape[-2]:
        log_volume = torch.linalg.slogdet(frame).logabsdet
    else:
        log_volume = torch.linalg.svdvals(frame).log().sum(dim=-1)
    error = logs.sum(dim=-1) - log_volume
    # an annihilated volume is zero on both sides, up to rounding noise that has no logarithm to compare
    return torch.where(torch.isinf(logs.sum(dim=-1)), torch.zeros_like(error), error)
