"""Coarse products of float32 matrices: without effect on the CPU, and with a warning on CUDA."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import lyapkit
from lyapkit.checks.arguments import refuse_contexts

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(params=["high", "medium"])
def coarse(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


def spectrum(dtype: torch.dtype) -> np.ndarray:
    """Leading exponents of a network of 300 units: from 256 on, PyTorch multiplies by other routines under "medium"."""
    generator = torch.Generator().manual_seed(0)
    weight = (1.5 / 300**0.5 * torch.randn(300, 300, generator=generator)).to(dtype)
    inputs = torch.randn(40, 300, generator=generator).to(dtype)

    def step(x: Tensor, s: Tensor) -> Tensor:
        return torch.tanh(weight @ x + s)

    map = lyapkit.as_map(step, state=torch.zeros(300, dtype=dtype), input=inputs[0])
    return lyapkit.lyapunov_spectrum(map, inputs, k=5, rng=0).lyapunov_exponent.values


def test_exponents_of_float32_on_the_cpu_are_as_exact_as_ever(coarse: str) -> None:
    """Against float64: what is left is the rounding of float32, not that of bfloat16 or TF32."""
    np.testing.assert_allclose(spectrum(torch.float32), spectrum(torch.float64), atol=1e-6)


def test_float32_on_cuda_is_warned_of(coarse: str) -> None:
    with pytest.warns(UserWarning, match=r"TF32 on this device.*set_float32_matmul_precision\(\"highest\"\)"):
        refuse_contexts(torch.float32, CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refuse_contexts(torch.float64, CUDA)
        refuse_contexts(torch.float32, CPU)


def test_full_precision_on_cuda_is_not() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refuse_contexts(torch.float32, CUDA)
    assert not caught


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="a newer PyTorch has this")
def test_tf32_that_was_set_by_the_newer_interface_is_warned_of_too() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with pytest.warns(UserWarning, match="TF32"):
            refuse_contexts(torch.float32, CUDA)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
