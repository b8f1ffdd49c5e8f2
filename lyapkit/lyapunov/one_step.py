"""Carry a frame over one step to a relative accuracy that does not depend on how unlike its directions grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyapkit.lyapunov.elimination import EPS, Array, eliminate, eliminated, log_determinant

EXACT_SIZE = 24
"""Largest state for which integers are multiplied out: 4 ms for N = 8, and 0.4 s for N = 20."""


@dataclass(frozen=True)
class FrameGrowth:
    """J Q = Q' R, as far as a direction survives.

    Attributes:
        frame: Orthonormal columns that survive, in their order, shape (N, r).
        log_growth: log |R_ii|, shape (k,); -inf for those that do not survive.
        unresolved: Directions of which float64 cannot tell how much is left, if anything, shape (k,).
    """

    frame: Array
    log_growth: Array
    unresolved: NDArray[np.bool_]


class Effort:
    """Time that a run may spend on what single steps annihilate.

    It is reckoned in milliseconds by a fixed rule, so that results do not depend on the machine: a run of any length
    takes about two seconds more at most, however many of its steps are in doubt. The trajectories of a batch share it.

    Attributes:
        spent: No further elimination is allowed.
        sparse: A row or column of a Jacobian has been zero, so that Jacobians are worth computing without elimination.
    """

    def __init__(self) -> None:
        self.sparse = False
        self.renew()

    def renew(self) -> None:
        """Begin again with all of it."""
        self._left, self.spent = 2000.0, False

    def spend(self, milliseconds: float) -> bool:
        """Return true, and reckon so much, if there is as much left."""
        enough = milliseconds <= self._left
        self._left -= milliseconds if enough else 0.0
        return enough

    def allows_elimination(self, size: int) -> bool:
        """Reckon one elimination of N rows, if there is enough left."""
        self.spent = self.spent or not self.spend(1 + 0.2 * size + (size / 16) ** 2)
        return not self.spent

    def allows_integers(self, size: int) -> bool:
        """Reckon one decomposition in integers, if there is enough left."""
        return size <= EXACT_SIZE and self.spend(4 * (size / 8) ** 5)


def grow(jacobian: Array, frame: Array, suspect: NDArray[np.bool_], effort: Effort, eps: float = EPS) -> FrameGrowth:
    """Carry a frame over one step, and decompose it.

    By elimination, which finds each log |R_ii| to rounding where J is a well-conditioned matrix under any scaling of
    its rows and columns, and tells its rank. Where elimination does not see that J is regular, as it does not see of
    many triangular matrices, but its determinant is not zero, integers are used instead, in which nothing is rounded.

    A column counts as annihilated when nothing is left of it but what rounding the entries of J and Q could have made.

    Args:
        jacobian: J, shape (N, N), finite.
        frame: Q, orthonormal, shape (N, k).
        suspect: Columns of which little is left, shape (k,).
        effort: What is left for integers.
        eps: Of the type that J and Q were rounded to.
    """
    size, k = frame.shape
    whole, log_largest = eliminated(jacobian, eps)
    rank = len(whole.columns)
    regular = rank == size or math.isfinite(log_determinant(jacobian, eps))
    error = _blur(whole.upper, frame, regular, eps)
    part = eliminate(whole.upper @ frame, error, row_log=whole.log_pivot + log_largest, in_order=True)
    q, r = np.linalg.qr(whole.lower @ part.lower)
    log_growth = np.full(k, -np.inf)
    log_growth[part.columns] = np.log(np.abs(np.diagonal(r))) + part.log_pivot
    gone = np.isneginf(log_growth)
    if regular and (rank < size or bool(gone.any())) and effort.allows_integers(size):
        exact = _exactly(jacobian, frame)
        return FrameGrowth(exact.frame, exact.log_growth, np.zeros(k, bool))
    trusted = rank == size or (whole.certain and not regular)
    unresolved = (gone | suspect) & (not trusted or int(gone.sum()) > size - rank)
    unresolved[part.columns] |= part.blurred
    return FrameGrowth(q, log_growth, unresolved)


def _blur(upper: Array, frame: Array, regular: bool, eps: float = EPS) -> Array:
    """Return bounds of the errors of Y Q, shape (r, k).

    Where J is regular nothing can vanish, and entries of Q are taken to have their digits, however small they are.
    Where it is not, a direction may have come into its kernel over many steps, in each of which rounding has turned it,
    the more the less was left of it: it counts as annihilated when it lies in the kernel up to an angle of eps^(2/3).
    """
    size = eps * np.abs(frame) if regular else eps ** (2 / 3) * (frame != 0)
    bound: Array = 4 * len(frame) * (np.abs(upper) @ size)
    return bound


@dataclass(frozen=True)
class ProductGrowth:
    """J U D = Q D' M for a graded product U D T, as far as a direction survives; r of them do.

    Attributes:
        frame: Q, orthonormal, shape (N, r).
        log_scale: Logarithms of D', descending or nearly so, shape (r,).
        mixing: M, shape (r, k); entries are at most about 1 in magnitude.
        resolved: Directions, in their order, of which float64 can tell how much is left: all k, or the first ones.
    """

    frame: Array
    log_scale: Array
    mixing: Array
    resolved: int


def grow_product(jacobian: Array, frame: Array, log_scale: Array, effort: Effort) -> ProductGrowth:
    """Carry a graded product over one step; the directions may be taken in any order here.

    Args:
        jacobian: J, shape (N, N), finite.
        frame: U, orthonormal, shape (N, k).
        log_scale: Logarithms of D, finite, shape (k,).
        effort: What is left for integers.
    """
    size, k = frame.shape
    whole, log_largest = eliminated(jacobian)
    rank = len(whole.columns)
    regular = rank == size or math.isfinite(log_determinant(jacobian))
    if regular and rank < size and effort.allows_integers(size):
        exact = _exactly(jacobian, frame, log_scale)
        return ProductGrowth(exact.frame, exact.log_growth + log_scale[exact.order], exact.mixing, k)
    part = eliminate(
        whole.upper @ frame,
        _blur(whole.upper, frame, regular),
        row_log=whole.log_pivot + log_largest,
        column_log=log_scale,
    )
    q, r = np.linalg.qr(whole.lower @ part.lower)
    diagonal = np.abs(np.diagonal(r))
    ratio = np.exp(np.minimum(part.log_pivot - part.log_pivot[:, None], 600.0))
    mixing = np.triu(r * ratio) / diagonal[:, None] @ part.upper
    survivors = len(part.columns)
    trusted = rank == size or (whole.certain and not regular)
    resolved = k if trusted and k - survivors <= size - rank else survivors
    if bool(part.blurred.any()):
        resolved = min(resolved, int(part.blurred.argmax()))
    return ProductGrowth(q, part.log_pivot + np.log(diagonal), mixing, resolved)


@dataclass(frozen=True)
class _Exact:
    """J Q = Q' R in an order of columns: Q', log |R_ii|, the order, and R over R_ii, graded, columns unsorted."""

    frame: Array
    log_growth: Array
    order: NDArray[np.intp]
    mixing: Array


def _exactly(jacobian: Array, frame: Array, log_scale: Array | None = None) -> _Exact:
    """Decompose in integers, by Bareiss' elimination of (J Q)^T J Q, whose pivots are products of the R_ii^2.

    With scales of the columns, the largest remaining column comes next each time; otherwise they keep their order.
    """
    left, left_log = _integers(jacobian)
    right, right_log = _integers(frame)
    pushed = left.dot(right)
    work = np.concatenate((pushed.T.dot(pushed), pushed.T), axis=1)  # (k, k + N)
    k = frame.shape[1]
    order, previous = np.arange(k), 1
    scale = np.zeros(k) if log_scale is None else log_scale
    log_growth, columns, mixing = np.empty(k), [], np.zeros((k, k))
    for row in range(k):
        if log_scale is not None:
            sizes = [math.log(work[place, place]) / 2 + scale[order[place]] for place in range(row, k)]
            swap, back = [row, row + int(np.argmax(sizes))], [row + int(np.argmax(sizes)), row]
            work[swap], order[swap] = work[back], order[back]
            work[:, swap] = work[:, back]
        pivot = work[row, row]  # never 0: J is regular and the columns of Q are independent
        log_growth[row] = (math.log(pivot) - math.log(previous)) / 2 + left_log + right_log
        direction = work[row, k:]
        largest = max(abs(value) for value in direction)
        column = np.array([value / largest for value in direction], float)
        columns.append(column / np.linalg.norm(column))  # orthogonal already, and each entry keeps its digits
        if log_scale is not None:
            over = np.array([value / pivot for value in work[row, row:k]], float)
            mixing[row, order[row:]] = over * np.exp(scale[order[row:]] - scale[order[row]])
        below = work[row + 1 :]
        work[row + 1 :] = (pivot * below - np.outer(below[:, row], work[row])) // previous
        previous = pivot
    return _Exact(np.array(columns).T, log_growth, order, mixing)


def _integers(matrix: Array) -> tuple[NDArray[np.object_], float]:
    """Return integers and a logarithm, exp of which they are to be multiplied by."""
    fraction, exponent = np.frexp(matrix)
    lowest = int(exponent[matrix != 0].min()) - 53
    whole = np.ldexp(fraction, 53).astype(np.int64).astype(object)
    shift = np.where(matrix != 0, exponent - 53 - lowest, 0).astype(object)
    return np.left_shift(whole, shift), lowest * math.log(2)
