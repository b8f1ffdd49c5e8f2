"""Linear maps and their eigenvectors."""

import numpy as np
import torch

from lyapkit import as_map
from references import matrix_with_spectrum

REAL = matrix_with_spectrum([1.3, -0.9, 0.5, 0.2], [], seed=3, skew=30.0)


def linear(matrix: torch.Tensor):
    return as_map(lambda x: matrix @ x, state=torch.zeros(len(matrix), dtype=matrix.dtype))


def eigenvectors(matrix: torch.Tensor) -> np.ndarray:
    """Unit eigenvectors of a real spectrum, by descending magnitude, in columns."""
    values, vectors = torch.linalg.eig(matrix)
    assert values.imag.abs().max() < 1e-12
    order = values.abs().argsort(descending=True)
    return (vectors.real / vectors.real.norm(dim=0))[:, order].numpy()
