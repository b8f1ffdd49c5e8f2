"""Constant matrices."""

from __future__ import annotations

import math

import torch

from lyapkit.adapters import as_map
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.reference import ReferenceSystem


@named_arguments()
@checked_kinds
def constant_matrix() -> ReferenceSystem:
    """Return x -> A x with a non-normal A of eigenvalues 3/2, -3/4 and 1/4; the exponents are their log magnitudes.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 4) for value in systems.constant_matrix().exponents]
        [0.4055, -0.2877, -1.3863]
    """
    basis = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 4.0], [0.0, 1.0, 5.0]], dtype=torch.float64, device="cpu")
    inverse = torch.tensor([[1.0, -7.0, 5.0], [0.0, 5.0, -4.0], [0.0, -1.0, 1.0]], dtype=torch.float64, device="cpu")
    eigenvalues = (1.5, -0.75, 0.25)
    scale = torch.tensor(eigenvalues, dtype=torch.float64, device="cpu")
    matrix = basis @ torch.diag(scale) @ inverse  # exact in binary
    exponents = tuple(math.log(abs(value)) for value in eigenvalues)
    return ReferenceSystem(
        "constant matrix",
        as_map(lambda x: matrix @ x, state=torch.zeros(3, dtype=torch.float64, device="cpu")),
        exponents,
        (0.0,) * 3,
        "exact: logarithms of the eigenvalues' magnitudes",
        "not normal: the columns of its eigenbasis are nearly parallel",
        steps=500,
        tolerance=1e-12,
        exponent_sum=sum(exponents),
    )


@named_arguments()
@checked_kinds
def orthogonal_matrix() -> ReferenceSystem:
    """Return x -> U x with an orthogonal matrix, which neither stretches nor shrinks; all exponents are 0.

    Here :math:`U = (I - S)^{-1} (I + S)` with an antisymmetric S (Cayley).

    Example:
        >>> from lyapkit import systems
        >>> systems.orthogonal_matrix().exponents
        (0.0, 0.0, 0.0, 0.0)
    """
    matrix = rotation(4)
    return ReferenceSystem(
        "orthogonal matrix",
        as_map(lambda x: matrix @ x, state=torch.zeros(4, dtype=torch.float64, device="cpu")),
        (0.0,) * 4,
        (0.0,) * 4,
        "exact: lengths are kept",
        steps=500,
        tolerance=1e-13,
        exponent_sum=0.0,
    )


def rotation(size: int) -> torch.Tensor:
    """Return a fixed rotation in N dimensions, (I - S)^{-1} (I + S) with S_ij = 1/(i + j) above the diagonal, (N, N).

    Args:
        size: Number of dimensions N.
    """
    index = torch.arange(1, size + 1, dtype=torch.float64, device="cpu")
    upper = (1 / (index.unsqueeze(0) + index.unsqueeze(1))).triu(1)
    antisymmetric = upper - upper.T
    identity = torch.eye(size, dtype=torch.float64, device="cpu")
    turned: torch.Tensor = torch.linalg.solve(identity - antisymmetric, identity + antisymmetric)
    return turned
