import gzip
import hashlib
import struct

import numpy as np
import pytest

from wcrnn_models.tasks import download


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
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
            checksums[name] = download.Checksum(hashlib.sha256(packed).hexdigest(), hashlib.md5(packed).hexdigest())
    monkeypatch.setattr(download, "MNIST_FILES", checksums)
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    return directory
