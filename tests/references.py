"""Independent references and matrices made from chosen spectra."""

import torch
from torch import Tensor

from lyapkit.testing import KnownMatrix
from lyapkit.testing.spectra import random_orthogonal as random_orthogonal


def matrix_with_spectrum(real: list[float], pairs: list[tuple[float, float]], seed: int, skew: float = 1.0) -> Tensor:
    """The matrix of `lyapkit.testing.KnownMatrix` with real eigenvalues and pairs (modulus, angle)."""
    return KnownMatrix(real=real, pairs=pairs, condition=skew, seed=seed).matrix


def sorted_log_magnitudes(matrix: Tensor) -> Tensor:
    """log |eigenvalues|, descending."""
    return torch.linalg.eigvals(matrix).abs().log().sort(descending=True).values


def dense_jacobians(step, states: Tensor, inputs: Tensor | None) -> list[Tensor]:
    """Jacobians along one trajectory by `torch.autograd.functional.jacobian`: nothing of lyapkit's in it.

    Args:
        step: ``step(state (N,), input (M,) or None)``.
        states: x_0, ..., x_{T-1}, shape (T, N).
        inputs: shape (T, M) or None.
    """
    return [
        torch.autograd.functional.jacobian(lambda x, t=t: step(x, None if inputs is None else inputs[t]), state)
        for t, state in enumerate(states)
    ]
