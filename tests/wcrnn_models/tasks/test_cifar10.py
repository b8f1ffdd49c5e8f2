import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import SequentialCIFAR10, datasets
from wcrnn_models.tasks.cifar10 import grey
from wcrnn_models.tasks.download import find_file
from wcrnn_models.tasks.inert_pickle import read_inert_pickle

real_data = pytest.mark.skipif("WCRNN_DATA_DIR" not in os.environ, reason="WCRNN_DATA_DIR is not set")


@pytest.fixture
def data(small_cifar10, monkeypatch):
    monkeypatch.setenv("WCRNN_DATA_DIR", str(small_cifar10))
    return small_cifar10 / "cifar-10-batches-py"


def raw(directory, name):
    """Planes and labels without our reader: their place in a pickle of that structure is known."""
    content = (directory / name).read_bytes()
    labels = content[content.index(b"U\x06labels](") + 10 :]
    start = content.index(b"\x89T") + 6
    return np.frombuffer(content[start : start + 4 * 3072], np.uint8).reshape(4, 3, 1024), list(labels[1:8:2])


def test_sequences_are_grey_in_scan_line_order(data):
    planes, labels = raw(data, "test_batch")
    task = SequentialCIFAR10(dtype=torch.float64)
    ((inputs, targets),) = task.test_batches()
    assert inputs.shape == (1024, 4, 1)
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), planes, axes=(0, 1))  # (4, 1024)
    np.testing.assert_allclose(inputs[:, :, 0].numpy() * 255, luma.T, atol=0.51)
    assert targets.tolist() == labels
    assert (task.sequence_length, task.input_size, task.output_size, task.iterations_per_epoch) == (1024, 1, 10, 1)
    assert not task.reaches(0.99)  # the paper names no minimal performance


def test_the_five_training_batches_follow_each_other(data):
    task = SequentialCIFAR10(batch_size=20)
    labels = [label for number in range(1, 6) for label in raw(data, f"data_batch_{number}")[1]]
    assert task.train_labels.tolist() == labels
    assert sorted(task.train_batch(0)[1].tolist()) == sorted(labels)


def pillow(planes):
    """(count, 3 P) to (count, P), by Pillow."""
    pixels = np.ascontiguousarray(planes.reshape(len(planes), 3, -1).transpose(0, 2, 1))
    return np.asarray(Image.fromarray(pixels).convert("L"))


def test_grey_is_that_of_pillow():
    planes = np.random.default_rng(2).integers(0, 256, (300, 3 * 50), dtype=np.uint8)
    planes[:8] = np.repeat([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], 50, axis=1)
    assert np.array_equal(grey(planes), pillow(planes))
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(grey(np.stack([every, every, every], axis=1)).flatten(), every)  # grey stays as it is


PLANES = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: pickle.dumps(print), "it asks for builtins.print, which is code"),
        (lambda _: pickle.dumps([1]), "lacks images or their labels"),
        (lambda batch: batch(PLANES, [1]), "lacks images or their labels"),
        (lambda batch: batch(PLANES[:, :3000], [1, 2]), "lacks images or their labels"),
        (lambda batch: batch(PLANES, [1, 10]), "labels are not integers from 0 to 9"),
    ],
    ids=["code", "list", "count", "size", "label"],
)
def test_a_batch_that_is_none_is_named(data, monkeypatch, python2_batch, checksum, make, message):
    """Its checksum is right: what counts is that reading executes nothing even then."""
    content = make(python2_batch)
    (data / "test_batch").write_bytes(content)
    dataset = datasets.DATA_SETS["cifar10"]
    monkeypatch.setitem(dataset.files, "test_batch", checksum(content))
    with pytest.raises(UserError, match=f"test_batch is not a CIFAR-10 batch: .*{message}.*; fetch it again"):
        SequentialCIFAR10()


def test_a_wrong_checksum_is_refused_before_anything_is_read(data):
    (data / "data_batch_3").write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match=r"data_batch_3 has a wrong checksum: .*run `wcrnn data fetch cifar10`"):
        SequentialCIFAR10()


def test_limits(data):
    task = SequentialCIFAR10(train_size=7, test_size=2, batch_size=3)
    assert task.iterations_per_epoch == 3
    assert sum(len(targets) for _, targets in task.test_batches()) == 2
    with pytest.raises(UserError, match="train_size must be between 1 and 20, got 21"):
        SequentialCIFAR10(train_size=21)


@real_data
@pytest.mark.slow
def test_the_real_pictures():
    task = SequentialCIFAR10()
    assert torch.bincount(task.train_labels).tolist() == [5000] * 10
    assert torch.bincount(task.test_labels).tolist() == [1000] * 10
    assert float(task.train_pixels.double().mean()) / 255 == pytest.approx(0.480861, abs=1e-6)
    assert task.iterations_per_epoch == 391
    planes = read_inert_pickle(find_file("cifar10", "test_batch").read_bytes())[b"data"]
    assert np.array_equal(task.test_pixels.numpy(), pillow(planes))
