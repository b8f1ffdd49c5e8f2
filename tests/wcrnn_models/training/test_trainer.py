import dataclasses
import json
import math

import pytest
import torch

from short_runs import CONFIG, LEARNABLE, weights
from wcrnn_models import TrainConfig, UserError, list_checkpoints, load_checkpoint, train
from wcrnn_models.tasks import AddingProblem
from wcrnn_models.training.build import build_model, build_task
from wcrnn_models.training.descent import descend
from wcrnn_models.training.result import TrainResult


def test_training_equals_sgd_written_out(uninterrupted):
    """Momentum SGD, clipping and evaluation by hand, from the initial network of the configuration."""
    directory, result = uninterrupted
    model, task = build_model(CONFIG), build_task(CONFIG)
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    losses, norms, metrics = [], [], [task.test_metric(model)]
    for iteration in range(30):
        inputs, targets = task.train_batch(iteration)
        loss = (model(inputs) - targets).square().mean().sqrt()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        norms.append(norm.item())
        with torch.no_grad():
            for parameter, gradient, speed in zip(model.parameters(), gradients, velocity, strict=True):
                speed.mul_(0.9).add_(gradient * min(1.0, 0.5 / norm.item()))
                parameter.sub_(0.05 * speed)
        if (iteration + 1) % 4 == 0 or iteration == 29:
            metrics.append(task.test_metric(model))
    assert result.status == "finished"
    assert result.iterations == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert result.test_metrics == pytest.approx(metrics, rel=1e-4)
    for measured, values in ((result.train_losses, losses), (result.gradient_norms, norms)):
        fours = [sum(values[start : start + 4]) / 4 for start in range(0, 28, 4)]
        assert measured == pytest.approx([values[0], *fours, sum(values[28:]) / 2], rel=1e-4)
    for name, value in weights(directory).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_what_is_kept(uninterrupted):
    directory, result = uninterrupted
    best = min(result.test_metrics)
    assert result.best_metric == best
    assert result.best_iteration == result.iterations[result.test_metrics.index(best)]
    assert result.iterations_to_minimal_performance is None
    assert result.total_iterations == 30
    assert json.loads((directory / "history.json").read_text()) == dataclasses.asdict(result)
    assert TrainConfig.from_json((directory / "config.json").read_text()) == CONFIG
    kept = {str(path.relative_to(directory)) for path in list_checkpoints(directory)}
    assert kept == set(result.checkpoints.values())
    for role, iteration in (("initial", 0), ("best", result.best_iteration), ("final", 30)):
        checkpoint = load_checkpoint(directory / result.checkpoints[role])
        assert checkpoint.iteration == iteration
        assert checkpoint.metadata["test_metric"] == result.test_metrics[result.iterations.index(iteration)]
        measured = build_task(CONFIG).test_metric(checkpoint.model)
        assert measured == pytest.approx(checkpoint.metadata["test_metric"], rel=1e-6)
    initial = load_checkpoint(directory / result.checkpoints["initial"]).model.state_dict()
    assert all(torch.equal(value, build_model(CONFIG).state_dict()[name]) for name, value in initial.items())


def test_a_finished_run_returns_at_once(uninterrupted, monkeypatch):
    directory, result = uninterrupted
    monkeypatch.setattr(AddingProblem, "train_batch", lambda *_: pytest.fail("trained again"))
    assert train(CONFIG, directory) == result


def test_weights_are_kept_at_chosen_iterations(tmp_path, uninterrupted):
    """At evaluations and between them; training itself is not changed."""
    config = dataclasses.replace(CONFIG, save_at=(9, 0, 4, 30))
    result = train(config, tmp_path)
    assert result.test_metrics == uninterrupted[1].test_metrics
    names = {role: f"checkpoints/iteration-{int(role):08d}.safetensors" for role in ("0", "4", "9", "30")}
    assert result.checkpoints.items() >= names.items()
    assert {str(path.relative_to(tmp_path)) for path in list_checkpoints(tmp_path)} == set(result.checkpoints.values())
    between, model = load_checkpoint(tmp_path / names["9"]), build_model(CONFIG)
    assert (between.iteration, between.metadata["test_metric"]) == (9, None)
    shorter = dataclasses.replace(CONFIG, epochs=1, iterations_per_epoch=9, evaluate_every=9)
    train(shorter, tmp_path / "shorter")
    model.load_state_dict(weights(tmp_path / "shorter"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in between.model.state_dict().items())


def test_weights_to_keep_beyond_the_end_are_refused(tmp_path):
    with pytest.raises(UserError, match="save_at must not exceed the iterations of the run, 30, got 31"):
        train(dataclasses.replace(CONFIG, save_at=(31,)), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_minimal_performance_is_found_within_an_epoch(tmp_path):
    """To the probe, against an evaluation at every probe; weights and evaluations stay the same."""
    coarse = train(LEARNABLE, tmp_path / "coarse")
    fine = train(dataclasses.replace(LEARNABLE, evaluate_every=7), tmp_path / "fine")
    probed = train(dataclasses.replace(LEARNABLE, probe_every=7), tmp_path / "probed")
    reached = fine.iterations_to_minimal_performance
    assert coarse.iterations_to_minimal_performance in range(100, 301, 100)
    assert coarse.iterations_to_minimal_performance > reached
    assert probed.iterations_to_minimal_performance == reached
    assert reached % 100
    assert probed.test_metrics == coarse.test_metrics
    assert probed.checkpoints == coarse.checkpoints


def test_a_loss_above_the_limit_ends_a_run(tmp_path):
    """A finite loss is enough; what was measured before stays."""
    config = dataclasses.replace(CONFIG, learning_rate=2.0, gradient_clip=None)
    losses = train(dataclasses.replace(config, evaluate_every=1), tmp_path / "whole").train_losses[1:]
    at = next(i for i in range(29, 0, -1) if losses[i] > max(losses[:i]))  # losses before the steps 0, 1, ...
    limit = max(losses[:at])
    result = train(dataclasses.replace(config, divergence_loss=limit), tmp_path / "run")
    assert (result.status, result.diverged_at) == ("diverged", at)
    assert f"or the loss above {limit:g}, after {at} iterations" in result.warning
    assert result.iterations == [i for i in range(0, 30, 4) if i <= at]
    assert TrainResult.read(tmp_path / "run" / "history.json") == result


def test_a_gradient_that_is_not_finite_ends_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("wcrnn_models.training.run.gradient_norms", lambda networks: torch.tensor([math.inf]))
    result = train(CONFIG, tmp_path)
    assert (result.status, result.diverged_at) == ("diverged", 0)


def test_a_task_can_be_learnt(tmp_path):
    config = dataclasses.replace(LEARNABLE, epochs=6)
    result = train(config, tmp_path)
    assert result.best_metric < 0.05 < 0.3 < result.test_metrics[0]
    first = next(i for i, metric in zip(result.iterations, result.test_metrics, strict=True) if metric <= 0.05)
    assert result.iterations_to_minimal_performance == first


def test_divergence_is_recorded(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30, gradient_clip=None)
    result = train(config, tmp_path)
    assert result.status == "diverged"
    assert result.iterations == [0]
    assert 0 < result.diverged_at < 4
    assert "diverged" in result.warning
    assert f"after {result.diverged_at} iterations" in result.warning
    assert json.loads((tmp_path / "history.json").read_text())["diverged_at"] == result.diverged_at
    assert load_checkpoint(tmp_path).iteration == 0
    assert train(config, tmp_path) == result


def test_divergence_of_the_untrained_network(tmp_path):
    result = train(dataclasses.replace(CONFIG, r=1e30), tmp_path)
    assert (result.status, result.diverged_at, result.best_metric) == ("diverged", 0, None)
    assert load_checkpoint(tmp_path).iteration == 0


def test_divergence_between_loss_and_evaluation(tmp_path, monkeypatch):
    """The loss stays finite, but the step before an evaluation makes a weight or the metric infinite."""

    def overflow(optimizers):
        descend(optimizers)
        optimizers[0].param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr("wcrnn_models.training.run.descend", overflow)
    result = train(dataclasses.replace(CONFIG, evaluate_every=1), tmp_path / "weights")
    assert (result.status, result.diverged_at) == ("diverged", 1)
    monkeypatch.setattr("wcrnn_models.training.run.descend", descend)
    monkeypatch.setattr(AddingProblem, "metric", lambda *_: float("nan"))
    result = train(CONFIG, tmp_path / "metric")
    assert (result.status, result.diverged_at) == ("diverged", 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(tmp_path, uninterrupted):
    result = train(CONFIG, tmp_path, device="cuda")
    assert result.test_metrics == pytest.approx(uninterrupted[1].test_metrics, rel=1e-3)


def test_mnist_in_short(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    config = TrainConfig(task="psmnist", hidden_size=4, batch_size=20, epochs=2, residual="rotation", phi=0.2)
    result = train(config, tmp_path)
    assert (result.status, result.metric_name, result.iterations) == ("finished", "accuracy", [0, 2, 4])
    assert result.best_metric == max(result.test_metrics)
