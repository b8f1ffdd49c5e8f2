import pytest
import torch

from wcrnn_models import TrainConfig
from wcrnn_models.tasks import AddingProblem
from wcrnn_models.training.build import build_model, build_task


def test_model_of_the_paper():
    model = build_model(TrainConfig(task="smnist"))
    assert (model.input_size, model.hidden_size, model.output_size) == (1, 100, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_310
    assert torch.equal(model.residual.matrix(), torch.tensor(0.995) * torch.eye(100))
    assert float(model.coupling) == pytest.approx(0.01, rel=1e-7)


def test_residuals():
    rotation = build_model(TrainConfig(residual="rotation", phi=0.3, r=1.0, hidden_size=4, dtype="float64"))
    torch.testing.assert_close(rotation.residual.eigenvalues().angle().abs(), torch.full((4,), 0.3).double())
    spread = build_model(TrainConfig(residual="heterogeneous", r=0.9, delta_r=0.2, hidden_size=500))
    assert 0.8 <= float(spread.residual.matrix().diag().min()) < 0.81
    assert 0.99 < float(spread.residual.matrix().diag().max()) <= 1.0


@pytest.mark.parametrize(
    "options",
    [{}, {"residual": "rotation", "phi": "random"}, {"residual": "heterogeneous", "delta_r": 0.1}],
    ids=["scalar", "rotation", "heterogeneous"],
)
def test_the_seed_determines_the_network(options):
    first, again, other = (build_model(TrainConfig(seed=seed, **options)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["recurrent.weight"], other["recurrent.weight"])
    if options:
        residual = [name for name in first if name.startswith("residual")]
        assert not any(torch.equal(first[name], other[name]) for name in residual)


def test_adding_task_and_its_defaults():
    task = build_task(TrainConfig(seed=3, dtype="float64"))
    assert isinstance(task, AddingProblem)
    assert (task.sequence_length, task.iterations_per_epoch, task.test_size) == (100, 1000, 2000)
    inputs, targets = task.train_batch(5)
    expected = AddingProblem(100, seed=3, dtype=torch.float64).train_batch(5)
    assert torch.equal(inputs, expected[0])
    assert torch.equal(targets, expected[1])


def test_mnist_tasks(small_mnist, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    plain, permuted = (build_task(TrainConfig(task=name, train_size=9, batch_size=4)) for name in ("smnist", "psmnist"))
    assert (plain.name, permuted.name) == ("smnist", "psmnist")
    assert plain.iterations_per_epoch == permuted.iterations_per_epoch == 3
    assert not torch.equal(plain.train_batch(0)[0], permuted.train_batch(0)[0])
