import gzip
import os
import struct

import numpy as np
import pytest
import torch
from torch.nn import functional

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import PermutedSequentialMNIST, SequentialMNIST, download
from wcrnn_models.tasks.images import ImageTask
from wcrnn_models.tasks.mnist import pixel_permutation

real_data = pytest.mark.skipif("WCRNN_DATA_DIR" not in os.environ, reason="WCRNN_DATA_DIR is not set")


@pytest.fixture
def data(small_mnist, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_mnist))
    return small_mnist


def raw(directory, part):
    """Pixels and labels without our reader."""
    pixels = gzip.decompress((directory / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((directory / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    return np.frombuffer(pixels, np.uint8).reshape(-1, 784), list(labels)


def test_test_batches_are_the_pixels_in_scan_line_order(data):
    pixels, labels = raw(data, "t10k")
    task = SequentialMNIST(dtype=torch.float64)
    ((inputs, targets),) = task.test_batches()
    assert inputs.shape == (784, 11, 1)
    assert np.array_equal(inputs[:, :, 0].numpy(), pixels.T / 255)
    assert targets.tolist() == labels


def test_permuted_pixels(data):
    ((inputs, labels),) = SequentialMNIST().test_batches()
    ((permuted, same_labels),) = PermutedSequentialMNIST().test_batches()
    order = pixel_permutation().tolist()
    assert torch.equal(labels, same_labels)
    assert all(torch.equal(permuted[step], inputs[pixel]) for step, pixel in enumerate(order))


def test_the_permutation_is_fixed():
    order = pixel_permutation().tolist()
    assert sorted(order) == list(range(784))
    assert order[:8] == PERMUTATION_START
    assert pixel_permutation(1).tolist() != order


PERMUTATION_START = [269, 11, 403, 600, 196, 608, 657, 150]


def test_an_epoch_shows_every_image_once_in_a_new_order(data):
    pixels, labels = raw(data, "train")
    task = SequentialMNIST(batch_size=8, dtype=torch.float64)
    assert task.iterations_per_epoch == 4

    def epoch(number):
        batches = [task.train_batch(4 * number + position) for position in range(4)]
        assert [inputs.shape[1] for inputs, _ in batches] == [8, 8, 8, 6]
        shown = torch.cat([inputs for inputs, _ in batches], dim=1)[:, :, 0].T.numpy() * 255
        return [row.round().astype(int).tolist() for row in shown], torch.cat([label for _, label in batches])

    expected = sorted(zip(pixels.tolist(), labels, strict=True))
    orders = [epoch(0), epoch(1)]
    for rows, found in orders:
        assert sorted(zip(rows, found.tolist(), strict=True)) == expected
    assert orders[0][0] != orders[1][0]


def test_batches_depend_on_seed_and_iteration_alone(data):
    task = SequentialMNIST(batch_size=8, seed=1)
    later = task.train_batch(6)
    task.train_batch(0)
    fresh, other = SequentialMNIST(batch_size=8, seed=1), SequentialMNIST(batch_size=8, seed=2)
    assert torch.equal(later[0], fresh.train_batch(6)[0])
    assert torch.equal(later[0], task.train_batch(6)[0])
    assert not torch.equal(later[0], other.train_batch(6)[0])


def test_limits_take_random_images_that_the_seed_of_the_training_does_not_change(data):
    _, labels = raw(data, "t10k")
    task = SequentialMNIST(train_size=5, test_size=3, batch_size=2)
    assert task.iterations_per_epoch == 3
    chosen = np.sort(np.argsort(np.random.PCG64(2).random_raw(len(labels)))[:3])
    assert chosen.tolist() != [0, 1, 2]
    tested = torch.cat([targets for _, targets in task.test_batches()]).tolist()
    assert tested == [labels[index] for index in chosen]
    other = SequentialMNIST(train_size=5, test_size=3, batch_size=2, seed=7)
    assert torch.cat([targets for _, targets in other.test_batches()]).tolist() == tested
    seen = torch.cat([task.train_batch(iteration)[1] for iteration in range(3)])
    chosen = np.argsort(np.random.PCG64(1).random_raw(len(raw(data, "train")[1])))[:5]
    assert sorted(seen.tolist()) == sorted(raw(data, "train")[1][index] for index in chosen)


def test_held_out_images_are_judged_by_and_never_trained_on(data):
    count = len(raw(data, "train")[1])
    task = SequentialMNIST(batch_size=count, validation_size=3)
    judged = torch.cat([inputs for inputs, _ in task.test_batches()], dim=1)
    trained, _ = task.train_batch(0)
    everything, _ = SequentialMNIST(batch_size=count).train_batch(0)
    assert (judged.shape[1], trained.shape[1], task.iterations_per_epoch) == (3, count - 3, 1)
    together = torch.cat([judged, trained], dim=1).squeeze(-1).t()
    assert sorted(together.tolist()) == sorted(everything.squeeze(-1).t().tolist())
    with pytest.raises(UserError, match=f"validation_size must be between 1 and {count - 1}, got {count}"):
        SequentialMNIST(validation_size=count)
    with pytest.raises(UserError, match=f"train_size must be between 1 and {count - 3}, got {count}"):
        SequentialMNIST(validation_size=3, train_size=count)


def test_loss_and_metric(data):
    task = SequentialMNIST()
    outputs, labels = torch.eye(10)[[3, 1, 4, 1]], torch.tensor([3, 1, 4, 0])
    assert task.metric(outputs, labels) == 0.75
    expected = -functional.log_softmax(outputs, dim=-1)[range(4), labels].mean()
    torch.testing.assert_close(task.loss(outputs, labels), expected)
    assert task.reaches(0.5)
    assert not task.reaches(0.49)
    assert task.is_better(0.6, 0.5)


def test_metric_over_an_unequal_last_batch_is_exact():
    pixels, labels = torch.zeros(501, 784, dtype=torch.uint8), torch.zeros(501, dtype=torch.int64)
    labels[-1] = 1  # wrong only in the last batch, which has one sample
    task = ImageTask((pixels[:1], labels[:1]), (pixels, labels))
    always_zero = lambda inputs: torch.eye(10)[torch.zeros(inputs.shape[1], dtype=torch.int64)]  # noqa: E731
    assert task.test_metric(always_zero) == 500 / 501


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"train_size": 31}, "train_size must be between 1 and 30, got 31"),
        ({"test_size": 0}, "test_size must be between 1 and 11, got 0"),
    ],
    ids=["batch", "seed", "train", "test"],
)
def test_refused_options(data, options, message):
    with pytest.raises(UserError, match=message):
        SequentialMNIST(**options)


@pytest.mark.parametrize("labels", [bytes(29), bytes([10] * 30)], ids=["count", "value"])
def test_files_that_do_not_belong_together(data, monkeypatch, labels):
    path = data / "train-labels-idx1-ubyte.gz"
    path.write_bytes(struct.pack(">II", 2049, len(labels)) + labels)
    monkeypatch.setattr(download, "verify", lambda *_: None)
    with pytest.raises(UserError, match="do not belong together"):
        SequentialMNIST()


@real_data
def test_real_mnist_has_the_published_label_counts():
    task = SequentialMNIST()
    train, test = torch.bincount(task.train_labels).tolist(), torch.bincount(task.test_labels).tolist()
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert task.iterations_per_epoch == 469
    assert task.train_pixels.shape == (60_000, 784)
    assert sum(len(targets) for _, targets in task.test_batches()) == 10_000
