"""The k most wanted eigenpairs of a symmetric operator, each as often as it should appear and none by mistake.

A Krylov space from b random vectors contains min(b, m) copies of an eigenvalue of multiplicity m. Where b copies of one
were found, there may be more: the wanted pairs are then locked, and further runs from random vectors orthogonal to them
look for what is left, until nothing is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.bounds import error_bounds
from lyapkit.curvature.lanczos import BlockLanczos, RitzPairs
from lyapkit.curvature.operators import BlockProduct
from lyapkit.curvature.wanted import Interval, Which, interval, order

BLOCK_SIZE = 4
"""Vectors multiplied at once. Larger blocks make a product cheaper and need more of them; between 2 and 8 the two
nearly balance. Chosen by measurement, see benchmarks/curvature.py."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""On residuals relative to their eigenvalues, by the type of the model."""
RESOLUTION = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Of residuals relative to the largest eigenvalue, below which none has to be: well above the rounding of a product."""
LOOSEST = 1e-3
"""Relative residual that ends a search at the latest; Ritz values with larger ones may still change places."""
MISS = 1e-6
"""Probability at which a copy that no run has found is held to be absent."""


@dataclass(frozen=True)
class Eigenpairs:
    """k eigenpairs, the most wanted first.

    Attributes:
        values: shape (k,).
        vectors: orthonormal columns, shape (P, k).
        residuals: |A v - lambda v|, recomputed with the operator, shape (k,).
        error_bounds: on |lambda - true eigenvalue|, shape (k,).
        largest: magnitude of the largest Ritz value that was met, wanted or not.
        products: how many products were used, the k of the recomputation included.
        complete: whether the search for further eigenvalues came to its end.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    error_bounds: Tensor
    largest: float
    products: int
    complete: bool


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
    """The k most wanted eigenpairs.

    Args:
        product: A X for a block with orthonormal columns, (P, b) -> (P, b), float64.
        size: P.
        k: number of pairs, at most P.
        which: see `lyapkit.curvature.wanted.order`.
        tolerance: on each residual, relative to its eigenvalue.
        resolution: no residual needs to be below this times the largest |eigenvalue|.
        max_products: stop after so many products, at least 2k, converged or not.
        block_size: b, how many vectors are multiplied at once.
        basis_size: at most how many vectors of length P are kept (and k locked ones); at least k + 2b.
        generator: draws the start vectors.
        device: where the vectors live.
        start: approximate eigenvectors, columns, shape (P, any).

    Raises:
        FloatingPointError: a product is not finite.
    """
    budget = max_products - k  # k are kept for the residuals
    locked = torch.empty(0, size, dtype=torch.float64, device=device)
    values = torch.empty(0, dtype=torch.float64)
    suspects = torch.empty(0, dtype=torch.float64)
    used, largest, complete = 0, 0.0, False
    while not complete and used < budget:
        front = torch.randn(block_size, size, generator=generator, dtype=torch.float64).to(device)
        if start is not None and locked.shape[0] == 0:
            front = _towards(start, front, generator)
        goal = _Goal(which, k, tolerance, resolution, values, suspects)
        run = BlockLanczos(product, front, locked, basis_size)
        pairs, chosen, spent, done = _search(run, goal, budget - used)
        used += spent
        largest = max(largest, float(pairs.values.abs().max()))
        locked = torch.cat((locked, run.vectors(pairs.weights[:, chosen])))
        values = torch.cat((values, pairs.values[chosen]))
        copies = min(block_size, run.room)
        del run  # with its basis, before the next run has one
        if not done:
            break
        suspects = goal.suspects(pairs.values[chosen], pairs.residuals[chosen], values, copies)
        complete = locked.shape[0] == size or (values.numel() >= k and (chosen.numel() == 0 or suspects.numel() == 0))
    best = order(values, which)[:k]
    return _polished(product, locked[best.to(device)], which, largest, used + best.numel(), complete)


def residual_limits(values: Tensor, largest: float, tolerance: float, resolution: float) -> Tensor:
    """What a residual may be at most for its eigenvalue to count as converged.

    Args:
        values: eigenvalues.
        largest: the largest magnitude of all.
        tolerance: relative to each.
        resolution: relative to the largest.
    """
    return torch.clamp(tolerance * values.abs(), min=resolution * largest)


@dataclass(frozen=True)
class _Goal:
    """What a run looks for: the k most wanted pairs, or, once k are known, what should be among them and is not.

    Attributes:
        which: which eigenvalues are wanted.
        k: how many.
        tolerance: on residuals, relative to the eigenvalue.
        resolution: and to the largest one.
        known: the eigenvalues locked so far.
        copied: those of them that may have more copies.
    """

    which: Which
    k: int
    tolerance: float
    resolution: float
    known: Tensor
    copied: Tensor

    @property
    def is_check(self) -> bool:
        return self.known.numel() >= self.k

    def judge(self, pairs: RitzPairs, room: int) -> tuple[Tensor, bool]:
        """The pairs to take, and whether the run may stop here."""
        chosen = order(pairs.values, self.which)[: self.k]
        tolerance = min(self.tolerance, LOOSEST)
        limits = residual_limits(pairs.values, self._scale(pairs.values), tolerance, self.resolution)
        done = pairs.residuals <= 0.9 * limits  # a little below what is promised
        if not self.is_check:
            enough = chosen.numel() == min(self.k, room)
            return chosen, pairs.exhausted or (enough and bool(done[chosen].all()))
        rest = self._rest(self.known)
        chosen = chosen[rest.outside(pairs.values[chosen], limits[chosen])]
        if chosen.numel() or pairs.exhausted:
            return chosen, pairs.exhausted or bool(done[chosen].all())
        return chosen, self._nothing_left(pairs, rest, limits, room)

    def suspects(self, found: Tensor, residuals: Tensor, values: Tensor, copies: int) -> Tensor:
        """Eigenvalues of which a run from so many vectors found as many copies, and which are not merely the last.

        Args:
            found: eigenvalues of the run.
            residuals: theirs; values are copies where their residual intervals meet.
            values: those of all runs.
            copies: the number of vectors.
        """
        scale = self._scale(values)
        reach = residuals + residuals[:, None] + 0.1 * self.resolution * scale
        close = ((found - found[:, None]).abs() <= reach).sum(dim=1) >= copies
        if values.numel() < self.k:
            return found[close]
        limits = residual_limits(found, scale, self.tolerance, self.resolution)
        return found[close & self._rest(values).outside(found, limits)]

    def _scale(self, found: Tensor) -> float:
        return max(float(values.abs().max()) for values in (self.known, found) if values.numel())

    def _rest(self, values: Tensor) -> Interval:
        return interval(values[order(values, self.which)[: self.k]], self.which)

    def _nothing_left(self, pairs: RitzPairs, rest: Interval, limits: Tensor, room: int) -> bool:
        """Whether a copy of a suspect would have shown by now, on each side."""
        low, high = pairs.values[0], pairs.values[-1]
        spread = float(high - low)
        sides = (
            (self.copied[self.copied > rest.high], -1, rest.high - high),
            (self.copied[self.copied < rest.low], 0, low - rest.low),
        )
        for copied, leading, gap in sides:
            if copied.numel() == 0:
                continue
            away = float((copied - pairs.values[leading]).abs().min())
            # Kuczynski & Wozniakowski (1992): how likely a random start hides an eigenvalue so far out for so long
            missed = 1.648 * room**0.5 * math.exp(-math.sqrt(away / (away + spread)) * (2 * pairs.depth - 1))
            # or a leading vector that has less of such an eigenvector in it than the random start had
            enough = max(float(limits[leading]), 0.01 * float(gap) / room**0.5)
            if missed > MISS and float(pairs.residuals[leading]) > enough:
                return False
        return True


def _search(run: BlockLanczos, goal: _Goal, budget: int) -> tuple[RitzPairs, Tensor, int, bool]:
    """Run until the goal is met or the budget spent: pairs, which to take, the products, and whether it was met."""
    used = judged = 0
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
        if over or done:
            return pairs, chosen, used, done
        if full:
            taken = 0 if goal.is_check else goal.k
            keep = min(taken + (run.capacity - taken) // 2, run.capacity - run.pending)
            kept = order(pairs.values, goal.which)[:keep]
            run.restart(pairs.weights[:, kept], pairs.values[kept])
            judged = 0


def _towards(start: Tensor, random: Tensor, generator: torch.Generator) -> Tensor:
    """Start vectors, rows: random combinations of given columns, with a tenth of a random vector each."""
    mix = torch.randn(start.shape[1], random.shape[0], generator=generator, dtype=torch.float64).to(start)
    rows = (start @ mix).T
    new: Tensor = random / torch.linalg.vector_norm(random, dim=1, keepdim=True)
    old: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return old + 0.1 * new


def _polished(
    product: BlockProduct, rows: Tensor, which: Which, largest: float, products: int, complete: bool
) -> Eigenpairs:
    """Rayleigh-Ritz with one more product of all vectors, which also gives their true residuals."""
    images = product(rows.T).T
    projected = (rows @ images.T).cpu()
    values, weights = torch.linalg.eigh((projected + projected.T) / 2)
    best = order(values, which)
    values, weights = values[best], weights[:, best]
    turn = weights.T.to(rows)
    rows, images = turn @ rows, turn @ images
    residuals = torch.linalg.vector_norm(images - values.to(rows)[:, None] * rows, dim=1).cpu()
    rest = None
    if rows.shape[0] < rows.shape[1]:  # the least wanted values are themselves known to their residuals only
        known, slack = interval(values, which), float(residuals[-2:].max())
        rest = Interval(known.low - slack, known.high + slack)
    bounds = torch.from_numpy(error_bounds(values.numpy(), residuals.numpy(), rest))
    # the operator is symmetric; what its products are not is their rounding
    rounding = float(torch.linalg.vector_norm(projected - projected.T)) + 1e-14 * largest
    return Eigenpairs(values, rows.T, residuals, bounds + rounding, largest, products, complete)
