"""Carry a frame over one step, to a relative accuracy that does not depend on how differently its directions grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyapkit.lyapunov.elimination import EPS, Array, eliminate, eliminated, log_determinant

EXACT_SIZE = 24
"""Largest state size for which products are computed in integers. This takes 4 ms for N = 8, and 0.4 s for N = 20."""


@dataclass(frozen=True)
class FrameGrowth:
    """Decomposition J Q = Q' R of one step, without the directions that do not survive.

    Attributes:
        frame: Orthonormal columns of the directions that survive, in their order, shape (N, r).
        log_growth: Logarithms log |R_ii|, shape (k,); -inf for directions that do not survive.
        unresolved: True for directions if float64 cannot tell how much is left of them, if anything, shape (k,).
    """

    frame: Array
    log_growth: Array
    unresolved: NDArray[np.bool_]


class Effort:
    """Time that a run may spend on steps that annihilate directions.

    The effort is counted in milliseconds by a fixed rule, so that results do not depend on the machine. A run of any
    length takes at most about two seconds more, however many of its steps are in doubt. The trajectories of a batch
    share the effort.

    Attributes:
        spent: True if no further elimination is allowed.
        sparse: True if a row or column of a Jacobian has been zero; Jacobians are then worth computing without
            elimination.
    """

    def __init__(self) -> None:
        self.sparse = False
        self.renew()

    def renew(self) -> None:
        """Restore the full effort."""
        self._left, self.spent = 2000.0, False

    def spend(self, milliseconds: float) -> bool:
        """Spend so much and return true, if as much is left."""
        enough = milliseconds <= self._left
        self._left -= milliseconds if enough else 0.0
        return enough

    def allows_elimination(self, size: int) -> bool:
        """Spend the time of one elimination of N rows and return true, if enough is left."""
        self.spent = self.spent or not self.spend(1 + 0.2 * size + (size / 16) ** 2)
        return not self.spent

    def allows_integers(self, size: int) -> bool:
        """Spend the time of one decomposition in integers and return true, if enough is left."""
        return size <= EXACT_SIZE and self.spend(4 * (size / 8) ** 5)


def grow(jacobian: Array, frame: Array, suspect: NDArray[np.bool_], effort: Effort, eps: float = EPS) -> FrameGrowth:
    """Carry a frame over one step, and decompose it.

    If J is a well-conditioned matrix with scaled rows and columns, elimination finds its rank, and each log |R_ii| to
    rounding. For some regular J, including many triangular ones, elimination cannot tell that they are regular. If
    their determinant is not zero, integers are used instead, which are not rounded.

    A column counts as annihilated if the rest of it is not larger than the rounding of the entries of J and Q.

    Args:
        jacobian: Jacobian J, shape (N, N), finite.
        frame: Frame Q, orthonormal, shape (N, k).
        suspect: True for columns with little left, shape (k,).
        effort: Effort that is left for integers.
        eps: Machine epsilon of the type that J and Q were rounded to.
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

    If J is regular, nothing can vanish, and all entries of Q count as accurate, however small they are. If it is
    singular, a direction may have approached its kernel over many steps. Rounding has turned the direction in each of
    them, and more strongly the less was left of it. So it counts as annihilated if it lies in the kernel up to an angle
    of eps^(2/3).
    """
    size = eps * np.abs(frame) if regular else eps ** (2 / 3) * (frame != 0)
    bound: Array = 4 * len(frame) * (np.abs(upper) @ size)
    return bound


@dataclass(frozen=True)
class ProductGrowth:
    """Decomposition J U D = Q D' M of a graded product U D T, with only the r directions that survive.

    Attributes:
        frame: Frame Q, orthonormal, shape (N, r).
        log_scale: Logarithms of D', descending or nearly so, shape (r,).
        mixing: Matrix M, shape (r, k); entries are at most about 1 in magnitude.
        resolved: Number of leading directions for which float64 can tell how much is left; at most k.
    """

    frame: Array
    log_scale: Array
    mixing: Array
    resolved: int


def grow_product(jacobian: Array, frame: Array, log_scale: Array, effort: Effort) -> ProductGrowth:
    """Carry a graded product over one step; here the directions may come in any order.

    Args:
        jacobian: Jacobian J, shape (N, N), finite.
        frame: Frame U, orthonormal, shape (N, k).
        log_scale: Logarithms of D, finite, shape (k,).
        effort: Effort that is left for integers.
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
    """Decomposition J Q = Q' R in an order of columns: Q', log |R_ii|, the order, and R over R_ii, graded, unsorted."""

    frame: Array
    log_growth: Array
    order: NDArray[np.intp]
    mixing: Array


def _exactly(jacobian: Array, frame: Array, log_scale: Array | None = None) -> _Exact:
    """Decompose in integers, by Bareiss' elimination of (J Q)^T J Q, whose pivots are products of the R_ii^2.

    If scales of the columns are given, the largest remaining column always comes next; otherwise columns keep their
    order.
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
        columns.append(column / np.linalg.norm(column))  # already orthogonal, and each entry keeps its digits
        if log_scale is not None:
            over = np.array([value / pivot for value in work[row, row:k]], float)
            mixing[row, order[row:]] = over * np.exp(scale[order[row:]] - scale[order[row]])
        below = work[row + 1 :]
        work[row + 1 :] = (pivot * below - np.outer(below[:, row], work[row])) // previous
        previous = pivot
    return _Exact(np.array(columns).T, log_growth, order, mixing)


def _integers(matrix: Array) -> tuple[NDArray[np.object_], float]:
    """Return integers, and the logarithm of the factor to multiply them by."""
    fraction, exponent = np.frexp(matrix)
    lowest = int(exponent[matrix != 0].min()) - 53
    whole = np.ldexp(fraction, 53).astype(np.int64).astype(object)
    shift = np.where(matrix != 0, exponent - 53 - lowest, 0).astype(object)
    return np.left_shift(whole, shift), lowest * math.log(2)
