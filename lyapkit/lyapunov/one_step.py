"""Carry a frame over one step to a relative accuracy that does not depend on how unlike its directions grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyapkit.lyapunov.elimination import EPS, Array, eliminate, eliminated, log_determinant

EXACT_SIZE = 24
"""Largest state for which integers are multiplied out: about 1 ms for N = 8 and 50 ms for N = 20."""


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


def grow(jacobian: Array, frame: Array, suspect: NDArray[np.bool_], eps: float = EPS) -> FrameGrowth:
    """Carry a frame over one step, and decompose it.

    By elimination, which finds each log |R_ii| to rounding where J is a well-conditioned matrix under any scaling of
    its rows and columns, and tells its rank. Where elimination does not see that J is regular, as it does not see of
    many triangular matrices, but its determinant is not zero, integers are used instead, in which nothing is rounded.

    A column counts as annihilated when nothing is left of it but what rounding the entries of J and Q could have made.

    Args:
        jacobian: J, shape (N, N), finite.
        frame: Q, orthonormal, shape (N, k).
        suspect: Columns of which little is left, shape (k,).
        eps: Of the type that J and Q were rounded to.
    """
    size, k = frame.shape
    whole, log_largest = eliminated(jacobian, eps)
    rank = len(whole.columns)
    regular = rank == size or math.isfinite(log_determinant(jacobian, eps))
    error = _blur(whole.upper, frame, eps if regular else eps ** (2 / 3))
    part = eliminate(whole.upper @ frame, error, row_log=whole.log_pivot + log_largest, in_order=True)
    q, r = np.linalg.qr(whole.lower @ part.lower)
    log_growth = np.full(k, -np.inf)
    log_growth[part.columns] = np.log(np.abs(np.diagonal(r))) + part.log_pivot
    gone = np.isneginf(log_growth)
    if regular and (rank < size or bool(gone.any())) and size <= EXACT_SIZE:
        return _exactly(jacobian, frame)
    trusted = rank == size or (whole.certain and not regular)
    unresolved = (gone | suspect) & (not trusted or int(gone.sum()) > size - rank)
    unresolved[part.columns] |= part.blurred
    return FrameGrowth(q, log_growth, unresolved)


def _blur(upper: Array, frame: Array, angle: float) -> Array:
    """Return bounds of the errors of Y Q, shape (r, k), if entries of Q that are not 0 may be wrong by an angle.

    Where J is regular that is their rounding. Where it is not, a direction may have come into its kernel over many
    steps, in each of which rounding has turned it, the more the less was left of it: it counts as annihilated when it
    lies in the kernel up to eps^(2/3).
    """
    return 4 * len(frame) * angle * (np.abs(upper) @ (frame != 0))


def _exactly(jacobian: Array, frame: Array) -> FrameGrowth:
    """Do the same in integers, by Bareiss' elimination of (J Q)^T J Q, whose pivots are products of the R_ii^2."""
    left, left_log = _integers(jacobian)
    right, right_log = _integers(frame)
    pushed = left.dot(right)
    work = np.concatenate((pushed.T.dot(pushed), pushed.T), axis=1)  # (k, k + N)
    k = frame.shape[1]
    previous = 1
    log_growth, columns = np.full(k, -np.inf), []
    for row in range(k):
        pivot = work[row, row]  # never 0: J is regular and the columns of Q are independent
        log_growth[row] = (math.log(pivot) - math.log(previous)) / 2 + left_log + right_log
        direction = work[row, k:]
        largest = max(abs(value) for value in direction)
        column = np.array([value / largest for value in direction], float)
        columns.append(column / np.linalg.norm(column))  # orthogonal already, and each entry keeps its digits
        below = work[row + 1 :]
        work[row + 1 :] = (pivot * below - np.outer(below[:, row], work[row])) // previous
        previous = pivot
    return FrameGrowth(np.array(columns).T, log_growth, np.zeros(k, bool))


def _integers(matrix: Array) -> tuple[NDArray[np.object_], float]:
    """Return integers and a logarithm, exp of which they are to be multiplied by."""
    fraction, exponent = np.frexp(matrix)
    lowest = int(exponent[matrix != 0].min()) - 53
    whole = np.ldexp(fraction, 53).astype(np.int64).astype(object)
    shift = np.where(matrix != 0, exponent - 53 - lowest, 0).astype(object)
    return np.left_shift(whole, shift), lowest * math.log(2)
