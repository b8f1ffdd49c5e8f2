"""A measurement in the middle of a training leaves everything as it was, however it ends."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from lyapkit.tracking.undisturbed import undisturbed


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    model[2].eval()  # a mode of its own
    model(torch.randn(5, 2)).sum().backward()
    return model


def disturb(model: nn.Module) -> None:
    """All that an analysis might do."""
    assert not any(part.training for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    model.train()
    model(torch.randn(4, 2)).sum().backward()
    model[1].num_batches_tracked = torch.tensor(77)
    model[1].eval()


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything that training depends on, in a form that == compares to the last bit."""
    buffers = dict(model.named_buffers())
    return {
        "modes": [part.training for part in model.modules()],
        "buffers": {name: value.tolist() for name, value in buffers.items()},
        "same buffers": [id(value) for value in buffers.values()],
        "same gradients": [id(parameter.grad) for parameter in model.parameters()],
        "gradients": [parameter.grad.tolist() for parameter in model.parameters()],
        "versions": [parameter._version for parameter in model.parameters()],
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "random": random.getstate(),
    }


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_everything_is_put_back(context) -> None:
    model = network()
    before = snapshot(model)
    with context(), undisturbed(model):
        disturb(model)
    assert snapshot(model) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
def test_everything_is_put_back_when_it_is_interrupted(error) -> None:
    model = network()
    before = snapshot(model)

    def interrupted() -> None:
        with undisturbed(model):
            disturb(model)
            raise error

    with pytest.raises(error):
        interrupted()
    assert snapshot(model) == before


def test_a_train_method_of_the_users_own_is_not_called() -> None:
    class Own(nn.Linear):
        def train(self, mode: bool = True):
            raise AssertionError("called")

    model = Own(1, 1)
    with undisturbed(model):
        assert not model.training
    assert model.training
