"""Independent references and matrices made from chosen spectra."""

import math

import torch
from torch import Tensor


def random_orthogonal(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix, float64."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def matrix_with_spectrum(real: list[float], pairs: list[tuple[float, float]], seed: int, skew: float = 1.0) -> Tensor:
    """A non-normal matrix with the given real eigenvalues and complex pairs (modulus, angle).

    ``skew`` is the condition number of its eigenbasis.
    """
    size = len(real) + 2 * len(pairs)
    blocks = [torch.tensor([[value]], dtype=torch.float64) for value in real]
    for modulus, angle in pairs:
        cosine, sine = modulus * math.cos(angle), modulus * math.sin(angle)
        blocks.append(torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64))
    stretch = torch.logspace(0, math.log10(skew), size, dtype=torch.float64)
    basis = random_orthogonal(size, seed) @ torch.diag(stretch) @ random_orthogonal(size, seed + 1)
    return basis @ torch.block_diag(*blocks) @ torch.linalg.inv(basis)


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
