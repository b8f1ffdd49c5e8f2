r"""Tell the directions that a Jacobian annihilates from those that it merely shrinks.

A QR decomposition of :math:`F = J Q` finds :math:`|R_{ii}|` up to about eps times the length of the column. A smaller
one may be rounding noise, because :math:`J` is singular. Or it may be the true growth of a direction that fades much
faster than the others. Gaussian elimination with complete pivoting tells the two apart, because scaling rows and
columns does not change it beyond the order of its pivots (Demmel et al., Linear Algebra Appl. 299, 21, 1999):

.. math:: J = X \, \mathrm{diag}(d) \, Y,

with :math:`X` and :math:`Y` triangular up to the order of rows and columns, and :math:`d` accurate to rounding, however
small its entries, if :math:`J` is a well-conditioned matrix times any scaling of rows and columns. Each entry carries a
bound of its rounding error. An entry of the remaining matrix counts as zero when it is not larger than its bound, since
the rounding of the entries of :math:`J` alone could then have caused it. The rank is the number of pivots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

EPS = float(np.finfo(np.float64).eps)
"""Machine epsilon of the arithmetic here. Entries of a matrix may be rounded more coarsely."""

BALANCING = 3
"""Number of rounds in which rows and columns are scaled in turn; the first one does nearly all."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Elimination:
    """A matrix diag(exp(row_log)) A diag(exp(column_log)) = L diag(p) U, with r pivots.

    Attributes:
        lower: Matrix L, shape (m, r); 1 at the pivots' rows. Entries are at most 1 in magnitude.
        log_pivot: Logarithms log |p|, shape (r,).
        upper: Matrix U, shape (r, n), with the signs of p; 1 at the pivots' columns, and at most 1 elsewhere if columns
            were chosen freely.
        columns: Columns of the pivots, in their order.
        certain: True if the rest without pivots is exactly zero, or lies in rows and columns of zeros.
        blurred: True for each pivot where an entry that counted as zero might have been larger.
    """

    lower: Array
    log_pivot: Array
    upper: Array
    columns: list[int]
    certain: bool
    blurred: NDArray[np.bool_]


def eliminate(
    values: Array,
    error: Array,
    *,
    row_log: Array | None = None,
    column_log: Array | None = None,
    in_order: bool = False,
) -> Elimination:
    """Decompose a matrix that is given with the scales of its rows and columns.

    Args:
        values: Matrix A, shape (m, n).
        error: Bounds of the errors of its entries, shape (m, n).
        row_log: Logarithms of the rows' scales, shape (m,).
        column_log: Logarithms of the columns' scales, shape (n,).
        in_order: True to take pivots from the first column on, and skip columns that depend on those before.
    """
    left, error = values.copy(), error.copy()
    rows, columns = left.shape
    row_log = np.zeros(rows) if row_log is None else row_log
    column_log = np.zeros(columns) if column_log is None else column_log
    scale = row_log[:, None] + column_log
    lower, upper, log_pivot, blurred = [], [], [], []
    chosen: list[int] = []
    open_rows, open_columns = np.ones(rows, bool), np.ones(columns, bool)
    doubtful = np.zeros(left.shape, bool)
    ahead = 0
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        while len(chosen) < min(rows, columns) and ahead < columns:
            noise = np.abs(left) <= error
            doubtful |= noise & (left != 0)
            left[noise] = 0
            size = np.log(np.abs(left)) + scale
            size[~open_rows] = -np.inf
            size[:, ~open_columns] = -np.inf
            if in_order:
                row, column = int(size[:, ahead].argmax()), ahead
                ahead += 1
                if size[row, column] == -np.inf:
                    continue
            else:
                row, column = (int(i) for i in np.unravel_index(size.argmax(), size.shape))
                if size[row, column] == -np.inf:
                    break
            largest_noise = np.log(np.where(doubtful[:, column] & open_rows, error[:, column], 0.0)) + scale[:, column]
            blurred.append(bool(largest_noise.max() > size[row, column]))
            open_rows[row], open_columns[column] = False, False
            pivot = left[row, column]
            factor = np.where(open_rows, left[:, column] / pivot, 0.0)
            right = np.where(open_columns, left[row], 0.0)
            shrink = np.exp(row_log - row_log[row])
            lower.append(np.where(open_rows, factor * shrink, 0.0))
            lower[-1][row] = 1.0
            upper.append(np.where(open_columns, right / pivot * np.exp(column_log - column_log[column]), 0.0))
            upper[-1][column] = 1.0
            upper[-1] *= np.sign(pivot)
            log_pivot.append(size[row, column])
            chosen.append(column)
            removed = np.outer(factor, right)
            left -= removed
            error += np.abs(removed) * max(4 * rows * EPS, error[row, column] / abs(pivot))
    rest = doubtful[open_rows][:, open_columns]
    return Elimination(
        np.array(lower).reshape(-1, rows).T,
        np.array(log_pivot),
        np.array(upper).reshape(-1, columns),
        chosen,
        not bool(rest.any()),
        np.array(blurred, bool),
    )


def eliminated(jacobian: Array, eps: float = EPS) -> tuple[Elimination, float]:
    """Decompose a Jacobian with rounded entries; also return the logarithm of the scale that was taken out.

    Args:
        jacobian: Jacobian, shape (N, N), finite.
        eps: Machine epsilon of the type that its entries were rounded to.
    """
    largest = float(np.abs(jacobian).max())
    if largest == 0:
        return eliminate(jacobian, jacobian), 0.0
    scaled = jacobian / largest
    return eliminate(scaled, rounding(scaled, eps)), float(np.log(largest))


def rounding(jacobian: Array, eps: float = EPS) -> Array:
    r"""Return bounds of the rounding errors of a Jacobian's entries, 4 N eps times a size, shape (N, N).

    A single entry, as on the diagonal of a triangular matrix, has an error relative to its own size. Entries of one
    diagonal block of the block triangular form are usually sums of products, in which large terms may have cancelled.
    Their size is that of the block at this place, r_i c_j, from the scales of its rows and columns:

    .. math:: r_i = \max_j |J_{ij}| / c_j, \quad c_j = \max_i |J_{ij}| / r_i.

    Zeros are exact.

    Args:
        jacobian: Jacobian, shape (N, N), finite.
        eps: Machine epsilon of the type that its entries were rounded to.
    """
    magnitude = np.abs(jacobian)
    rows, block, _ = diagonal_blocks(jacobian)
    size = magnitude.copy()
    for label in np.flatnonzero(np.bincount(block) > 1):
        inside = np.flatnonzero(block == label)
        place = np.ix_(rows[inside], inside)
        part = magnitude[place]
        row, column = np.ones((len(part), 1)), np.ones(len(part))
        for _ in range(BALANCING):
            row = _nonzero((part / column).max(axis=1, keepdims=True))
            column = _nonzero((part / row).max(axis=0))
        size[place] = np.maximum(part, np.where(part == 0, 0.0, row * column))
    return 4 * len(jacobian) * eps * size


def _nonzero(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)


def diagonal_blocks(jacobian: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], bool]:
    """Return rows and blocks of the block triangular form, and true if its diagonal can be free of zeros.

    Args:
        jacobian: Jacobian, shape (N, N).

    Returns:
        The row at the place of each column and the number of its diagonal block, both of shape (N,); and false if the
        zeros alone make every choice of rows singular.
    """
    nonzero = csr_matrix(jacobian != 0)
    rows = maximum_bipartite_matching(nonzero, perm_type="row").astype(np.intp)  # a row for each column, or -1
    complete = bool((rows >= 0).all())
    rows[rows < 0] = np.setdiff1d(np.arange(len(rows)), rows)
    _, block = connected_components(csr_matrix(jacobian[rows] != 0), connection="strong")
    return rows, block.astype(np.intp), complete


def log_determinant(jacobian: Array, eps: float = EPS) -> float:
    """Return log |det J|; -inf if rounding the entries of J could make it singular.

    Rows and columns are first permuted to block triangular form. Entries outside the diagonal blocks do not count,
    however large they are.

    Args:
        jacobian: Jacobian, shape (N, N), finite.
        eps: Machine epsilon of the type that its entries were rounded to.
    """
    rows, block, complete = diagonal_blocks(jacobian)
    if not complete:
        return -np.inf
    matched = jacobian[rows]
    if block.max() == len(matched) - 1:
        return float(np.log(np.abs(np.diagonal(matched))).sum())
    total = 0.0
    for label in range(block.max() + 1):
        inside = np.flatnonzero(block == label)
        part, log_largest = eliminated(matched[np.ix_(inside, inside)], eps)
        if len(part.columns) < len(inside):
            return -np.inf
        total += float(part.log_pivot.sum()) + len(inside) * log_largest
    return total
