"""Targets at every step: training, evaluation, checkpoints and analyses against loops written out in PyTorch."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.func import functional_call, hessian

from wcrnn_models import (
    TrainConfig,
    UserError,
    analyze_checkpoint,
    load_checkpoint,
    stable_rate,
    sweep,
    train,
    train_ensemble,
)
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.tasks import ArrayTask
from wcrnn_models.training.adjoint import can_train_together, fast_forward
from wcrnn_models.training.build import build_model, build_task, completed

RANDOM = np.random.default_rng(0)
STEPS, TRAIN, TEST = 9, 12, 6
INPUTS = RANDOM.normal(size=(TRAIN + TEST, STEPS, 2))
MEMORY = np.cumsum(INPUTS, axis=1) / 3
VALUES, LABELS = MEMORY[..., :2] * [1.0, -1.0], (MEMORY.sum(axis=-1) > 0).astype(int) + (MEMORY[..., 0] > 1)
FAMILIES = {
    "wcrnn": {},
    "form B": {"form": "B"},
    "elman": {"model": "elman"},
    "lstm": {"model": "lstm"},
    "ur-lstm": {"model": "ur-lstm"},
    "s4d": {"model": "s4d", "modes": 2},
}


@pytest.fixture(params=["values", "labels"])
def given(request, tmp_path) -> TrainConfig:
    targets = VALUES if request.param == "values" else LABELS
    np.savez(
        tmp_path / "data.npz",
        train_inputs=INPUTS[:TRAIN],
        train_targets=targets[:TRAIN],
        test_inputs=INPUTS[TRAIN:],
        test_targets=targets[TRAIN:],
    )
    return TrainConfig(
        task="arrays",
        data=str(tmp_path / "data.npz"),
        hidden_size=4,
        batch_size=5,
        epochs=2,
        learning_rate=0.1,
        dtype="float64",
        seed=2,
    )


def coupled(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, coupling=0.3, r=0.9)


def every_output(model: RecurrentNetwork, inputs: torch.Tensor) -> torch.Tensor:
    """Step by step, read out after each input; a WCRNN by its equation, others by their own step."""
    weights, outputs = dict(model.named_parameters()), []
    state = torch.zeros(inputs.shape[1], model.state_size, dtype=torch.float64)
    for row in inputs:
        if type(model).__name__ == "WCRNN" and model.form == "linear":
            drive = state @ weights["recurrent.weight"].T + weights["recurrent.bias"]
            drive = drive + row @ weights["input.weight"].T + weights["input.bias"]
            state = 0.9 * state + 0.3 * torch.tanh(drive)
        else:
            state = model.step(state, row)
        outputs.append(model.emitted(state) @ weights["readout.weight"].T + weights["readout.bias"])
    return torch.stack(outputs)


def plain_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Average over all steps and samples, one by one."""
    terms = []
    for output, target in zip(outputs, targets, strict=True):
        for one, wanted in zip(output, target, strict=True):
            if targets.is_floating_point():
                terms.append(((one - wanted) ** 2).mean())
            else:
                terms.append(one.exp().sum().log() - one[wanted])
    mean = torch.stack(terms).mean()
    return mean.sqrt() if targets.is_floating_point() else mean


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_are_those_of_a_plain_loop(given, name) -> None:
    config = dataclasses.replace(given, **FAMILIES[name])
    config = coupled(config) if config.model == "wcrnn" else config
    model, task = build_model(config), build_task(config)
    assert (model.outputs_at, task.loss_on) == ("every", "every")
    assert "outputs_at='every'" in repr(model)
    inputs, targets = task.train_batch(0)
    assert targets.shape[:2] == inputs.shape[:2] == (STEPS, 5)
    found = task.loss(fast_forward(model)(inputs), targets)
    expected = plain_loss(every_output(model, inputs), targets)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    parameters = list(model.parameters())
    for one, other in zip(*(torch.autograd.grad(loss, parameters) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)
    single = model(inputs[:, 0])  # one sequence, without a batch
    torch.testing.assert_close(single, model(inputs)[:, 0], rtol=1e-12, atol=1e-12)
    initial = torch.full((5, model.state_size), 0.1, dtype=torch.float64)
    torch.testing.assert_close(
        model(inputs, initial), model.readout(model.emitted(model.states(inputs, initial))), rtol=1e-10, atol=1e-12
    )


def test_training_is_sgd_on_the_plain_loop(given, tmp_path) -> None:
    """Momentum SGD written out over 2 epochs of 3 batches, evaluated after each."""
    config = coupled(given)
    result = train(config, tmp_path / "run")
    model, task = build_model(config), build_task(config)
    velocity = [torch.zeros_like(each) for each in model.parameters()]
    ((inputs, targets),) = task.test_batches()
    metrics = []
    for iteration in range(7):
        with torch.no_grad():
            outputs = every_output(model, inputs)
            if targets.is_floating_point():
                metrics.append(float(plain_loss(outputs, targets)))
            else:
                metrics.append(float(np.mean(outputs.numpy().argmax(-1) == targets.numpy())))
        if iteration == 6:
            break
        batch, wanted = task.train_batch(iteration)
        gradients = torch.autograd.grad(plain_loss(every_output(model, batch), wanted), list(model.parameters()))
        with torch.no_grad():
            for parameter, direction, gradient in zip(model.parameters(), velocity, gradients, strict=True):
                direction.mul_(config.momentum).add_(gradient)
                parameter.sub_(config.learning_rate * direction)
    assert result.test_metrics == pytest.approx([metrics[0], metrics[3], metrics[6]], rel=1e-9)
    loaded = load_checkpoint(tmp_path / "run")
    assert loaded.config == completed(config)
    assert loaded.config.loss_on == loaded.model.outputs_at == "every"
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weight, rtol=1e-8, atol=1e-12)
    assert task.test_metric(loaded.model) == result.test_metrics[-1]


def test_an_interrupted_run_goes_on_exactly(given, tmp_path, monkeypatch) -> None:
    expected = train(given, tmp_path / "whole")
    original = ArrayTask.train_batch

    def interrupted(self, iteration):
        if iteration == 4:
            raise KeyboardInterrupt
        return original(self, iteration)

    monkeypatch.setattr(ArrayTask, "train_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(given, tmp_path / "run")
    monkeypatch.undo()
    assert train(given, tmp_path / "run") == expected


def test_analyses_are_those_of_the_plain_loop(given, tmp_path) -> None:
    """Total derivatives by autograd through a loop, and the Hessian as a matrix."""
    config = coupled(given)
    train(config, tmp_path / "run")
    tree = analyze_checkpoint(tmp_path / "run", samples=3, trajectories=1, hessian_k=4)
    model, task = load_checkpoint(tmp_path / "run").model, build_task(config)
    indices = torch.tensor(json.loads(tree["network"].attrs["test_samples_json"])["indices"])
    inputs, targets = task.test_samples(indices)
    state, states = torch.zeros(3, 4, dtype=torch.float64), []
    for row in inputs:
        state = model.step(state, row)
        state.requires_grad_().retain_grad()
        states.append(state)
    plain_loss(torch.stack([model.readout(each) for each in states]), targets).backward()
    expected = torch.stack([each.grad.norm(dim=-1) for each in states]).T
    found = tree["gradient_propagation"]["gradient_norm"].sel(norm="2").transpose("trajectory", "step").values
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9)

    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return plain_loss(functional_call(copy.deepcopy(model), weights, (inputs,)), targets)

    values = torch.linalg.eigvalsh(hessian(loss)(flat)).numpy()
    largest = values[np.argsort(-np.abs(values))][:4]
    np.testing.assert_allclose(tree["hessian_spectrum"]["eigenvalue"].values, largest, rtol=1e-6)
    assert stable_rate(config) > 0


def test_such_networks_are_trained_one_by_one(given, tmp_path) -> None:
    """A sweep that is asked for groups trains them alone."""
    configs = [dataclasses.replace(given, seed=seed, epochs=1) for seed in range(2)]
    assert not can_train_together([build_model(config) for config in configs])
    with pytest.raises(UserError, match="with a loss on the last step, can be trained together"):
        train_ensemble(configs, [tmp_path / "a", tmp_path / "b"])
    outcomes = sweep(configs, tmp_path / "sweep", workers=1, together=2)
    assert [outcome.status for outcome in outcomes.values()] == ["finished", "finished"]


def test_a_network_that_reads_out_other_steps_is_refused(given) -> None:
    """Outputs of the last step would be broadcast against the targets of all steps."""
    model, task = build_model(given), build_task(given)
    model.outputs_at = "last"
    inputs, targets = task.train_batch(0)
    with pytest.raises(ValueError, match=r"targets must have the shape .* of the outputs, got .*outputs_at"):
        task.loss(model(inputs), targets)
    with pytest.raises(ValueError, match="of the outputs, got"):
        task.metric(model(inputs), targets)


def test_one_value_at_every_step_needs_a_word() -> None:
    """Values (count, T) may be T values at the end."""
    values = VALUES[..., 0]
    arrays = INPUTS[:TRAIN], values[:TRAIN], INPUTS[TRAIN:], values[TRAIN:]
    every = ArrayTask(*arrays, loss_on="every", dtype=torch.float64)
    last = ArrayTask(*arrays, loss_on="last", dtype=torch.float64)
    assert (every.output_size, last.output_size) == (1, STEPS)
    chosen = torch.arange(3)
    assert np.array_equal(every.test_samples(chosen)[1].numpy(), values[TRAIN:][:3].T[..., None])
    assert np.array_equal(last.test_samples(chosen)[1].numpy(), values[TRAIN:][:3])


def test_sequences_of_one_step_have_the_same_loss_either_way() -> None:
    values = VALUES[:, 0]
    last = ArrayTask(INPUTS[:, :1], values, INPUTS[:, :1], values)
    every = ArrayTask(INPUTS[:, :1], values[:, None], INPUTS[:, :1], values[:, None])
    assert (last.loss_on, every.loss_on) == ("last", "every")
    (inputs, targets), (_, same) = last.train_batch(0), every.train_batch(0)
    assert torch.equal(targets, same[0])
    outputs = torch.zeros_like(targets)
    assert last.loss(outputs, targets) == every.loss(outputs[None], same)
    assert inputs.shape[0] == 1
