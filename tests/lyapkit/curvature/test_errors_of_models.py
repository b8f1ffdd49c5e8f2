"""Errors that a model or a loss raises itself pass as they are, unless lyapkit knows a remedy."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import lyapkit

INPUTS, TARGETS = torch.rand(3, 2, dtype=torch.float64), torch.rand(3, 1, dtype=torch.float64)


class OutOfMemoryBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("the device is full")


class FailsBackward(OutOfMemoryBackward):
    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        raise RuntimeError("no first derivative today")


class FailsTwice(OutOfMemoryBackward):
    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        return FailsBackward.apply(slope)


class Network(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1).double()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function.apply(self.linear(inputs)).sin()


def operator(model: nn.Module, loss, check: bool) -> np.ndarray:
    return lyapkit.curvature_operator(model, (INPUTS, TARGETS), loss, check=check) @ np.eye(3)


def density(model: nn.Module, loss, check: bool) -> xr.Dataset:
    return lyapkit.spectral_density(model, (INPUTS, TARGETS), loss, check=check)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("function", "error"),
    [
        (OutOfMemoryBackward, torch.OutOfMemoryError("the device is full")),
        (FailsBackward, RuntimeError("no first derivative today")),
        (FailsTwice, RuntimeError("no first derivative today")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("analysis", [operator, density])
def test_an_error_in_a_derivative_passes(analysis, function, error: Exception, check: bool) -> None:
    with pytest.raises(type(error), match=f"^{error}$") as caught:
        analysis(Network(function), mse_loss, check)
    assert type(caught.value) is type(error)


def test_a_full_device_in_the_loss_passes() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("the device is full")

    with pytest.raises(torch.OutOfMemoryError, match=r"^the device is full$"):
        lyapkit.hessian_spectrum(nn.Linear(2, 1).double(), (INPUTS, TARGETS), loss, k=1)


@pytest.mark.parametrize("analysis", ["gradient_propagation", "curvature_operator"])
def test_an_error_of_the_readouts_own_passes(analysis: str) -> None:
    def readout(hidden: Tensor) -> Tensor:
        raise RuntimeError("nothing to read")

    inputs, targets = torch.rand(5, 3, 2, dtype=torch.float64), TARGETS
    data = ((inputs, targets),) if analysis == "curvature_operator" else (inputs, targets)
    with pytest.raises(RuntimeError, match=r"^nothing to read$"):
        getattr(lyapkit, analysis)(nn.GRU(2, 1).double(), *data, mse_loss, readout=readout)


def test_an_error_in_the_check_of_the_gradient_ends_the_call_or_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(objective: object) -> None:
        raise ArithmeticError("not in double precision")

    monkeypatch.setattr("lyapkit.curvature.problem.measure_gradient", fails)
    model, data = nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1))
    with pytest.raises(ArithmeticError, match="not in double precision"):
        lyapkit.hessian_spectrum(model, data, mse_loss, k=1, rng=0)
    found = lyapkit.hessian_spectrum(model, data, mse_loss, k=1, rng=0, check=False)
    assert json.loads(found.config_json)["derivatives"] == "unchecked"
    assert float(found.eigenvalue[0]) == pytest.approx(6.0)
