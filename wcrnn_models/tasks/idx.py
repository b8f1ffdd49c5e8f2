"""Reader of the IDX format of MNIST: a magic number, the sizes, and the bytes."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyapkit_command.numpy_files import PACKED_RATIO, PACKED_ROOM
from wcrnn_models.errors import UserError, clause

_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read unsigned bytes from an IDX file, gzipped or plain.

    The file starts with two zero bytes, a type code (8 for unsigned bytes) and the number of dimensions,
    followed by the size of each as a big-endian 32-bit integer, and then the entries in C order.

    Args:
        path: The file.
        dimensions: Expected number of dimensions: 3 for images, 1 for labels.

    Returns:
        The entries, writeable, with the sizes of the file.

    Raises:
        UserError: If the file is missing, corrupt, of another type, too short or too long; the text names it.
    """
    try:
        packed = Path(path).read_bytes()
        content = packed
        if packed.startswith(_GZIP_MAGIC):
            most = PACKED_RATIO * len(packed) + PACKED_ROOM
            content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(most + 1)
            if len(content) > most:
                raise UserError(
                    f"{path} unpacks to more than {most} bytes, {PACKED_RATIO} times its size; fetch it again."
                )
    except FileNotFoundError:
        raise UserError(f"the file {path} does not exist.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is a corrupt gzip file ({clause(error)}); fetch it again.") from error
    header_length = 4 + 4 * dimensions
    expected_magic = bytes((0, 0, _UINT8, dimensions))
    if content[:4] != expected_magic:
        raise UserError(
            f"{path} is not an IDX file of unsigned bytes with {dimensions} dimension(s): it must start with "
            f"{expected_magic.hex()}, got {content[:4].hex() or 'nothing'}."
        )
    if len(content) < header_length:
        raise UserError(
            f"{path} is truncated: its header needs {header_length} bytes, got {len(content)}; fetch it again."
        )
    sizes = struct.unpack(f">{dimensions}I", content[4:header_length])
    expected, found = math.prod(sizes), len(content) - header_length
    if found != expected:
        fault = "is truncated" if found < expected else "has trailing bytes"
        raise UserError(
            f"{path} {fault}: its header announces {' x '.join(map(str, sizes))} = {expected} bytes, "
            f"got {found}; fetch it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_length).reshape(sizes).copy()
