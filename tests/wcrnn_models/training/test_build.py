import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from wcrnn_models import TrainConfig, UserError
from wcrnn_models.models.baselines import LSTM, S4D, URLSTM, ResidualElman
from wcrnn_models.tasks import AddingProblem
from wcrnn_models.training import build
from wcrnn_models.training.build import DATA_FIELDS, Tasks, build_model, build_task


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
    [
        {},
        {"residual": "rotation", "phi": "random"},
        {"residual": "heterogeneous", "delta_r": 0.1},
        {"residual": "orthogonal"},
        {"residual": "orthogonal", "delta_r": 0.1},
        {"residual": "informed"},
    ],
    ids=["scalar", "rotation", "heterogeneous", "orthogonal", "product", "informed"],
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
    assert (task.sequence_length, task.iterations_per_epoch, task.test_count) == (100, 1000, 2000)
    inputs, targets = task.train_batch(5)
    expected = AddingProblem(100, seed=3, dtype=torch.float64).train_batch(5)
    assert torch.equal(inputs, expected[0])
    assert torch.equal(targets, expected[1])


def test_forms_couplings_and_products():
    model = build_model(TrainConfig(form="B", nonlinearity="identity", coupling="informed", hidden_size=400))
    assert (model.form, model.nonlinearity) == ("B", "identity")
    assert model.coupling.shape == (400,)
    assert stats.kstest(model.coupling.numpy(), stats.uniform(0.005, 0.045).cdf).pvalue > 1e-3
    informed = build_model(TrainConfig(residual="informed", coupling="informed", hidden_size=400, dtype="float64"))
    turn, stretch = informed.residual.factors
    assert 0.99 <= float(stretch.r.min()) < float(stretch.r.max()) <= 1.0
    assert float(turn.scaled_sine.max()) <= math.sin(math.pi / 4)
    # every random part of a seed has numbers of its own
    gamma, r = (informed.coupling - 0.005) / 0.045, (stretch.r - 0.99) / 0.01
    assert not torch.allclose(gamma, r, atol=0.1)
    turned = build_model(TrainConfig(residual="rotation", phi=0.3, r=0.9, delta_r=0.2, hidden_size=6, dtype="float64"))
    rows = turned.residual.matrix().norm(dim=0)  # columns of T diag(r) have the length r_i
    assert bool(((rows >= 0.8) & (rows <= 1.0)).all())
    assert float(rows.std()) > 0.01
    haar = build_model(TrainConfig(residual="orthogonal", r=0.9, hidden_size=6, dtype="float64")).residual.matrix()
    torch.testing.assert_close(haar.T @ haar, 0.81 * torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-14)


BASELINES = {
    "elman": ({}, ResidualElman),
    "lstm": ({}, LSTM),
    "ur-lstm": ({}, URLSTM),
    "s4d": ({"layers": 3, "modes": 2}, S4D),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name):
    options, kind = BASELINES[name]
    config = TrainConfig(model=name, hidden_size=5, seed=2, dtype="float64", task="smnist", **options)
    model = build_model(config)
    assert type(model) is kind
    assert (model.input_size, model.hidden_size, model.output_size) == (1, 5, 10)
    assert model.readout.weight.dtype == torch.float64
    again, other = build_model(config), build_model(dataclasses.replace(config, seed=3))
    assert torch.equal(model.readout.weight, again.readout.weight)
    assert not torch.equal(model.readout.weight, other.readout.weight)
    if name == "s4d":
        assert (len(model.layers), model.modes) == (3, 2)
        standard = build_model(TrainConfig(model="s4d", hidden_size=4))
        assert (len(standard.layers), standard.modes) == (2, 16)


@pytest.fixture
def matrix_file(tmp_path):
    """A non-normal residual."""
    matrix = np.triu(np.full((4, 4), 0.5)) + 0.4 * np.eye(4)
    np.save(tmp_path / "R.npy", matrix)
    return tmp_path / "R.npy", matrix


def dense(path, **options):
    return TrainConfig(**{"residual": "dense", "residual_file": str(path), "hidden_size": 4, **options})


def test_dense_residuals(matrix_file):
    path, matrix = matrix_file
    model = build_model(dense(path, dtype="float64"))
    assert np.array_equal(model.residual.matrix().numpy(), matrix)
    assert torch.equal(build_model(dense(path)).residual.matrix(), torch.tensor(matrix, dtype=torch.float32))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.unlink(), "there is no file .*R.npy for the residual; save the matrix with numpy.save"),
        (lambda path: path.write_bytes(b"x"), "not a NumPy file of plain numbers"),
        (lambda path: path.write_bytes(pickle.dumps(print)), "not a NumPy file of plain numbers"),
        (lambda path: np.save(path, np.array([print])), "not a NumPy file of plain numbers .*holds objects"),
        (lambda path: np.save(path, np.eye(3)), r"4 x 4 real numbers, .* got float64 of shape \(3, 3\)"),
        (lambda path: np.save(path, 1j * np.eye(4)), "4 x 4 real numbers, .* got complex128"),
        (lambda path: np.save(path, np.full((4, 4), np.nan)), "must hold finite numbers"),
        (
            lambda path: np.save(path, 1e39 * np.eye(4)),
            r"R.npy: a number must not exceed 3.40282347e\+38, the largest number of torch.float32, got 1e\+39",
        ),
        (lambda path: save_archive(path), "archive of several arrays; save one"),
    ],
    ids=["missing", "damaged", "pickle", "objects", "size", "complex", "nan", "large", "archive"],
)
def test_refused_matrices(matrix_file, write, message):
    write(matrix_file[0])
    with pytest.raises(UserError, match=message):
        build_model(dense(matrix_file[0]))


def save_archive(path):
    with path.open("wb") as file:
        np.savez(file, np.eye(4))


def test_pictures(small_cifar10, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_cifar10))
    task = build_task(TrainConfig(task="scifar10", train_size=9, batch_size=4))
    assert (task.name, task.iterations_per_epoch, task.sequence_length) == ("scifar10", 3, 1024)


def test_mnist_tasks(small_mnist, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    plain, permuted = (build_task(TrainConfig(task=name, train_size=9, batch_size=4)) for name in ("smnist", "psmnist"))
    assert (plain.name, permuted.name) == ("smnist", "psmnist")
    assert plain.iterations_per_epoch == permuted.iterations_per_epoch == 3
    assert not torch.equal(plain.train_batch(0)[0], permuted.train_batch(0)[0])


@pytest.mark.parametrize("task", ["adding", "smnist", "arrays"])
@pytest.mark.parametrize("given", [False, True])
def test_the_fields_of_the_data_are_those_that_a_task_reads(task, given, monkeypatch):
    """Networks that agree in them share a task; a field that is missing there would give them wrong data."""
    sizes = dict(length=6, iterations_per_epoch=3, validation_size=5, loss="mse") if given else {}
    config = dataclasses.replace(TrainConfig(**sizes), dtype="float64")
    other = {"task": task, "data": "data.npz"}
    read = set()

    class Recorder:
        def __getattr__(self, name):
            read.add(name)
            return other.get(name, getattr(config, name))

    made = []
    monkeypatch.setitem(build._IMAGES, "smnist", lambda **fields: made.append(fields))
    monkeypatch.setattr(build.ArrayTask, "from_file", lambda path, **fields: made.append(fields))
    build_task(Recorder())
    assert len(made) == (task != "adding")
    assert {"task", "seed", "batch_size", "test_size", "validation_size", "dtype"} <= read <= set(DATA_FIELDS)


def test_networks_that_agree_in_their_data_share_a_task():
    tasks = Tasks(torch.device("cpu"))
    config = TrainConfig(length=6)
    assert tasks.of(config) is tasks.of(dataclasses.replace(config, r=0.9, learning_rate=0.1, epochs=2))
    for change in (dict(seed=1), dict(length=8), dict(loss="mse"), dict(test_size=9), dict(batch_size=3)):
        other = tasks.of(dataclasses.replace(config, **change))
        assert other is not tasks.of(config)
        assert other is tasks.of(dataclasses.replace(config, **change))
