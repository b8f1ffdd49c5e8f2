"""One run of the thick-restart block Lanczos method with full reorthogonalisation.

A block of b start vectors is multiplied again and again. Every image is made orthogonal to all vectors before it (two
sweeps, in float64) and becomes the next block. This projects the operator on a growing orthonormal basis V. The Ritz
pairs (theta, V s) approach the eigenpairs, first at the ends of the spectrum. When the basis is full, the most wanted
Ritz vectors and the pending block become a smaller basis, from which the recursion continues (Wu & Simon 2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.products.operators import BlockProduct

DEFLATION = 1e-13
"""Size, relative to the operator, below which a direction of an image is rounding and not part of the Krylov space."""
MEMORY_SLICE = 4096
"""Number of columns of the basis that a restart replaces at a time, so that it needs little extra memory."""


@dataclass(frozen=True)
class RitzPairs:
    """Ritz pairs of an operator in a basis.

    Attributes:
        values: Ritz values, ascending, shape (n,).
        weights: Coefficients of the Ritz vectors in the basis, columns, shape (n, n).
        residuals: Norm |A y - theta y| for each, shape (n,).
        depth: Number of blocks multiplied so far.
        exhausted: True if the basis spans an invariant subspace; all pairs are then exact.
    """

    values: Tensor
    weights: Tensor
    residuals: Tensor
    depth: int
    exhausted: bool


class BlockLanczos:
    """A run in the orthogonal complement of known vectors.

    Args:
        product: A X for a block with orthonormal columns, (P, b) -> (P, b), float64.
        start: Start vectors, rows, shape (b, P); made orthonormal here.
        known: Orthonormal rows, shape (l, P); the run stays orthogonal to them.
        capacity: Largest number of basis vectors, at least the number of start vectors.

    Attributes:
        count: Number of basis vectors n.
        width: Number of start vectors, at most the number of dimensions.
    """

    def __init__(self, product: BlockProduct, start: Tensor, known: Tensor, capacity: int) -> None:
        self._product = product
        self._known = known
        size = start.shape[1]
        self.room = size - known.shape[0]
        self.capacity = min(capacity, self.room)
        self.count = 0
        self._basis = start.new_empty(self.capacity, size)
        self._projected = torch.zeros(self.capacity, self.capacity, dtype=torch.float64, device="cpu")
        self._front, _ = self._split_off(start[: self.room], 0.0)
        self.width = self._front.shape[0]
        # coupling of the pending block to the block that was multiplied last
        self._coupling = torch.zeros(0, 0, dtype=torch.float64, device="cpu")
        self._scale = 0.0
        self._cut = False
        self._depth = 0

    @property
    def pending(self) -> int:
        """Number of vectors that the next `expand` multiplies; 0 when the space is exhausted."""
        return min(self._front.shape[0], self.room - self.count)

    def expand(self, most: int) -> int:
        """Multiply the pending block, or the first vectors of it if not all are allowed.

        Returns:
            The number of products. A run that multiplied only a part of a block cannot continue.

        Raises:
            FloatingPointError: If a product is not finite.
        """
        block = self._front[: min(most, self.pending)]
        width, old = block.shape[0], self.count
        self._cut = width < self.pending
        images = finite(self._product(block.T)).T
        self.count += width
        self._basis[old : self.count] = block
        basis = self._basis[: self.count]
        projections = (basis @ images.T).cpu()
        corner = projections[old:]
        projections[old:] = (corner + corner.T) / 2
        self._projected[: self.count, old : self.count] = projections
        self._projected[old : self.count, : self.count] = projections.T
        self._scale = max(self._scale, float(torch.linalg.vector_norm(images, dim=1).max()))
        self._front, self._coupling = self._split_off(images, DEFLATION * self._scale)
        self._depth += 1
        return width

    def ritz(self) -> RitzPairs:
        """Return the Ritz pairs of the basis."""
        values, weights = torch.linalg.eigh(self._projected[: self.count, : self.count])
        last = weights[self.count - self._coupling.shape[1] :]
        exhausted = self.pending == 0 and not self._cut
        residuals = torch.zeros_like(values) if exhausted else torch.linalg.vector_norm(self._coupling @ last, dim=0)
        return RitzPairs(values, weights, residuals, self._depth, exhausted)

    def vectors(self, weights: Tensor) -> Tensor:
        """Combine the basis vectors: columns of weights (n, m) give rows (m, P)."""
        return weights.T.to(self._basis) @ self._basis[: self.count]

    def restart(self, weights: Tensor, values: Tensor) -> None:
        """Keep some Ritz vectors as the basis, and continue with the pending block.

        Args:
            weights: Coefficients of the Ritz vectors to keep, columns.
            values: Their Ritz values.
        """
        kept = weights.shape[1]
        combine = weights.T.to(self._basis)
        for part in torch.split(self._basis, MEMORY_SLICE, dim=1):
            part[:kept] = combine @ part[: self.count]
        self._projected.zero_()
        self._projected[:kept, :kept] = torch.diag(values)
        self.count = kept

    def _split_off(self, images: Tensor, negligible: float) -> tuple[Tensor, Tensor]:
        """Split off the part of images outside of the basis: images = C^T F + their part in the basis.

        F has orthonormal rows, shape (f, P), and the coupling C the shape (f, b). Directions below the threshold are
        dropped.
        """
        rest = self._orthogonalise(self._orthogonalise(images))
        frame, triangle = torch.linalg.qr(rest.T)
        left, sizes, right = torch.linalg.svd(triangle, full_matrices=False)
        kept = sizes > negligible
        front = self._orthogonalise((frame @ left[:, kept]).T)  # the scaling made small directions less accurate
        front, small = torch.linalg.qr(front.T)
        return front.T, (small @ (sizes[kept, None] * right[kept])).cpu()

    def _orthogonalise(self, rows: Tensor) -> Tensor:
        for seen in (self._known, self._basis[: self.count]):
            rows = rows - (rows @ seen.T) @ seen
        return rows


def finite(images: Tensor) -> Tensor:
    """Return a product after checking that it is finite.

    Raises:
        FloatingPointError: If a product is not finite.
    """
    if not bool(torch.isfinite(images).all()):
        raise FloatingPointError(
            "a curvature product is not finite. Check the loss and the weights (a root-mean-square loss has no "
            "derivative where it is zero)."
        )
    return images
