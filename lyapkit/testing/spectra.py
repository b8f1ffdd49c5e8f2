"""Matrices whose eigenvalues are known exactly, and the strategy that draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lyapkit.checks.named_arguments import named_arguments


@dataclass(frozen=True)
class KnownMatrix:
    r"""A real matrix :math:`A = S B S^{-1}` with chosen eigenvalues.

    B is block diagonal. It has a block of one for each real eigenvalue, a scaled rotation for each complex pair, and a
    Jordan block for each entry of ``jordan``. A is normal if the condition is 1 and there is no Jordan block.

    Args:
        real: The real eigenvalues.
        pairs: The complex pairs, each as (modulus, angle in radians).
        jordan: The defective eigenvalues, each as (eigenvalue, multiplicity). Each has one eigenvector only.
        condition: The condition number of S in the 2-norm, at least 1. With one dimension it is always 1.
        seed: Seed of the random directions of S. None makes S diagonal.

    Raises:
        ValueError: If there is no eigenvalue, a number is not finite, or the condition is below 1.

    Example:
        >>> from lyapkit.testing import KnownMatrix
        >>> known = KnownMatrix(real=(0.5,), pairs=((0.9, 1.0),), condition=3.0, seed=0)
        >>> known.log_magnitudes.round(4).tolist()  # log 0.9 twice, and log 0.5
        [-0.1054, -0.1054, -0.6931]
    """

    real: Sequence[float] = ()
    pairs: Sequence[tuple[float, float]] = ()
    jordan: Sequence[tuple[float, int]] = ()
    condition: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.size:
            raise ValueError("a matrix needs at least one eigenvalue; give some in real, pairs or jordan.")
        numbers = [*self.real, *(number for entry in (*self.pairs, *self.jordan) for number in entry)]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"eigenvalues must be finite, got {self}.")
        if not 1 <= self.condition < math.inf:
            raise ValueError(f"condition must be finite and at least 1, got {self.condition}.")

    @property
    def size(self) -> int:
        """Return the number N of dimensions."""
        return len(self.real) + 2 * len(self.pairs) + sum(multiplicity for _, multiplicity in self.jordan)

    @property
    def is_defective(self) -> bool:
        """Return True if there are fewer than N eigenvectors."""
        return any(multiplicity > 1 for _, multiplicity in self.jordan)

    @property
    def eigenvalues(self) -> Tensor:
        """Return all eigenvalues with multiplicity, complex128, shape (N,)."""
        values: list[complex] = [complex(value) for value in self.real]
        for modulus, angle in self.pairs:
            upper = complex(modulus * math.cos(angle), modulus * math.sin(angle))
            values += [upper, upper.conjugate()]
        for value, multiplicity in self.jordan:
            values += [complex(value)] * multiplicity
        return torch.tensor(values, dtype=torch.complex128, device="cpu")

    @property
    def log_magnitudes(self) -> NDArray[np.float64]:
        """Return log|eigenvalue|, descending, shape (N,): the Lyapunov exponents of x' = A x, in nats per step."""
        moduli = [abs(value) for value in self.real]
        moduli += [abs(modulus) for modulus, _ in self.pairs for _ in range(2)]
        moduli += [abs(value) for value, multiplicity in self.jordan for _ in range(multiplicity)]
        return np.array([math.log(modulus) if modulus else -math.inf for modulus in sorted(moduli, reverse=True)])

    @property
    def matrix(self) -> Tensor:
        """Return A, float64, shape (N, N)."""
        blocks = [torch.tensor([[value]], dtype=torch.float64, device="cpu") for value in self.real]
        for modulus, angle in self.pairs:
            cosine, sine = modulus * math.cos(angle), modulus * math.sin(angle)
            blocks.append(torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64, device="cpu"))
        for value, multiplicity in self.jordan:
            blocks.append(torch.diag(torch.full((multiplicity,), value, dtype=torch.float64, device="cpu")))
            blocks[-1] += torch.diag(torch.ones(multiplicity - 1, dtype=torch.float64, device="cpu"), 1)
        inner: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        stretch = torch.diag(
            torch.logspace(0, math.log10(self.condition), self.size, dtype=torch.float64, device="cpu")
        )
        basis = stretch
        if self.seed is not None:
            basis = random_orthogonal(self.size, self.seed) @ stretch @ random_orthogonal(self.size, self.seed + 1)
        elif self.condition == 1:
            return inner  # exact to the last bit
        matrix: Tensor = basis @ inner @ torch.linalg.inv(basis)
        return matrix


def random_orthogonal(size: int, seed: int) -> Tensor:
    """Return a random orthogonal matrix, float64, shape (N, N).

    Args:
        size: Size of the matrix, N.
        seed: Seed of the matrix.
    """
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64, device="cpu"))
    signed: Tensor = q * r.diagonal().sign()
    return signed


@named_arguments()
def matrices(
    *,
    min_size: int = 1,
    max_size: int = 6,
    moduli: tuple[float, float] = (0.3, 1.2),
    pairs: bool = True,
    repeated: bool = True,
    defective: bool = False,
    max_condition: float = 10.0,
) -> st.SearchStrategy[KnownMatrix]:
    """Return a strategy for matrices with known eigenvalues.

    Examples shrink to few dimensions, real eigenvalues and a diagonal matrix.

    Args:
        min_size: The smallest number of dimensions.
        max_size: The largest number of dimensions.
        moduli: The smallest and the largest |eigenvalue|.
        pairs: True to draw complex pairs, too.
        repeated: True to draw equal eigenvalues, too, with an eigenvector each.
        defective: True to draw Jordan blocks, too. Their exponents converge only like log(steps)/steps, and
            perturbations of size e move them by e^(1/multiplicity).
        max_condition: The largest condition number of the eigenbasis. With 1 and without Jordan blocks, all matrices
            are normal.

    Returns:
        A strategy of `KnownMatrix`.

    Raises:
        ValueError: If a range is empty, or a modulus is negative.

    Example:
        >>> from hypothesis import given
        >>> from lyapkit.testing import assert_exponents, matrices
        >>> from lyapkit import as_map
        >>> @given(matrices(pairs=False, repeated=False, max_size=1))
        ... def test_a_linear_map_has_the_exponents_of_its_matrix(known):
        ...     A = known.matrix
        ...     assert_exponents(as_map(lambda x: A @ x, state=A[0]), None, known.log_magnitudes, steps=50)
        >>> test_a_linear_map_has_the_exponents_of_its_matrix()
    """
    low, high = moduli
    if not 1 <= min_size <= max_size:
        raise ValueError(f"sizes must fulfil 1 <= min_size <= max_size, got {min_size} and {max_size}.")
    if not 0 <= low <= high < math.inf:
        raise ValueError(f"moduli must fulfil 0 <= low <= high and be finite, got {moduli}.")
    if not 1 <= max_condition < math.inf:
        raise ValueError(f"max_condition must be finite and at least 1, got {max_condition}.")
    magnitude = st.floats(low, high)
    signed = st.builds(lambda modulus, is_negative: -modulus if is_negative else modulus, magnitude, st.booleans())

    @st.composite
    def draw_matrix(draw: st.DrawFn) -> KnownMatrix:
        size = draw(st.integers(min_size, max_size))
        chosen: dict[str, list[tuple[float, ...]]] = {"real": [], "pair": [], "jordan": []}
        left = size
        while left:
            kinds = ["real"]
            if repeated and chosen["real"]:
                kinds.append("real again")
            if pairs and left >= 2:
                kinds += ["pair"] + ["pair again"] * (repeated and bool(chosen["pair"]))
            if defective and left >= 2:
                kinds.append("jordan")
            kind = draw(st.sampled_from(kinds))
            if kind.endswith("again"):
                kind = kind.removesuffix(" again")
                chosen[kind].append(chosen[kind][-1])
            elif kind == "real":
                chosen[kind].append((draw(signed),))
            elif kind == "pair":
                chosen[kind].append((draw(magnitude), draw(st.floats(0, math.pi))))
            else:
                chosen[kind].append((draw(signed), draw(st.integers(2, min(3, left)))))
            left -= {"real": 1, "pair": 2}.get(kind) or int(chosen[kind][-1][1])
        return KnownMatrix(
            real=tuple(value for (value,) in chosen["real"]),
            pairs=tuple((modulus, angle) for modulus, angle in chosen["pair"]),
            jordan=tuple((value, int(multiplicity)) for value, multiplicity in chosen["jordan"]),
            condition=draw(st.floats(1, max_condition)),
            seed=draw(st.none() | st.integers(0, 2**31)),
        )

    return draw_matrix()
