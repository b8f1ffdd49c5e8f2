"""The largest stable learning rate of an untrained network, and the warning of a larger one."""

import dataclasses
import math

import pytest
import torch

from wcrnn_models import TrainConfig, UserError, stable_rate
from wcrnn_models.cli import main
from wcrnn_models.training.build import build_model, build_task

SHORT = TrainConfig(
    length=60, hidden_size=5, batch_size=6, epochs=1, iterations_per_epoch=3, test_size=10, learning_rate=0.02, r=1.01
)
OPTIONS = [
    *("--length", "60", "--hidden-size", "5", "--batch-size", "6", "--r", "1.01"),
    *("--epochs", "1", "--iterations-per-epoch", "3", "--test-size", "10"),
]


@pytest.mark.parametrize("changes", [{}, {"r": 0.95}, {"momentum": 0.0}, {"model": "lstm", "r": TrainConfig().r}])
def test_the_rate_is_that_of_the_largest_eigenvalue_of_the_first_batch(changes) -> None:
    """Against the whole Hessian by automatic differentiation."""
    config = dataclasses.replace(SHORT, **changes)
    model, task = build_model(config).double(), build_task(config)
    inputs, targets = (part.double() for part in task.train_batch(0))
    names, parts = zip(*model.named_parameters(), strict=True)

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = vector.split([part.numel() for part in parts])
        weights = {name: piece.view_as(part) for name, piece, part in zip(names, pieces, parts, strict=True)}
        return task.loss(torch.func.functional_call(model, weights, inputs), targets)

    hessian = torch.autograd.functional.hessian(loss, torch.cat([part.detach().reshape(-1) for part in parts]))
    expected = 2 * (1 + config.momentum) / torch.linalg.eigvalsh(hessian)[-1].item()
    assert stable_rate(config) == pytest.approx(expected, rel=1e-5)


def test_it_does_not_depend_on_the_learning_rate() -> None:
    assert stable_rate(SHORT) == stable_rate(dataclasses.replace(SHORT, learning_rate=7.0))


def test_a_loss_that_is_not_finite_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"untrained network cannot be measured: .*loss"):
        stable_rate(dataclasses.replace(SHORT, r=1e30))


def test_training_warns_of_a_rate_beyond_it(tmp_path, capsys) -> None:
    stable = stable_rate(SHORT)
    assert math.isfinite(stable)
    assert main(
        ["train", str(tmp_path / "beyond"), *OPTIONS, "--learning-rate", f"{1.1 * stable}", "--measure-rate"]
    ) in (0, 3)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        f"warning: the learning rate {1.1 * stable:g} is beyond the stable {stable:.2g} of the untrained network; "
    )
    assert "lower --learning-rate, or bound the steps with --gradient-clip" in first
    within = ["train", str(tmp_path / "within"), *OPTIONS, "--learning-rate", f"{0.9 * stable}"]
    assert main([*within, "--measure-rate"]) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert told == f"the learning rate {0.9 * stable:g} is within the stable {stable:.2g} of the untrained network"
    assert main(within) == 0  # complete; the flag is no part of the configuration
    assert "stable" not in capsys.readouterr().out
