"""Extreme eigenvalues of a symmetric operator by Lanczos with full reorthogonalisation.

Without reorthogonalisation the Lanczos recursion returns copies ("ghosts") of converged eigenvalues; with it, a single
start vector returns each *distinct* eigenvalue once. Converged eigenvectors are therefore locked and the recursion is
restarted from a random vector orthogonal to them until nothing larger is left: multiple eigenvalues appear as often
as they should, and none appears twice by mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Which = Literal["LM", "LA", "SA"]
CHECK_EVERY = 5
"""Products between convergence checks; a check costs one small eigendecomposition."""


@dataclass(frozen=True)
class Eigenpairs:
    """k eigenpairs, sorted as wanted.

    Attributes:
        values: shape (k,).
        vectors: orthonormal columns, shape (P, k).
        residuals: |A v - lambda v|, recomputed with the operator, shape (k,).
        products: how many products were used, the recomputation included.
        converged: whether every residual met the tolerance and no further eigenvalue is wanted.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def lanczos(
    product: Callable[[Tensor], Tensor],
    size: int,
    k: int,
    *,
    which: Which,
    tolerance: float,
    max_products: int,
    generator: torch.Generator,
    device: torch.device,
) -> Eigenpairs:
    """The k most wanted eigenpairs.

    Args:
        product: A v for a unit vector v, (P,) -> (P,), float64.
        size: P.
        k: number of pairs, at most P.
        which: "LM" largest magnitude, "LA" largest, "SA" smallest.
        tolerance: on the residual, relative to the largest |eigenvalue| found.
        max_products: stop after so many products, converged or not.
        generator: draws the start vectors.
        device: where the vectors live.

    Raises:
        FloatingPointError: a product is not finite.
    """
    locked = torch.empty(size, 0, dtype=torch.float64, device=device)
    values = torch.empty(0, dtype=torch.float64, device=device)
    budget = max(max_products - k, 1)  # k are kept for the residuals
    used = 0
    complete = False
    while used < budget and not complete:
        threshold = _threshold(values, k, which)
        found, vectors, spent = _one_run(
            product, locked, values, threshold, k, which, tolerance, budget - used, generator
        )
        used += spent
        locked = torch.cat((locked, vectors), dim=1)
        values = torch.cat((values, found))
        complete = found.numel() == 0 or locked.shape[1] == size
    order = _wanted(values, which)[:k]
    values, vectors = values[order], locked[:, order]
    images = torch.stack([product(vector) for vector in vectors.unbind(1)], dim=1)
    residuals = torch.linalg.vector_norm(images - vectors * values, dim=0)
    limit = tolerance * max(float(values.abs().max()), torch.finfo(torch.float64).tiny)
    return Eigenpairs(
        values,
        vectors,
        residuals,
        used + values.numel(),
        complete and bool((residuals <= 2 * limit).all()),
    )


def _one_run(
    product: Callable[[Tensor], Tensor],
    locked: Tensor,
    known: Tensor,
    threshold: float | None,
    k: int,
    which: Which,
    tolerance: float,
    budget: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, int]:
    """One Lanczos run in the complement of the locked vectors.

    Returns the Ritz pairs worth locking (the k most wanted, or those beyond the threshold), and the products used. An
    empty result says that nothing beyond the threshold is left.
    """
    size = locked.shape[0]
    start = torch.randn(size, generator=generator, dtype=torch.float64).to(locked)
    vector = _orthogonalise(start, locked)
    basis = [vector / vector.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    room = size - locked.shape[1]
    while True:
        image = product(basis[-1])
        if not bool(torch.isfinite(image).all()):
            raise FloatingPointError(
                "a curvature product is not finite; check the loss and the weights (a root-mean-square loss has no "
                "derivative where it is zero)."
            )
        alphas.append(float(basis[-1] @ image))
        rest = _orthogonalise(image, torch.cat((locked, torch.stack(basis, dim=1)), dim=1))
        beta = float(rest.norm())
        count = len(alphas)
        ritz, weights = torch.linalg.eigh(_tridiagonal(alphas, betas)) if _due(count) else (None, None)
        scale = max(map(abs, alphas)) if ritz is None else float(ritz.abs().max())
        scale = max(scale, float(known.abs().max()) if known.numel() else 0.0)
        exhausted = beta <= 1e-13 * max(scale, torch.finfo(torch.float64).tiny) or count == room
        if exhausted or count >= budget or ritz is not None:
            if ritz is None or weights is None:
                ritz, weights = torch.linalg.eigh(_tridiagonal(alphas, betas))
            errors = (beta * weights[-1]).abs() if not exhausted else torch.zeros_like(ritz)
            chosen = _wanted(ritz, which)
            chosen = chosen[:k] if threshold is None else chosen[_keys(ritz[chosen], which) > threshold][:k]
            limit = tolerance * max(scale, torch.finfo(torch.float64).tiny)
            enough = threshold is not None or chosen.numel() == k
            settled = bool((errors[chosen] <= limit).all())
            if threshold is not None:  # "nothing is left" is believed once the leading value is surely below
                leading = _wanted(ritz, which)[0]
                gap = threshold - float(_keys(ritz, which)[leading])
                settled = settled and float(errors[leading]) <= max(limit, 0.1 * gap)
            if exhausted or count >= budget or (enough and settled):
                stacked = torch.stack(basis, dim=1)
                device = stacked.device
                return ritz[chosen].to(device), stacked @ weights[:, chosen].to(device), count
        betas.append(beta)
        basis.append(rest / beta)


def _due(count: int) -> bool:
    return count % CHECK_EVERY == 0 or count <= 2


def _threshold(values: Tensor, k: int, which: Which) -> float | None:
    """What a new eigenvalue must exceed to be among the k most wanted; None while fewer than k are known."""
    if values.numel() < k:
        return None
    return float(_keys(values, which).sort(descending=True).values[k - 1])


def _keys(values: Tensor, which: Which) -> Tensor:
    if which == "LM":
        return values.abs()
    return values if which == "LA" else -values


def _wanted(values: Tensor, which: Which) -> Tensor:
    return _keys(values, which).argsort(descending=True, stable=True)


def _orthogonalise(vector: Tensor, basis: Tensor) -> Tensor:
    """Two sweeps of Gram-Schmidt: once is not enough, twice is (Giraud et al. 2005)."""
    for _ in range(2):
        vector = vector - basis @ (basis.T @ vector)
    return vector


def _tridiagonal(alphas: list[float], betas: list[float]) -> Tensor:
    matrix = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    if len(alphas) > 1:
        off = torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64)
        matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
    return matrix
