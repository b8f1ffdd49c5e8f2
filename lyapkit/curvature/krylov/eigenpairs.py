"""The k most wanted eigenpairs of a symmetric operator, each with its multiplicity and without spurious ones.

A Krylov space from b random vectors contains min(b, m) copies of an eigenvalue of multiplicity m. If a run finds b
copies of one, there may be more. The wanted pairs are then locked. Further runs, from random vectors orthogonal to
them, search for the remaining copies until none is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lyapkit.curvature.krylov.bounds import error_bounds
from lyapkit.curvature.krylov.convergence import Goal
from lyapkit.curvature.krylov.lanczos import BlockLanczos, RitzPairs, finite
from lyapkit.curvature.krylov.selection import Interval, Which, interval, order
from lyapkit.curvature.products.operators import BlockProduct

BLOCK_SIZE = 4
"""Number of vectors multiplied at once. With larger blocks a product is cheaper, but more products are needed; between
2 and 8 the two nearly balance. Chosen by measurement, see benchmarks/curvature.py."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Default tolerance of residuals relative to their eigenvalues, by the type of the model."""
RESOLUTION = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Limit of residuals relative to the largest eigenvalue, well above the rounding of a product. None needs to be below
it."""
BASIS_BYTES = 2**27
"""128 MiB, which a basis may take by default even if fewer vectors would be enough."""


@dataclass(frozen=True)
class Eigenpairs:
    """k eigenpairs, the most wanted first.

    Attributes:
        values: Shape (k,).
        vectors: Orthonormal columns, shape (P, k).
        residuals: Norms |A v - lambda v|, recomputed with the operator, shape (k,).
        error_bounds: Bounds on |lambda - true eigenvalue|, shape (k,).
        largest: Largest magnitude of all Ritz values of the search, wanted or not.
        products: Number of products used, including k for the recomputation.
        complete: True if the search for further eigenvalues was finished.
        method: Either "lanczos", or "dense" if the whole matrix was computed.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    error_bounds: Tensor
    largest: float
    products: int
    complete: bool
    method: Literal["lanczos", "dense"]


def leading_eigenpairs(
    product: BlockProduct,
    size: int,
    k: int,
    *,
    which: Which,
    tolerance: float,
    resolution: float,
    max_products: int,
    block_size: int,
    basis_size: int,
    generator: torch.Generator,
    device: torch.device,
    start: Tensor | None = None,
) -> Eigenpairs:
    """Compute the k most wanted eigenpairs.

    If k is at least half the number of dimensions, the whole matrix takes no more products than a search, which needs
    2k. It is then computed and diagonalised.

    Args:
        product: A X for a block with orthonormal columns, (P, b) -> (P, b), float64.
        size: Number of dimensions P.
        k: Number of pairs, at most P.
        which: Order in which pairs are wanted; see `lyapkit.curvature.krylov.selection.order`.
        tolerance: Limit of each residual, relative to its eigenvalue.
        resolution: Limit of residuals relative to the largest |eigenvalue|; none needs to be below it.
        max_products: Largest number of products, at least 2k. The search stops there, converged or not.
        block_size: Number b of vectors multiplied at once.
        basis_size: Largest number of vectors of length P that are kept, besides k locked ones; at least k + 2b.
        generator: Generator that draws the start vectors.
        device: Device of the vectors.
        start: Approximate eigenvectors, columns, shape (P, any).

    Raises:
        FloatingPointError: If a product is not finite.
    """
    if size <= 2 * k:
        return _rayleigh_ritz(product, torch.eye(size, dtype=torch.float64, device=device), k, which)
    budget = max_products - k  # k are kept for the residuals
    locked = torch.empty(0, size, dtype=torch.float64, device=device)
    values = torch.empty(0, dtype=torch.float64, device="cpu")
    suspects = torch.empty(0, dtype=torch.float64, device="cpu")
    used, largest, complete = 0, 0.0, False
    while not complete and used < budget:
        front = torch.randn(block_size, size, generator=generator, dtype=torch.float64, device="cpu").to(device)
        if start is not None and locked.shape[0] == 0:
            front = _towards(start, front, generator)
        goal = Goal(which, k, tolerance, resolution, values, suspects, largest)
        run = BlockLanczos(product, front, locked, basis_size)
        pairs, chosen, spent, done = _search(run, goal, budget - used)
        used += spent
        largest = max(largest, float(pairs.values.abs().max()))
        locked = torch.cat((locked, run.vectors(pairs.weights[:, chosen])))
        values = torch.cat((values, pairs.values[chosen]))
        copies = min(block_size, run.room)
        del run  # frees its basis before the next run makes its own
        if not done:
            break
        suspects = goal.suspects(pairs, chosen, values, copies)
        complete = locked.shape[0] == size or (values.numel() >= k and (chosen.numel() == 0 or suspects.numel() == 0))
    best = order(values, which)[:k]
    found = _rayleigh_ritz(product, locked[best.to(device)], k, which, largest)
    return replace(found, products=used + found.products, complete=complete, method="lanczos")


def default_basis_size(size: int, k: int, block_size: int) -> int:
    """Return the default number of vectors in a basis: 2k + 8b, or as many as 128 MiB hold.

    The smaller number is enough if the wanted eigenvalues are far from the others. If they are close, every restart
    forgets directions that took products to find. Memory is used only as the basis grows.

    Args:
        size: Number of parameters P.
        k: Number of pairs.
        block_size: Number b of vectors multiplied at once.
    """
    return max(2 * k + 8 * block_size, min(size, BASIS_BYTES // (8 * size)))


def _search(run: BlockLanczos, goal: Goal, budget: int) -> tuple[RitzPairs, Tensor, int, bool]:
    """Run until the goal is met or the budget is spent; return pairs, choice, number of products, and success.

    In exact arithmetic a run from b vectors ends with D of them, the sum of min(b, m) over all eigenspaces. By the
    count of dimensions, any n > D - min(b, m) vectors contain n - D + min(b, m) of an eigenspace. So close to the end
    some pairs are exact, although the run has not yet seen pairs that are wanted more. By then the pending block has
    become smaller than the first, and is the last of the run. It is multiplied, too, before the run may end.
    """
    used = judged = 0
    ends = False
    while True:
        used += run.expand(budget - used)
        full = run.count + run.pending > run.capacity
        over = run.pending == 0 or used >= budget
        due = run.count >= (1 if goal.is_check else goal.k) and run.count >= judged + max(1, judged // 50)
        if not (full or over or due):
            continue
        pairs = run.ritz()
        chosen, done = goal.judge(pairs, run.room)
        judged = run.count
        if done and not ends and 0 < run.pending < run.width:
            ends, done, due = True, False, False
        if over or done:
            return pairs, chosen, used, done
        if full:
            taken = 0 if goal.is_check else goal.k
            keep = min(taken + (run.capacity - taken) // 2, run.capacity - run.pending)
            kept = order(pairs.values, goal.which)[:keep]
            run.restart(pairs.weights[:, kept], pairs.values[kept])
            judged = 0


def _towards(start: Tensor, random: Tensor, generator: torch.Generator) -> Tensor:
    """Make start vectors, rows: random combinations of the given columns, with a tenth of a random vector in each."""
    mix = torch.randn(start.shape[1], random.shape[0], generator=generator, dtype=torch.float64, device="cpu").to(start)
    rows = (start @ mix).T
    new: Tensor = random / torch.linalg.vector_norm(random, dim=1, keepdim=True)
    old: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return old + 0.1 * new


def _rayleigh_ritz(product: BlockProduct, rows: Tensor, k: int, which: Which, largest: float = 0.0) -> Eigenpairs:
    """Compute the k most wanted pairs in the span of orthonormal rows, by one product with all, with true residuals."""
    count, size = rows.shape
    images = finite(product(rows.T)).T
    projected = (rows @ images.T).cpu()
    values, weights = torch.linalg.eigh((projected + projected.T) / 2)
    best = order(values, which)
    values, weights = values[best], weights[:, best]
    turn = weights.T.to(rows)
    rows, images = turn @ rows, turn @ images
    residuals = torch.linalg.vector_norm(images - values.to(rows)[:, None] * rows, dim=1).cpu()
    rest = None
    if count < size:  # the least wanted values are known only up to their residuals
        known, slack = interval(values, which), float(residuals[-2:].max())
        rest = Interval(known.low - slack, known.high + slack)
    bounds = torch.from_numpy(error_bounds(values.numpy(), residuals.numpy(), rest))
    # the operator is symmetric; its products deviate from that by rounding only
    largest = max(largest, float(values.abs().max()))
    bounds += float(torch.linalg.vector_norm(projected - projected.T)) + 1e-14 * largest
    return Eigenpairs(values[:k], rows[:k].T, residuals[:k], bounds[:k], largest, count, True, "dense")
