import dataclasses
import gzip
import hashlib
import struct
import tarfile

import numpy as np
import pytest

from wcrnn_models.tasks import datasets


def checksum(content: bytes) -> datasets.Checksum:
    return datasets.Checksum(hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())


def python2_batch(planes: np.ndarray, labels: list[int]) -> bytes:
    """A pickle as Python 2 wrote those of CIFAR-10, opcode by opcode."""
    rows, columns = planes.shape
    content = planes.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + b"U\x01b" + b"\x87R"
        b"(K\x01" + b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", columns) + b"\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + b"T" + struct.pack("<I", len(content)) + content + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


@pytest.fixture(name="python2_batch")
def _python2_batch():
    return python2_batch


@pytest.fixture(name="checksum")
def _checksum():
    return checksum


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """An empty cache and no data directory."""
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)


@pytest.fixture
def small_mnist(tmp_path, monkeypatch, no_data):
    """A directory with four IDX files of random digits, whose checksums are taken for those of MNIST."""
    directory = tmp_path / "mirror"
    directory.mkdir()
    random = np.random.default_rng(0)
    checksums = {}
    for part, count in (("train", 30), ("t10k", 11)):
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = random.integers(0, 10, count, dtype=np.uint8)
        files = {
            f"{part}-images-idx3-ubyte.gz": struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes(),
            f"{part}-labels-idx1-ubyte.gz": struct.pack(">II", 2049, count) + labels.tobytes(),
        }
        for name, content in files.items():
            packed = gzip.compress(content, mtime=0)
            (directory / name).write_bytes(packed)
            checksums[name] = checksum(packed)
    monkeypatch.setitem(datasets.DATA_SETS, "mnist", dataclasses.replace(datasets.MNIST, files=checksums))
    return directory


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch, no_data):
    """A directory with the archive of six batches of four random pictures, taken for CIFAR-10, and with the batches."""
    directory = tmp_path / "pictures"
    (directory / "cifar-10-batches-py").mkdir(parents=True)
    random = np.random.default_rng(1)
    checksums = {}
    with tarfile.open(directory / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name in datasets.CIFAR10.files:
            planes = random.integers(0, 256, (4, 3072), dtype=np.uint8)
            content = python2_batch(planes, random.integers(0, 10, 4).tolist())
            path = directory / "cifar-10-batches-py" / name
            path.write_bytes(content)
            checksums[name] = checksum(content)
            archive.add(path, f"cifar-10-batches-py/{name}")
    packed = checksum((directory / "cifar-10-python.tar.gz").read_bytes())
    archive_record = dataclasses.replace(datasets.CIFAR10.archive, checksum=packed)
    changed = dataclasses.replace(datasets.CIFAR10, files=checksums, archive=archive_record)
    monkeypatch.setitem(datasets.DATA_SETS, "cifar10", changed)
    return directory
