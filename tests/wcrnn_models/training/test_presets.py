import math

import pytest
import torch

from wcrnn_models import TrainConfig, UserError, train
from wcrnn_models.training.build import build_task
from wcrnn_models.training.presets import PROTOCOLS, preset


@pytest.mark.parametrize(
    ("name", "task", "length", "epochs"),
    [
        ("smnist", "smnist", None, 200),
        ("psmnist", "psmnist", None, 200),
        ("smnist-rotation", "smnist", None, 50),
        ("psmnist-rotation", "psmnist", None, 50),
        ("add100", "adding", 100, 150),
        ("add200", "adding", 200, 150),
        ("add400", "adding", 400, 150),
        ("add800", "adding", 800, 150),
    ],
)
def test_the_protocol_of_section_4(name, task, length, epochs):
    config = preset(name, learning_rate=0.03)
    assert (config.task, config.length, config.epochs) == (task, length, epochs)
    assert (config.hidden_size, config.batch_size, config.momentum, config.coupling) == (100, 128, 0.9, 0.01)
    assert (config.gradient_clip, config.learning_rate) == (None, 0.03)


def test_every_preset_is_tested():
    assert set(PROTOCOLS) == {
        *("smnist", "psmnist", "smnist-rotation", "psmnist-rotation"),
        *("add100", "add200", "add400", "add800"),
    }


def test_losses_and_thresholds_are_those_of_the_adding_problem():
    for name in ("add100", "add800"):
        task = build_task(preset(name, learning_rate=0.1))
        outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [1.0]])
        assert float(task.loss(outputs, targets)) == pytest.approx(0.5)
        assert (PROTOCOLS[name].loss, task.metric_name) == ("mse", "mse")
        assert task.minimal_performance == PROTOCOLS[name].minimal_performance == 0.05
        assert (task.sequence_length, task.reaches(0.05), task.reaches(0.0501)) == (PROTOCOLS[name].length, True, False)


@pytest.mark.parametrize("name", ["smnist", "psmnist"])
def test_losses_and_thresholds_are_those_of_mnist(name, small_mnist, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    task = build_task(preset(name, learning_rate=0.1))
    outputs = torch.zeros(2, 10)
    assert float(task.loss(outputs, torch.tensor([1, 2]))) == pytest.approx(math.log(10))
    assert (PROTOCOLS[name].loss, task.metric_name) == (None, "accuracy")
    assert task.minimal_performance == PROTOCOLS[name].minimal_performance == 0.5
    assert (task.reaches(0.5), task.reaches(0.4999)) == (True, False)


def test_fields_can_be_added_and_replaced():
    config = preset("add100", learning_rate=0.01, residual="rotation", phi=0.2, epochs=3, seed=7)
    assert (config.residual, config.phi, config.epochs, config.seed) == ("rotation", 0.2, 3, 7)


def test_a_preset_can_be_trained(tmp_path):
    config = preset(
        "add100", learning_rate=0.01, epochs=1, iterations_per_epoch=3, hidden_size=4, batch_size=2, test_size=5
    )
    assert train(config, tmp_path).status == "finished"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("add10", {}, "there is no preset 'add10'. Did you mean 'add100'"),
        ("MNIST", {}, "Known presets: smnist, psmnist, smnist-rotation, psmnist-rotation, add100"),
        ("add100", {"gama": 0.1}, "the configuration has no field 'gama'"),
        ("add100", {"cupling": 0.1}, "no field 'cupling'. Did you mean 'coupling'"),
        ("add100", {"coupling": -1.0}, "coupling must be at least 0"),
        ("smnist", {"length": 3}, "length does not go with task 'smnist'"),
    ],
    ids=["near", "unknown", "field", "typo", "value", "combination"],
)
def test_mistakes_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        preset(name, learning_rate=0.1, **changes)


def test_the_learning_rate_must_be_given():
    with pytest.raises(TypeError, match="learning_rate"):
        preset("smnist")
    with pytest.raises(UserError, match="learning_rate must be finite, got nan"):
        preset("smnist", learning_rate=math.nan)


def test_schedule_fields_are_checked():
    good = TrainConfig(save_at=(0, 5), probe_every=3, divergence_loss=10)
    assert TrainConfig.from_json(good.to_json()) == good
    assert good.fingerprint() != TrainConfig().fingerprint()
    for change, message in (
        ({"save_at": [1, 2]}, r"save_at must be a tuple of integers, got \[1, 2\]"),
        ({"save_at": (1.5,)}, "save_at must be a tuple of integers"),
        ({"save_at": (True,)}, "save_at must be a tuple of integers"),
        ({"save_at": (3, -1)}, "save_at must hold numbers of at least 0, got -1"),
        ({"probe_every": 0}, "probe_every must be at least 1, got 0"),
        ({"probe_every": 2.5}, "probe_every must be an integer, got 2.5"),
        ({"divergence_loss": 0.0}, "divergence_loss must be greater than 0, got 0.0"),
        ({"divergence_loss": math.inf}, "divergence_loss must be finite, got inf"),
        ({"divergence_loss": "1"}, "divergence_loss must be a number, got '1'"),
    ):
        with pytest.raises(UserError, match=message):
            TrainConfig(**change)
