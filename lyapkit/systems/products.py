"""Products of given matrices as a driven map: periodic, triangular and Gaussian ones."""

from __future__ import annotations

import math

import torch
from scipy.special import digamma
from torch import Tensor

from lyapkit.checks.arguments import check_interval, check_positive
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.systems.kinds import checked_kinds
from lyapkit.systems.linear import rotation
from lyapkit.systems.reference import ReferenceSystem


class MatrixProduct(RecurrentMap):
    """Linear map x_{t+1} = A_t x_t, driven by its matrices: the input of a step is A_t, flattened row by row.

    Args:
        size: State size N.
        dtype: Type of states and matrices.

    Raises:
        TypeError: If the size is not an integer.
        ValueError: If it is below 1.
    """

    def __init__(self, size: int, dtype: torch.dtype = torch.float64) -> None:
        self._size = check_interval(size, "size")
        self._dtype = dtype

    @property
    def state_size(self) -> int:
        """State size N."""
        return self._size

    @property
    def input_size(self) -> int:
        """Input size N^2."""
        return self._size**2

    @property
    def dtype(self) -> torch.dtype:
        """Type of states and matrices."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def unit_names(self) -> list[str]:
        """``x[0]``, ``x[1]``, ..."""
        return [f"x[{unit}]" for unit in range(self._size)]

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Compute A x, for input A of shape (..., N^2)."""
        assert input is not None, "a product is driven by its matrices"
        matrix = input.reshape(*input.shape[:-1], self._size, self._size)
        return (matrix @ state.unsqueeze(-1)).squeeze(-1)


@named_arguments()
@checked_kinds
def gaussian_product_exponents(size: int, variance: float) -> list[float]:
    r"""Compute the exponents of products of i.i.d. real Gaussian matrices, exactly, in nats per step.

    For N x N matrices with independent entries of variance s^2 (Newman 1986),

    .. math:: \lambda_i = \tfrac12 \left(\log(2 s^2) + \psi\left(\tfrac{N - i + 1}{2}\right)\right).

    Args:
        size: Matrix size N.
        variance: Variance s^2 of each entry.

    Raises:
        ValueError: If the variance is not positive.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.gaussian_product_exponents(5, 1 / 5)[0], 8)
        -0.10656705
    """
    variance = check_positive("variance", variance)
    return [0.5 * (math.log(2 * variance) + float(digamma((size - i + 1) / 2))) for i in range(1, size + 1)]


@named_arguments()
@checked_kinds
def gaussian_product(size: int = 5, variance: float | None = None, seed: int = 0) -> ReferenceSystem:
    """Return a product of i.i.d. real Gaussian matrices, whose exponents are `gaussian_product_exponents`.

    Args:
        size: Matrix size N.
        variance: Variance s^2 of each entry; 1/N by default.
        seed: Seed of the matrices.

    Raises:
        ValueError: If the variance is not positive.

    Example:
        >>> from lyapkit import systems
        >>> systems.gaussian_product(5).inputs.shape  # 2,000 matrices for each of 16 trajectories
        torch.Size([2000, 16, 25])
    """
    variance = 1 / size if variance is None else check_positive("variance", variance)
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.randn(2000, 16, size * size, generator=generator, dtype=torch.float64, device="cpu") * math.sqrt(
        variance
    )
    return ReferenceSystem(
        f"Gaussian product, N = {size}",
        MatrixProduct(size),
        tuple(gaussian_product_exponents(size, variance)),
        (0.0,) * size,
        "exact: Newman, Communications in Mathematical Physics 103, 121 (1986)",
        "the variance of each estimate is known too: T Var(lambda_i) = trigamma((N - i + 1)/2) / 4",
        inputs=matrices,
        transient=50,
    )


@named_arguments()
@checked_kinds
def triangular_product(means: tuple[float, ...] = (0.5, 0.0, -0.5, -1.0), seed: int = 0) -> ReferenceSystem:
    r"""Return a product of i.i.d. upper triangular matrices in a rotated basis: E log |diagonal|, in descending order.

    The matrices are :math:`A_t = U T_t U^\top`, where T_t has log-normal entries of log-mean m_i and log-deviation 0.3
    on its diagonal, in the given order, and normal entries above it.

    Args:
        means: Exponents m_i.
        seed: Seed of the matrices.

    Example:
        >>> from lyapkit import systems
        >>> systems.triangular_product((-0.5, 0.25)).exponents
        (0.25, -0.5)
    """
    size, steps = len(means), 4000
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(steps, size, size, generator=generator, dtype=torch.float64, device="cpu")
    diagonal = torch.exp(
        torch.tensor(means, dtype=torch.float64, device="cpu") + 0.3 * normal.diagonal(dim1=-2, dim2=-1)
    )
    turn = rotation(size)
    matrices = turn @ (normal.triu(1) + torch.diag_embed(diagonal)) @ turn.T
    return ReferenceSystem(
        f"upper triangular product, N = {size}",
        MatrixProduct(size),
        tuple(sorted(means, reverse=True)),
        (0.0,) * size,
        "exact: E log |diagonal|",
        "in a rotated basis, so that no entry of the matrices shows the answer",
        inputs=matrices.reshape(steps, size * size),
    )


@named_arguments()
@checked_kinds
def periodic_product() -> ReferenceSystem:
    """Return three matrices in turn; the exponents are the logarithms of the Floquet multipliers, per step.

    The multipliers are the eigenvalues of A_3 A_2 A_1, with the first matrix on the right. Those of the reversed
    product A_1 A_2 A_3 differ, and so do those of a product of transposed matrices. Two matrices would not show such
    errors, nor would random ones.

    Example:
        >>> from lyapkit import systems
        >>> [round(value, 4) for value in systems.periodic_product().exponents]
        [0.5992, 0.1559, -0.3888]
    """
    first = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64, device="cpu")
    second = torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.0]], dtype=torch.float64, device="cpu")
    third = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.5], [0.0, 1.0, 1.0]], dtype=torch.float64, device="cpu")
    multipliers = torch.linalg.eigvals(third @ second @ first).abs().sort(descending=True).values
    exponents = tuple((multipliers.log() / 3).tolist())
    return ReferenceSystem(
        "periodic product (Floquet)",
        MatrixProduct(3),
        exponents,
        (0.0,) * 3,
        "exact: eigenvalues of the product over one period",
        "the multipliers of the reversed (or transposed) product are different ones",
        inputs=torch.stack((first, second, third)).reshape(3, 9).repeat(200, 1),
        transient=150,  # a whole number of periods, as are the steps that follow
        tolerance=1e-12,
        exponent_sum=math.log(3) / 3,  # the product of the three determinants is -3
    )
