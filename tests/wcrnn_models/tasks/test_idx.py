import gzip
import struct

import numpy as np
import pytest

from wcrnn_models.errors import UserError
from wcrnn_models.tasks.idx import read_idx

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
IMAGE_BYTES = struct.pack(">IIII", 2051, 2, 3, 4) + IMAGES.tobytes()
LABEL_BYTES = struct.pack(">II", 2049, 5) + bytes([7, 2, 1, 0, 4])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_images_and_labels(tmp_path, pack):
    (tmp_path / "images").write_bytes(pack(IMAGE_BYTES))
    (tmp_path / "labels").write_bytes(pack(LABEL_BYTES))
    images = read_idx(tmp_path / "images", 3)
    assert np.array_equal(images, IMAGES)
    assert images.flags.writeable
    assert read_idx(tmp_path / "labels", 1).tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with 00000803, got nothing"),
        (LABEL_BYTES, "must start with 00000803, got 00000801"),
        (b"\x00\x00\x0d\x03" + IMAGE_BYTES[4:], "unsigned bytes .*got 00000d03"),
        (IMAGE_BYTES[:10], "truncated: its header needs 16 bytes, got 10"),
        (IMAGE_BYTES[:-1], "truncated: its header announces 2 x 3 x 4 = 24 bytes, got 23"),
        (IMAGE_BYTES + b"\x00", "trailing bytes: .*24 bytes, got 25"),
        (gzip.compress(IMAGE_BYTES)[:-12], "corrupt gzip"),
        (gzip.compress(IMAGE_BYTES)[:12] + b"\xff" * 20, "corrupt gzip"),
        (gzip.compress(IMAGE_BYTES)[:-8] + bytes(8), "corrupt gzip"),
    ],
    ids=["empty", "labels", "floats", "header", "short", "long", "gzip cut", "gzip bytes", "gzip crc"],
)
def test_refused_files_are_named(tmp_path, content, message):
    path = tmp_path / "some-images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"the file .*nowhere.* does not exist"):
        read_idx(tmp_path / "nowhere", 3)
