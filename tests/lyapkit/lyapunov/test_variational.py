"""`variational_term` against closed forms and high-precision arithmetic."""

import math

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from lyapkit import as_map, lyapunov_spectrum, systems, variational_term
from lyapkit.lyapunov.graded import GradedProduct
from references import matrix_with_spectrum, random_orthogonal, sorted_log_magnitudes


def exact_log_singular_values(matrices: list[torch.Tensor], digits: int) -> np.ndarray:
    """log singular values of the product of matrices, the last one leftmost, by mpmath."""
    with mpmath.workdps(digits):
        product = mpmath.eye(len(matrices[0]))
        for matrix in matrices:
            product = mpmath.matrix(matrix.tolist()) * product
        return np.array([float(mpmath.log(value)) for value in mpmath.svd_r(product, compute_uv=False)])


def contracting(seed: int, rates: list[float], steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = len(rates)
    scale = torch.tensor(rates, dtype=torch.float64).exp()
    turns = [
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q for _ in range(steps + 1)
    ]
    return [turns[step + 1] @ torch.diag(scale) @ turns[step].T for step in range(steps)]


PRODUCTS = {
    "narrow": (lambda: [matrix_with_spectrum([1.1, 1.0, 0.95, 0.9], [], seed=s) for s in range(20)], 60),
    "Gaussian": (
        lambda: list(torch.randn(30, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)),
        100,
    ),
    "wide": (lambda: [matrix_with_spectrum([2, 1.5, 1, 0.5, 0.1, 0.01], [], seed=5, skew=5.0)] * 60, 400),
    "beyond float64": (lambda: [matrix_with_spectrum([2, 1.5, 1, 0.5, 0.1, 0.01], [], seed=5, skew=5.0)] * 300, 1600),
    "a chain without gaps": (lambda: contracting(1, [-0.4 * i for i in range(8)], 400), 1300),
    "growing order reversed": (
        lambda: [
            torch.diag(torch.tensor([0.3, 0.9, 1.2], dtype=torch.float64)) + 0.01 * random_orthogonal(3, s)
            for s in range(150)
        ],
        300,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_singular_values_of_long_products(name: str) -> None:
    make, digits = PRODUCTS[name]
    matrices = make()
    size = len(matrices[0])
    ds = variational_term(
        systems.MatrixProduct(size), torch.stack(matrices).reshape(len(matrices), -1), record_every=len(matrices)
    )
    expected = exact_log_singular_values(matrices, digits)
    np.testing.assert_allclose(ds.log_singular_value.values[0, -1], expected, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(ds.running_exponent.values[0, -1], expected / len(matrices), rtol=1e-12, atol=1e-12)


def test_every_step_equals_the_svd_of_the_explicit_product() -> None:
    matrices = [matrix_with_spectrum([1.2, 0.8], [(0.9, 0.5)], seed=seed, skew=3.0) for seed in range(12)]
    ds = variational_term(systems.MatrixProduct(4), torch.stack(matrices).reshape(12, -1))
    product = torch.eye(4, dtype=torch.float64)
    for step, matrix in enumerate(matrices):
        product = matrix @ product
        np.testing.assert_allclose(
            ds.log_singular_value.values[0, step], torch.linalg.svdvals(product).log(), atol=1e-12
        )


def test_batches_and_leading_values_equal_single_runs() -> None:
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(40, 3, 16, generator=generator, dtype=torch.float64)
    together = variational_term(systems.MatrixProduct(4), inputs, record_every=16)
    assert together.step.values.tolist() == [16, 32, 40]
    for index in range(3):
        alone = variational_term(systems.MatrixProduct(4), inputs[:, index], k=2, record_every=16)
        np.testing.assert_allclose(
            alone.log_singular_value.values[0], together.log_singular_value.values[index, :, :2], atol=1e-10
        )


def test_finite_time_exponents_tend_to_lyapunov_exponents() -> None:
    matrix = matrix_with_spectrum([1.3, 0.9, 0.5, 0.2], [], seed=3, skew=5.0)
    map = as_map(lambda x: matrix @ x, state=torch.zeros(4, dtype=torch.float64))
    ds = variational_term(map, steps=2000, record_every=500)
    error = np.abs(ds.running_exponent.values[0] - sorted_log_magnitudes(matrix).numpy()).max(axis=1)
    assert 1e-4 < error[-1] < 2e-3  # a non-normal matrix: not exact at finite times
    np.testing.assert_allclose(error * ds.step.values, error[0] * 500, rtol=1e-6)  # exactly constant / t


def test_sum_is_the_log_determinant() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 6).double()
    inputs = torch.randn(120, 2, 2).double()
    term = variational_term(lstm, inputs, record_every=120)
    spectrum = lyapunov_spectrum(lstm, inputs)
    np.testing.assert_allclose(
        term.running_exponent.values[:, -1].sum(-1), spectrum.lyapunov_exponent.values.sum(-1), atol=1e-11
    )


def test_annihilated_directions_are_minus_infinity() -> None:
    torch.manual_seed(0)
    cell = nn.LSTMCell(1, 3).double()
    with torch.no_grad():
        cell.weight_hh.zero_()
    inputs = torch.randn(50, 1).double()
    ds = variational_term(cell, inputs)
    forget = torch.sigmoid((inputs @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh)[:, 3:6]).detach()
    assert (ds.log_singular_value.values[0, :, 3:] == -np.inf).all()
    # V = [[0, o tanh'(c) F], [0, F]]: at least the forget gates' product, at most sqrt(1 + o^2) times it
    lowest = forget.log().sum(0).sort(descending=True).values.numpy()
    excess = ds.log_singular_value.values[0, -1, :3] - lowest
    assert (excess > 0).all()
    assert (excess < 0.5 * math.log(2)).all()


def test_dt_divides_the_exponents_only() -> None:
    shear = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    map = as_map(lambda x: shear @ x, state=torch.zeros(2, dtype=torch.float64))
    ds = variational_term(map, steps=1, dt=0.1)
    golden = math.log((1 + math.sqrt(5)) / 2)
    np.testing.assert_allclose(ds.log_singular_value.values[0, 0], [golden, -golden], atol=1e-14)
    np.testing.assert_allclose(ds.running_exponent.values[0, 0], [10 * golden, -10 * golden], atol=1e-13)
    assert ds.running_exponent.attrs["units"] == "nats per unit time"


def test_record_every_must_be_positive() -> None:
    with pytest.raises(ValueError, match="record_every must be at least 1"):
        variational_term(systems.henon().map, steps=5, record_every=0)


def test_a_product_of_zeros_has_no_singular_values() -> None:
    product = GradedProduct.identity(1, 3, torch.device("cpu")).after(torch.zeros_like)
    assert product.log_singular_values().tolist() == [[-math.inf] * 3]
