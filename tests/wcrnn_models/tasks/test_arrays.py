import dataclasses
import pickle

import numpy as np
import pytest
import torch

from wcrnn_models import (
    TrainConfig,
    UserError,
    analyze_checkpoint,
    load_checkpoint,
    save_checkpoint,
    stable_rate,
    train,
)
from wcrnn_models.tasks import ArrayTask
from wcrnn_models.training.build import build_model, build_task, completed

RANDOM = np.random.default_rng(0)
INPUTS, TEST_INPUTS = RANDOM.normal(size=(20, 7, 3)), RANDOM.normal(size=(6, 7, 3))
LABELS, TEST_LABELS = np.arange(20) % 4, np.array([0, 1, 2, 1, 0, 3])
VALUES, TEST_VALUES = RANDOM.normal(size=(20, 2)), RANDOM.normal(size=(6, 2))


def classes(**options):
    return ArrayTask(INPUTS, LABELS, TEST_INPUTS, TEST_LABELS, **options)


def test_classification():
    task = classes(batch_size=8, dtype=torch.float64)
    assert (task.input_size, task.output_size, task.sequence_length, task.iterations_per_epoch) == (3, 4, 7, 3)
    assert (task.metric_name, task.higher_is_better, task.minimal_performance) == ("accuracy", True, None)
    ((inputs, labels),) = task.test_batches()
    assert np.array_equal(inputs.numpy(), TEST_INPUTS.transpose(1, 0, 2))
    assert labels.tolist() == TEST_LABELS.tolist()
    shown = [task.train_batch(iteration) for iteration in range(3)]
    rows = torch.cat([inputs for inputs, _ in shown], dim=1).numpy()
    order = [int(np.flatnonzero((row == INPUTS).all(axis=(1, 2)))[0]) for row in rows.transpose(1, 0, 2)]
    assert sorted(order) == list(range(20))
    assert torch.cat([labels for _, labels in shown]).tolist() == LABELS[order].tolist()
    outputs = torch.eye(4, dtype=torch.float64)[[0, 1, 1, 1]]
    targets = torch.tensor([0, 1, 2, 1])
    assert task.metric(outputs, targets) == 0.75
    expected = -outputs.log_softmax(-1)[range(4), targets].mean()
    torch.testing.assert_close(task.loss(outputs, targets), expected)


def test_regression():
    task = ArrayTask(INPUTS, VALUES, TEST_INPUTS, TEST_VALUES, minimal_performance=0.1, dtype=torch.float64)
    assert (task.output_size, task.metric_name, task.higher_is_better) == (2, "rms", False)
    assert task.reaches(0.1)
    assert not task.reaches(0.11)
    outputs, targets = torch.zeros(6, 2).double(), torch.tensor(TEST_VALUES)
    rms = float(np.sqrt((TEST_VALUES**2).mean()))
    assert task.metric(outputs, targets) == pytest.approx(rms, rel=1e-14)
    assert float(task.loss(outputs, targets)) == pytest.approx(rms, rel=1e-14)


def test_one_component_may_be_left_out_and_any_real_type_will_do():
    pixels = (np.arange(12).reshape(4, 3) % 255).astype(np.uint8)
    task = ArrayTask(pixels, torch.arange(4.0), torch.tensor(pixels), np.arange(4, dtype=np.float32))
    ((inputs, targets),) = task.test_batches()
    assert inputs.shape == (3, 4, 1)
    assert inputs[:, 1, 0].tolist() == [3.0, 4.0, 5.0]  # not scaled
    assert targets.tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_the_task_keeps_a_copy():
    inputs = INPUTS.copy()
    task = ArrayTask(inputs, LABELS, TEST_INPUTS, TEST_LABELS, dtype=torch.float64)
    before = task.train_batch(0)[0].clone()
    inputs[:] = 0
    assert torch.equal(task.train_batch(0)[0], before)


def test_batches_depend_on_seed_and_iteration_alone():
    later = classes(batch_size=8, seed=1).train_batch(5)
    again, other = classes(batch_size=8, seed=1), classes(batch_size=8, seed=2)
    again.train_batch(0)
    assert torch.equal(later[0], again.train_batch(5)[0])
    assert not torch.equal(later[1], other.train_batch(5)[1])


def test_limits_and_more_classes_than_labels():
    task = classes(train_size=5, test_size=2, output_size=9)
    assert (task.train_count, task.test_count, task.output_size) == (5, 2, 9)


GOOD = (INPUTS, LABELS, TEST_INPUTS, TEST_LABELS)


def change(position, values):
    return [values if index == position else array for index, array in enumerate(GOOD)]


NOT_FINITE = INPUTS.copy()
NOT_FINITE[3, 2, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (change(0, INPUTS[0, 0]), {}, r"train_inputs must have shape \(count, steps, components\).*got \(3,\)"),
        (change(0, np.array(["a"])), {}, "train_inputs must be an array of real numbers, got type <U1"),
        (change(0, INPUTS + 1j), {}, "train_inputs must be an array of real numbers, got type complex128"),
        (change(2, TEST_INPUTS[:0]), {}, "test_inputs must have at least one sample"),
        (change(0, NOT_FINITE), {}, r"train_inputs must be finite, got nan at index \(3, 2, 1\)"),
        (change(1, LABELS[:5]), {}, "there are 20 train_inputs and 5 train_targets"),
        (
            change(1, LABELS[:, None]),
            {},
            r"train_targets are integers, so labels, .*\(count, 7\) .* every step, got \(20, 1\)",
        ),
        (change(1, LABELS - 1), {}, "train_targets are labels and must be >= 0, got -1"),
        (change(1, LABELS > 1), {}, "train_targets must be integer labels .* got bool of shape"),
        (change(1, VALUES), {}, "train_targets and test_targets must both be labels"),
        (change(2, TEST_INPUTS[:, :5]), {}, r"same steps and components, got \(7, 3\) and \(5, 3\)"),
        (change(1, np.zeros((20, 7, 1, 1), int)), {}, r"train_targets are integers.*got \(20, 7, 1, 1\)"),
        (change(1, np.zeros((20, 7), int)), {}, "both be labels, .* and both of the last step or of every step"),
        (
            change(1, np.zeros((20, 6, 2))),
            {},
            r"train_targets of shape \(20, 6, 2\) must have as many steps .* 7, got 6",
        ),
        (change(1, np.zeros((20, 7, 2, 1))), {}, "or have a dimension of 7 steps after the first, got float64"),
        (
            change(1, np.zeros((20, 7))),
            {},
            r"may be 7 values at the last step or one at each of the 7 steps; give loss_on",
        ),
        (GOOD, {"loss_on": "every"}, r"loss_on must be 'last' for train_targets of shape \(20,\) .* got 'every'"),
        (
            (INPUTS, np.zeros((20, 7), int), TEST_INPUTS, np.zeros((6, 7), int)),
            {"loss_on": "last"},
            "loss_on must be 'every' .* got 'last'",
        ),
        (GOOD, {"output_size": 3}, "output_size must be at least 4, as the labels go up to 3, got 3; leave it out"),
        (GOOD, {"train_size": 21}, "train_size must be between 1 and 20, got 21"),
        (GOOD, {"test_size": 0}, "test_size must be between 1 and 6, got 0"),
        (GOOD, {"batch_size": 0}, "batch_size must be at least 1"),
        (GOOD, {"seed": -1}, "seed must be >= 0"),
        (
            (INPUTS, VALUES, TEST_INPUTS, TEST_VALUES),
            {"output_size": 3},
            "output_size must be 2, the components of the targets, got 3; leave it out",
        ),
    ],
    ids=[
        *("shape", "text", "complex", "empty", "nan", "count", "labels", "negative", "boolean", "mixed", "steps"),
        *("ranks", "kinds", "other steps", "more ranks", "either", "not every", "not last"),
        *("classes", "train", "test", "batch", "seed", "components"),
    ],
)
def test_refused_arrays(arrays, options, message):
    with pytest.raises(UserError, match=message):
        ArrayTask(*arrays, **options)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "waves.npz"
    np.savez(path, train_inputs=INPUTS, train_targets=LABELS, test_inputs=TEST_INPUTS, test_targets=TEST_LABELS)
    return path


def config(path, **changes):
    values = {"task": "arrays", "data": str(path), "input_size": 3, "output_size": 4, "hidden_size": 4, "batch_size": 8}
    return TrainConfig(**{**values, **changes})


def test_from_a_file_through_a_configuration(archive, tmp_path):
    wanted = config(archive, dtype="float64", train_size=9, seed=3, epochs=2)
    task = build_task(wanted)
    expected = classes(batch_size=8, train_size=9, seed=3, dtype=torch.float64)
    for iteration in range(4):
        for one, other in zip(task.train_batch(iteration), expected.train_batch(iteration), strict=True):
            assert torch.equal(one, other)
    result = train(wanted, tmp_path / "run")
    assert (result.status, result.metric_name) == ("finished", "accuracy")
    full = completed(wanted)
    archive.unlink()
    model = build_model(full)  # needs no data
    assert (model.input_size, model.output_size) == (3, 4)


@pytest.mark.parametrize(
    ("write", "changes", "message"),
    [
        (lambda path: path.unlink(), {}, "there is no file .*waves.npz; name a NumPy archive"),
        (lambda path: path.write_bytes(b"nothing"), {}, "not a NumPy archive of plain numbers"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), {}, "not a NumPy archive of plain numbers"),
        (lambda path: path.write_bytes(pickle.dumps(print)), {}, "not a NumPy archive of plain numbers"),
        (lambda path: np.savez(path, train_inputs=INPUTS), {}, "lacks train_targets, test_inputs, test_targets"),
        (lambda path: np.savez(path, **dict.fromkeys(NAMES, np.array([print]))), {}, "plain numbers .*holds objects"),
        (lambda path: _save_one(path), {}, "holds one array; save train_inputs, train_targets, test_inputs"),
        (
            lambda path: None,
            {"input_size": 2},
            "waves.npz: input_size must be 3, the components of its inputs, got 2; leave it out",
        ),
        (lambda path: None, {"length": 6}, "waves.npz: length must be 7, the steps of its inputs, got 6; leave it out"),
        (
            lambda path: None,
            {"output_size": 2},
            "waves.npz: output_size must be at least 4, as the labels go up to 3, got 2",
        ),
    ],
    ids=["missing", "damaged", "truncated", "pickle", "incomplete", "objects", "single", "inputs", "steps", "outputs"],
)
def test_refused_files(archive, write, changes, message):
    write(archive)
    with pytest.raises(UserError, match=message):
        build_task(config(archive, **changes))


def test_sizes_are_taken_from_the_file_and_kept_in_checkpoints(archive, tmp_path):
    given = config(archive, input_size=None, output_size=None, epochs=1)
    full = dataclasses.replace(given, input_size=3, output_size=4, length=7, loss_on="last")
    assert completed(given) == full
    assert completed(full) is full
    assert completed(dataclasses.replace(given, output_size=9)).output_size == 9  # more classes than labels
    result = train(given, tmp_path / "run")
    assert TrainConfig.from_json((tmp_path / "run" / "config.json").read_text()) == given
    assert train(given, tmp_path / "run") == result
    expected = train(full, tmp_path / "full")
    assert expected.test_metrics == result.test_metrics
    archive.unlink()
    loaded = load_checkpoint(tmp_path / "run")  # needs no data
    assert loaded.config == full
    other = load_checkpoint(tmp_path / "full").model.state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in loaded.model.state_dict().items())
    with pytest.raises(UserError, match="there is no file"):
        build_model(given)


def test_checkpoints_of_ones_own_get_their_sizes_from_the_file(archive, tmp_path):
    given = config(archive, input_size=None, output_size=None)
    path = save_checkpoint(tmp_path / "mine", build_model(given), given, iteration=0)
    assert load_checkpoint(path).config == completed(given)
    assert stable_rate(given) == stable_rate(completed(given)) > 0


def test_data_that_have_changed_are_refused(archive, tmp_path):
    """A run goes on, and a checkpoint is analysed, with the sizes that it began with."""
    given = config(archive, input_size=None, output_size=None, epochs=1)
    train(given, tmp_path / "run")
    np.savez(
        archive,
        train_inputs=INPUTS[:, 1:],
        train_targets=LABELS,
        test_inputs=TEST_INPUTS[:, 1:],
        test_targets=TEST_LABELS,
    )
    with pytest.raises(UserError, match="length must be 6, the steps of its inputs, got 7"):
        analyze_checkpoint(tmp_path / "run", samples=2)


NAMES = ("train_inputs", "train_targets", "test_inputs", "test_targets")


def _save_one(path):
    with path.open("wb") as file:
        np.save(file, INPUTS)
