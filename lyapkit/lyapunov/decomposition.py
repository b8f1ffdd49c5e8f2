"""Decompose tangent frames by QR, and judge the accuracy of the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapkit.lyapunov.elimination import log_determinant
from lyapkit.lyapunov.one_step import Effort, grow
from lyapkit.lyapunov.orthonormal import orthonormalise

AGREEMENT = 1e-6
"""Largest difference of log |R_ii| between two ways to find it that agree."""

Refill = Callable[[Tensor], Tensor]
"""A function that returns Gaussian numbers in the shape and type of a tensor."""


@dataclass(frozen=True)
class Decomposition:
    """Frames F = Q R of B trajectories.

    Columns are scaled to size one before the decomposition. This does not change Q, and keeps norms from overflowing.
    R_ii contains the sizes again.

    Attributes:
        q: Orthonormal frames Q, shape (B, N, k).
        log_growth: Logarithms log |R_ii|, shape (B, k).
        bound: Ratio max |R_ii| / min |R_ii| of the frame with columns of length one, shape (B,): a lower bound of its
            condition number that costs nothing; inf if a direction is annihilated.
        condition: Condition number in the 1-norm of the frame with columns of size one, shape (B,). It bounds the
            relative error of R_ii in units of eps; inf if a direction is annihilated. None if it was not asked for.
        volume_error: Sum of log |R_ii| minus the log volume computed without QR, shape (B,); 0 if the volume is zero.
            None if it was not asked for.
        finite: True if the frame was finite, shape (B,).
        lost: True if the frame was not finite, a column was annihilated, or a column had left the range in which
            numbers keep their digits.
        suspect: True for columns with so little left that it may be rounding noise, shape (B, k).
        noise: True for columns with nothing but rounding noise left, by the rule of `annihilated`, shape (B, k).
        unresolved: True for directions if float64 cannot tell how much is left of them, shape (B, k); None if there are
            none.
        order: Column of F that each column of Q continues, or replaces after annihilation, shape (B, k). Surviving
            columns come first. None if the order has not changed.
        resting: True for columns that were exactly zero and keep their place until they grow again, shape (B, k); see
            `settle`.
    """

    q: Tensor
    log_growth: Tensor
    bound: Tensor
    condition: Tensor | None
    volume_error: Tensor | None
    finite: Tensor
    lost: Tensor
    suspect: Tensor
    noise: Tensor
    unresolved: Tensor | None = None
    order: Tensor | None = None
    resting: Tensor | None = None

    def followed_by(self, later: Decomposition) -> Decomposition:
        """Join this step and a later one, which decomposes this Q carried on. Both must be fully known."""
        assert self.condition is not None, "computed by `decompose`"
        assert later.condition is not None, "computed by `decompose`"
        assert self.volume_error is not None, "computed by `decompose`"
        assert later.volume_error is not None, "computed by `decompose`"
        unresolved = self.unresolved
        if later.unresolved is not None:
            back = self._at_start(later.unresolved)
            unresolved = back if unresolved is None else unresolved | back
        order = later.order
        if self.order is not None:
            order = self.order if later.order is None else self.order.gather(-1, later.order)
        return replace(
            later,
            log_growth=self.log_growth + self._at_start(later.log_growth),
            bound=torch.maximum(self.bound, later.bound),
            condition=torch.maximum(self.condition, later.condition),
            volume_error=self.volume_error + later.volume_error,
            unresolved=unresolved,
            order=order,
        )

    def _at_start(self, values: Tensor) -> Tensor:
        """Return columns of Q (B, k) in the order that they had in F."""
        return values if self.order is None else torch.empty_like(values).scatter(-1, self.order, values)


def refill_seed(generator: torch.Generator) -> int:
    """Return the seed of `random_refill`, and advance the generator by one number."""
    return int(torch.randint(2**62, (), generator=generator, device="cpu"))


def random_refill(seed: int) -> Refill:
    """Return a source of random columns. The same seed gives the same columns in every run.

    The columns are the same for all trajectories and at all steps. So no trajectory depends on the others in its batch,
    or on the steps at which those lose a direction.
    """

    @lru_cache(maxsize=1)
    def numbers(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu")

    return lambda like: numbers(like.shape[-2:]).to(like).expand_as(like)


def suspicion(dtype: torch.dtype, size: int) -> float:
    """Return the share of a column below which its rest is suspected to be rounding noise.

    The share is N eps in float32. In float64 it is N eps^(2/3), where R_ii still has a third of its digits, because
    there is a better way to find the rest.
    """
    eps = torch.finfo(dtype).eps
    return size * (eps ** (2 / 3) if dtype == torch.float64 else eps)


def sound_limits(frame: Tensor) -> tuple[float, float, float]:
    """Return the bounds of a sound decomposition of a frame (B, N, k).

    Returns:
        The lower bound of the share of a column that the others leave, and the lower and upper bounds of |R_ii| between
        which squares neither underflow nor overflow.
    """
    limits = torch.finfo(frame.dtype)
    return suspicion(frame.dtype, frame.shape[-2]), limits.tiny**0.5 / limits.eps, limits.max**0.5 * limits.eps


def decompose_sound(
    frame: Tensor, certify: bool, expected_bound: float = math.inf, floor: Tensor | None = None
) -> Decomposition | None:
    """Decompose sound frames of shape (B, N, k); nearly all frames are sound.

    Args:
        frame: The frames.
        certify: True to compute condition number and volume, too. Each costs as much as the decomposition.
        expected_bound: Estimate of `Decomposition.bound`; a small one allows a faster way.
        floor: Lower bound of |R_ii|, shape (B, 1).

    Returns:
        The decomposition. None if a frame is not finite, may have lost a direction, or comes near the ends of the range
        of its type; use `decompose` for such frames.
    """
    q, r = orthonormalise(frame, expected_bound)
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    relative = diagonal / r.square().sum(dim=-2).sqrt()  # (B, k): the share of a column that the others leave
    least, smallest, largest = sound_limits(frame)
    sound = (relative > least) & (diagonal > smallest) & (diagonal < largest)
    if floor is not None:
        sound &= diagonal > floor
    if not bool(sound.all()):  # a NaN is not greater than anything
        return None
    log_growth = diagonal.double().log()
    nothing = torch.zeros(frame.shape[0], dtype=torch.bool, device=frame.device)
    condition = volume_error = None
    if certify:
        size = frame.abs().amax(dim=-2, keepdim=True)
        condition = _condition(r / size, nothing.unsqueeze(-1))
        volume_error = _volume_error((frame / size).double(), log_growth - size.squeeze(-2).double().log())
    bound, none = 1 / relative.amin(dim=-1).double(), torch.zeros_like(diagonal, dtype=torch.bool)
    return Decomposition(q, log_growth, bound, condition, volume_error, ~nothing, nothing, none, none)


def decompose(frame: Tensor, floor: Tensor | None = None) -> Decomposition:
    """Decompose any frames of shape (B, N, k), sound or not.

    Args:
        frame: The frames.
        floor: Size below which |R_ii| is suspect, shape (B, 1).
    """
    finite = torch.isfinite(frame).all(dim=-1).all(dim=-1)  # (B,)
    frame = torch.where(finite[:, None, None], frame, torch.zeros_like(frame))
    limits = torch.finfo(frame.dtype)
    size = frame.abs().amax(dim=-2)  # (B, k)
    columns = frame / torch.where(size == 0, torch.ones_like(size), size).unsqueeze(-2)
    q, r = torch.linalg.qr(columns)  # Householder
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    gone = annihilated(columns, diagonal)
    suspect = diagonal <= suspicion(frame.dtype, frame.shape[-2]) * column_norms(columns)
    if floor is not None:
        suspect |= diagonal * size <= floor
    log_growth = diagonal.double().log() + torch.where(size == 0, torch.ones_like(size), size).double().log()
    small = (size < limits.tiny / limits.eps) | (size > limits.max * limits.eps)
    condition = _condition(r, gone)
    relative = diagonal / torch.linalg.vector_norm(r, dim=-2).clamp(min=limits.tiny)
    return Decomposition(
        q,
        log_growth,
        torch.where(gone.any(dim=-1), condition, 1 / relative.amin(dim=-1).clamp(min=limits.tiny).double()),
        condition,
        _volume_error(columns.double(), diagonal.double().log()),
        finite,
        ~finite | (gone | small).any(dim=-1),
        suspect,
        gone,
    )


def settle(
    part: Decomposition,
    frame: Tensor,
    jacobian: Callable[[], Tensor],
    refill: Refill,
    effort: Effort,
    *,
    restart_at_random: bool = False,
) -> Decomposition:
    """Decide for each suspect direction of a single step: it is annihilated, has a known size, or cannot be resolved.

    No more directions survive than J has nonzero rows, or nonzero columns. If as many survive, the others are
    annihilated for certain. `lyapkit.lyapunov.one_step.grow` decides everything else, as long as the effort lasts.
    After that, the rule |R_ii| <= N eps |column| decides, and its verdict does not count as resolved. From then on, J
    is computed only if an earlier J had rows or columns of zeros. Annihilated directions are replaced at random,
    orthogonal to the surviving ones, and come behind them from then on. So they never take a part of the growth of an
    older direction. If nothing of a full frame survives, the frame starts again with the identity, as at the start of
    the run.

    One case follows the textbook: columns of a full frame that are exactly zero. They arise when the frame starts with
    the identity and the next state does not read some coordinates. QR leaves the axes of these coordinates in place,
    and so measures the other columns without them. If the zero columns were moved behind, these coordinates would add
    to the lengths of the others once, at that step. The exponents of an LSTM without recurrent weights would then not
    be the logarithms of its forget gates: they would have a remainder that fades as 1/T. So zero columns rest in place,
    and move behind the others when they grow again (`behind`).

    Args:
        part: Decomposition of J F.
        frame: Frame F, orthonormal, shape (B, N, k).
        jacobian: Function that returns J, shape (B, N, N).
        refill: Generator of random directions.
        effort: Effort that the run may still spend on this.
        restart_at_random: True if the run started at random, even with a full frame.
    """
    doubted = part.suspect.any(dim=-1) & part.finite  # (B,)
    if not bool(doubted.any()):
        return part
    size, k = frame.shape[-2:]
    full, jacobians = size == k, None
    rank = torch.full_like(part.suspect[:, 0], size, dtype=torch.int64)  # (B,), at most
    if effort.sparse or not effort.spent:
        jacobians = jacobian()
        nonzero = jacobians != 0
        rank = torch.minimum(nonzero.any(dim=-1).sum(dim=-1), nonzero.any(dim=-2).sum(dim=-1))
        effort.sparse = effort.sparse or bool((doubted & (rank < size)).any())
    kept = k - part.suspect.sum(dim=-1)
    last = part.suspect.to(torch.int8).diff(dim=-1).ge(0).all(dim=-1)  # the suspects come last
    zero = torch.isneginf(part.log_growth)
    textbook = doubted & (part.suspect == zero).all(dim=-1) & (kept == rank) & (kept > 0) & full
    resting = zero & (textbook & ~last).unsqueeze(-1)
    gone = part.suspect & (doubted & ~(textbook & ~last)).unsqueeze(-1)
    log_growth = part.log_growth.masked_fill(gone, -torch.inf)
    q = part.q.clone()
    order = torch.arange(k, device=q.device).repeat(len(q), 1)
    unresolved = torch.zeros_like(gone)
    for index in (doubted & ~((last & (kept >= rank)) | textbook)).nonzero().flatten().tolist():
        if jacobians is None or not effort.allows_elimination(size):
            found = part.log_growth[index].masked_fill(part.noise[index], -torch.inf)
            doubt, survivors = part.suspect[index], q[index][:, torch.isfinite(found)]
        elif full and _accounts_for(part.log_growth[index], jacobians[index]):
            found, doubt, survivors = part.log_growth[index], unresolved[index], q[index]
        else:
            suspect, eps = part.suspect[index].cpu().numpy(), torch.finfo(frame.dtype).eps
            grown = grow(_array(jacobians[index]), _array(frame[index]), suspect, effort, eps)
            found = torch.from_numpy(grown.log_growth).to(log_growth)
            doubt = torch.from_numpy(grown.unresolved).to(gone)
            survivors = torch.from_numpy(grown.frame).to(q)
            if bool(torch.isfinite(found).all()) and torch.allclose(found, part.log_growth[index], 0, AGREEMENT):
                survivors = q[index]  # which keeps zeros and tiny entries better
        log_growth[index], unresolved[index] = found, doubt
        q[index, :, : survivors.shape[-1]] = survivors
        order[index] = torch.isneginf(found).to(torch.int8).argsort(stable=True)
        gone[index] = torch.arange(k, device=q.device) >= survivors.shape[-1]  # of Q
    lost = (gone | resting).any(dim=-1)
    if bool(gone.any()):
        columns = torch.where(gone.unsqueeze(-2), refill(q), q)
        q = torch.where(gone.any(dim=-1)[:, None, None], torch.linalg.qr(columns).Q, q)
        if full and not restart_at_random:
            q = torch.where(gone.all(dim=-1)[:, None, None], torch.eye(k, dtype=q.dtype, device=q.device), q)
    return replace(
        part,
        q=q,
        log_growth=log_growth,
        condition=None if part.condition is None else torch.where(lost, torch.inf, part.condition),
        volume_error=None if part.volume_error is None else torch.where(doubted, 0.0, part.volume_error),
        bound=torch.where(lost, torch.inf, part.bound),
        unresolved=unresolved if bool(unresolved.any()) else None,
        order=order if bool((order.diff(dim=-1) < 0).any()) else None,
        resting=resting if bool(resting.any()) else None,
    )


def behind(pushed: Tensor, resting: Tensor) -> Tensor | None:
    """Return the order (B, k) that moves columns which no longer rest behind the others; None if all still rest.

    Args:
        pushed: The frame after the next step, shape (B, N, k).
        resting: Columns that were zero before, shape (B, k).
    """
    awake = resting & (pushed != 0).any(dim=-2)
    return awake.to(torch.int8).argsort(dim=-1, stable=True) if bool(awake.any()) else None


def _accounts_for(log_growth: Tensor, jacobian: Tensor) -> bool:
    """Tell whether J is regular and log |R_ii| of a full frame add up to log |det J|; then none of them is noise."""
    total = float(log_growth.sum())
    return math.isfinite(total) and abs(total - log_determinant(_array(jacobian))) <= AGREEMENT


def _array(matrix: Tensor) -> NDArray[np.float64]:
    return matrix.detach().double().cpu().numpy()


def annihilated(frame: Tensor, diagonal: Tensor) -> Tensor:
    """Find columns with nothing but rounding noise left beside the other columns: |R_ii| <= N eps |column|.

    Args:
        frame: Decomposed frames, shape (..., N, k).
        diagonal: Diagonal |R_ii|, shape (..., k).

    Returns:
        True for such columns and for columns of zeros, shape (..., k).
    """
    return diagonal <= frame.shape[-2] * torch.finfo(frame.dtype).eps * column_norms(frame)


def column_norms(frame: Tensor) -> Tensor:
    """Compute the lengths of columns, (..., N, k) -> (..., k), even if their squares would overflow."""
    largest = frame.abs().amax(dim=-2, keepdim=True).clamp(min=torch.finfo(frame.dtype).tiny)
    norms: Tensor = torch.linalg.vector_norm(frame / largest, dim=-2)
    return largest.squeeze(-2) * norms


def _volume_error(columns: Tensor, logs: Tensor) -> Tensor:
    if bool(torch.isinf(logs).any(dim=-1).all()):
        return torch.zeros_like(logs[:, 0])
    if columns.shape[-1] == columns.shape[-2]:
        log_volume = torch.linalg.slogdet(columns).logabsdet
    else:
        log_volume = torch.linalg.svdvals(columns).log().sum(dim=-1)
    error = logs.sum(dim=-1) - log_volume
    # an annihilated volume is zero on both sides, up to rounding noise that has no logarithm to compare
    return torch.where(torch.isinf(logs.sum(dim=-1)), torch.zeros_like(error), error)


def _condition(r: Tensor, gone: Tensor) -> Tensor:
    singular = gone.any(dim=-1)  # (B,)
    if bool(singular.all()):
        return torch.full(singular.shape, torch.inf, dtype=torch.float64, device=r.device)
    identity = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device).expand_as(r)
    safe = torch.where(singular[:, None, None], identity, r)
    inverse = torch.linalg.solve_triangular(safe, identity, upper=True)
    # sums and maxima: torch.linalg.matrix_norm takes ten times as long for many small matrices
    condition = safe.abs().sum(dim=-2).amax(dim=-1) * inverse.abs().sum(dim=-2).amax(dim=-1)
    return torch.where(singular, torch.full_like(condition, torch.inf), condition).double()
