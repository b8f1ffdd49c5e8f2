import dataclasses
import json

import pytest
import torch

from wcrnn_models import TrainConfig, UserError, load_checkpoint, train
from wcrnn_models.tasks import AddingProblem
from wcrnn_models.training.ensemble import train_ensemble

BASE = TrainConfig(
    length=6,
    hidden_size=8,
    coupling=0.1,
    learning_rate=0.05,
    batch_size=16,
    epochs=3,
    iterations_per_epoch=10,
    test_size=50,
    evaluate_every=4,
    gradient_clip=0.5,
    dtype="float64",
)
CONFIGS = [
    BASE,
    dataclasses.replace(BASE, seed=1, r=0.9),
    dataclasses.replace(BASE, seed=2, residual="rotation", phi=0.3, r=1.0),
    dataclasses.replace(BASE, seed=3, residual="informed", coupling="informed", learning_rate=0.1, momentum=0.5),
]


def assert_close(result, other):
    for name in ("iterations", "train_losses", "gradient_norms", "test_metrics"):
        assert getattr(result, name) == pytest.approx(getattr(other, name), rel=1e-10)
    same = (
        "status",
        "metric_name",
        "best_iteration",
        "iterations_to_minimal_performance",
        "diverged_at",
        "checkpoints",
    )
    for name in same:
        assert getattr(result, name) == getattr(other, name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alone")
    return directory, [train(config, directory / str(i)) for i, config in enumerate(CONFIGS)]


def test_together_as_one_by_one(alone, tmp_path):
    """Results, files and weights; seeds, residuals, learning rates and momentum differ."""
    directories = [tmp_path / str(i) for i in range(len(CONFIGS))]
    results = train_ensemble(CONFIGS, directories)
    for result, other, directory, i in zip(results, alone[1], directories, range(4), strict=True):
        assert_close(result, other)
        assert json.loads((directory / "history.json").read_text()) == dataclasses.asdict(result)
        expected = load_checkpoint(alone[0] / str(i)).model.state_dict()
        for name, value in load_checkpoint(directory).model.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [0, 5, 17])
def test_an_interrupted_ensemble_goes_on(alone, tmp_path, monkeypatch, stop):
    directories = [tmp_path / str(i) for i in range(len(CONFIGS))]
    original = AddingProblem.train_batch

    def interrupt(self, iteration):
        if iteration == stop and self.seed == 2:  # after others have done their part
            raise Interrupted
        return original(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(AddingProblem, "train_batch", interrupt)
        with pytest.raises(Interrupted):
            train_ensemble(CONFIGS, directories)
    assert (directories[2] / "history.json").exists() == (stop > 0)  # nothing was measured, nothing is left
    for result, other in zip(train_ensemble(CONFIGS, directories), alone[1], strict=True):
        assert_close(result, other)


def test_networks_that_are_behind_catch_up(alone, tmp_path, monkeypatch):
    """One finished, one half done, two new."""
    directories = [tmp_path / str(i) for i in range(len(CONFIGS))]
    train(CONFIGS[0], directories[0])
    original = AddingProblem.train_batch

    def interrupt(self, iteration):
        if iteration == 13:
            raise Interrupted
        return original(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(AddingProblem, "train_batch", interrupt)
        with pytest.raises(Interrupted):
            train(CONFIGS[1], directories[1])
    for result, other in zip(train_ensemble(CONFIGS, directories), alone[1], strict=True):
        assert_close(result, other)


@pytest.mark.parametrize(
    "change", [dict(r=1e200), dict(learning_rate=1e200, gradient_clip=None), dict(divergence_loss=0.1)],
    ids=["at once", "later", "limit"],
)  # fmt: skip
def test_a_network_that_diverges_leaves_the_others_alone(alone, tmp_path, change):
    configs = [CONFIGS[0], dataclasses.replace(BASE, seed=5, **change), CONFIGS[2]]
    results = train_ensemble(configs, [tmp_path / str(i) for i in range(3)])
    expected = train(configs[1], tmp_path / "alone")
    assert expected.status == "diverged"
    assert (results[1].status, results[1].diverged_at) == ("diverged", expected.diverged_at)
    assert_close(results[0], alone[1][0])
    assert_close(results[2], alone[1][2])


def test_networks_may_train_for_different_times(alone, tmp_path):
    configs = [CONFIGS[0], dataclasses.replace(CONFIGS[1], epochs=1), CONFIGS[2]]
    results = train_ensemble(configs, [tmp_path / str(i) for i in range(3)])
    assert_close(results[0], alone[1][0])
    assert_close(results[1], train(configs[1], tmp_path / "alone"))
    assert_close(results[2], alone[1][2])


SHARING = [BASE, dataclasses.replace(BASE, r=0.9), dataclasses.replace(BASE, learning_rate=0.01), CONFIGS[1]]


def test_networks_of_one_seed_share_batches_and_all_are_evaluated_together(tmp_path, monkeypatch):
    drawn, measured = [], []
    batch, metric = AddingProblem.train_batch, AddingProblem.test_metric

    def record(self, iteration):
        drawn.append((self.seed, iteration))
        return batch(self, iteration)

    def measure(self, *arguments):
        measured.append(self.seed)
        return metric(self, *arguments)

    monkeypatch.setattr(AddingProblem, "train_batch", record)
    monkeypatch.setattr(AddingProblem, "test_metric", measure)
    results = train_ensemble(SHARING, [tmp_path / str(i) for i in range(4)])
    assert [drawn.count((0, iteration)) for iteration in (0, 1, 29)] == [3 + 1, 1, 1]  # each measures the first alone
    assert measured == [0, 0, 0, 1]  # before training
    for config, result, i in zip(SHARING, results, range(4), strict=True):
        assert_close(result, train(config, tmp_path / f"alone {i}"))


@pytest.mark.parametrize("change", [dict(test_size=60), dict(validation_size=700), dict(evaluate_every=3)])
def test_networks_that_are_evaluated_otherwise_are_evaluated_alone(tmp_path, change):
    configs = [
        BASE,
        dataclasses.replace(BASE, **{"test_size": None, **change} if "validation_size" in change else change),
    ]
    results = train_ensemble(configs, [tmp_path / str(i) for i in range(2)])
    for config, result, i in zip(configs, results, range(2), strict=True):
        assert_close(result, train(config, tmp_path / f"alone {i}"))


def test_all_may_be_finished(alone):
    directories = [alone[0] / str(i) for i in range(len(CONFIGS))]
    assert train_ensemble(CONFIGS, directories) == alone[1]
    assert train_ensemble([], []) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(hidden_size=10), "only WCRNNs of one size, form, nonlinearity and type"),
        (dict(form="B"), "only WCRNNs of one size, form, nonlinearity and type"),
        (dict(dtype="float32"), "only WCRNNs of one size, form, nonlinearity and type"),
        (dict(length=8), r"the same task, length, batch_size .* got \('adding', 6, 16, 10\), \('adding', 8, 16, 10\)"),
        (dict(batch_size=8), "the same task, length, batch_size and iterations per epoch"),
        (dict(iterations_per_epoch=9), "the same task, length, batch_size and iterations per epoch"),
    ],
    ids=["size", "form", "type", "length", "batch", "epoch"],
)
def test_networks_that_do_not_go_together_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train_ensemble([BASE, dataclasses.replace(BASE, **change)], [tmp_path / "a", tmp_path / "b"])
    assert list(tmp_path.iterdir()) == []


def test_one_directory_each(tmp_path):
    with pytest.raises(ValueError, match="expected one directory for each of 2 configurations, got 1"):
        train_ensemble([BASE, BASE], [tmp_path])
    with pytest.raises(UserError, match="in use by process"):
        train_ensemble([BASE, BASE], [tmp_path, tmp_path])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_ensemble_on_a_gpu(alone, tmp_path):
    results = train_ensemble(CONFIGS, [tmp_path / str(i) for i in range(len(CONFIGS))], device="cuda")
    for result, other in zip(results, alone[1], strict=True):
        assert result.test_metrics == pytest.approx(other.test_metrics, rel=1e-8)
