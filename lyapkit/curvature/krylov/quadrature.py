"""Gauss quadrature of the spectral measure of a start vector, by Lanczos with full reorthogonalisation.

Let A = sum_i lambda_i q_i q_i' be symmetric and v a unit vector. The measure sum_i (q_i'v)^2 delta(lambda - lambda_i)
is approximated by m nodes and weights that integrate polynomials up to degree 2m - 1 exactly: v'A^j v = sum w theta^j.
The nodes are the eigenvalues of the tridiagonal matrix of m Lanczos steps. The weights are the squared first components
of its eigenvectors (Golub & Welsch 1969).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.krylov.lanczos import DEFLATION, finite
from lyapkit.curvature.products.operators import BlockProduct


@dataclass(frozen=True)
class Quadrature:
    """Nodes and weights of every start vector.

    Attributes:
        nodes: Nodes, ascending, shape (p, m).
        weights: Weights, not negative, with sum 1, shape (p, m).
        steps: Number of nodes that count, shape (p,). There are fewer than m if a start vector is a combination of
            fewer eigenvectors. The measure is then exact, and nodes of weight 0 fill up the rest.
    """

    nodes: Tensor
    weights: Tensor
    steps: Tensor


def lanczos_quadrature(product: BlockProduct, starts: Tensor, order: int, known: Tensor) -> Quadrature:
    """Run Lanczos from several vectors at once, each with a basis of its own.

    Args:
        product: A X, (P, p) -> (P, p), float64.
        starts: Unit vectors, rows, shape (p, P), orthogonal to the known ones.
        order: Number of steps m.
        known: Orthonormal rows, shape (l, P); A is restricted to their orthogonal complement.

    Raises:
        FloatingPointError: If a product is not finite.
    """
    probes, size = starts.shape
    bases = starts.new_zeros(probes, order, size)
    diagonal, beside = (torch.zeros(probes, order, dtype=torch.float64, device="cpu") for _ in range(2))
    scale = torch.zeros(probes, dtype=torch.float64, device="cpu")
    steps = torch.full((probes,), order, device="cpu")
    vectors = starts
    for step in range(order):
        bases[:, step] = vectors
        images = finite(product(vectors.T)).T
        diagonal[:, step] = (vectors * images).sum(dim=1).cpu()
        scale = torch.maximum(scale, torch.linalg.vector_norm(images, dim=1).cpu())
        rest = images
        for _ in range(2):
            rest = rest - (rest @ known.T) @ known
            seen = bases[:, : step + 1]
            rest = rest - (seen.transpose(1, 2) @ (seen @ rest[:, :, None]))[:, :, 0]
        length = torch.linalg.vector_norm(rest, dim=1).cpu()
        ended = length <= DEFLATION * scale
        steps = torch.where(ended & (steps == order), step + 1, steps)
        beside[:, step] = torch.where(ended, 0.0, length)
        vectors = torch.where(ended.to(rest.device)[:, None], 0.0, rest / length.to(rest)[:, None].clamp(min=1e-300))
        if bool((steps <= step + 1).all()):
            break
    filling = torch.arange(order, device="cpu") >= steps[:, None]
    diagonal = torch.where(filling, diagonal[:, :1], diagonal)  # nodes that fill up: in the spectrum, with weight 0
    off = beside[:, : order - 1]
    nodes, weights = torch.linalg.eigh(torch.diag_embed(diagonal) + _both_sides(off))
    return Quadrature(nodes, weights[:, 0] ** 2, steps)


def _both_sides(off: Tensor) -> Tensor:
    return torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
