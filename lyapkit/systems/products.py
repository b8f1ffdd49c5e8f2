"""Products of given matrices as a driven map, and the exponents of Gaussian products."""

from __future__ import annotations

import math

import torch
from scipy.special import digamma
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap


class MatrixProduct(RecurrentMap):
    """x_{t+1} = A_t x_t, driven by the matrices: the input of a step is A_t, flattened row by row.

    Args:
        size: N.
        dtype: of states and matrices.
    """

    def __init__(self, size: int, dtype: torch.dtype = torch.float64) -> None:
        self._size = size
        self._dtype = dtype

    @property
    def state_size(self) -> int:
        """N."""
        return self._size

    @property
    def input_size(self) -> int:
        """N^2."""
        return self._size**2

    @property
    def dtype(self) -> torch.dtype:
        """As given."""
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
        """A x, for input A of shape (..., N^2)."""
        assert input is not None, "a product is driven by its matrices"
        matrix = input.reshape(*input.shape[:-1], self._size, self._size)
        return (matrix @ state.unsqueeze(-1)).squeeze(-1)


def gaussian_product_exponents(size: int, variance: float) -> list[float]:
    r"""Exponents of products of i.i.d. real Gaussian matrices, exactly, in nats per step.

    For N x N matrices with independent entries of variance s^2 (Newman 1986),

        lambda_i = (log(2 s^2) + psi((N - i + 1) / 2)) / 2.

    Args:
        size: N.
        variance: s^2.

    Example:
        >>> from lyapkit import systems
        >>> round(systems.gaussian_product_exponents(5, 1 / 5)[0], 8)
        -0.10656705
    """
    return [0.5 * (math.log(2 * variance) + float(digamma((size - i + 1) / 2))) for i in range(1, size + 1)]
