"""Arrays from NumPy files, without executing anything in them and within the memory that their sizes allow."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lyapkit_command.errors import UserError, clause, suggestion

PACKED_RATIO, PACKED_ROOM = 64, 2**26
"""An archive may unpack to 64 times its size and 64 MiB; no source, chosen above what compressed data sets of floats
take, and below the thousandfold that deflate can."""

T = TypeVar("T")

_PICKLES = (".pt", ".pth", ".pkl", ".ckpt")
_LONGEST = 8  # bytes of a number; longer ones depend on the machine


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of a ``.npy`` file.

    Raises:
        UserError: If it is no such file, damaged, or not of plain numbers of at most 64 bits.
    """
    return _guarded(path, "file", "numpy.save", lambda: _array_of_file(path))


def read_archive(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Return arrays of a ``.npz`` file.

    Args:
        path: The file.
        names: Names of the arrays.

    Raises:
        UserError: If it is no such file, damaged, lacks an array, unpacks to more than `PACKED_RATIO` times
            its size and `PACKED_ROOM` bytes, or does not hold plain numbers of at most 64 bits.
    """
    return _guarded(path, "archive", "numpy.savez", lambda: _arrays_of_archive(path, names))


def _guarded(path: Path, what: str, writer: str, read: Callable[[], T]) -> T:
    if path.suffix in _PICKLES:
        raise UserError(
            f"{path} is a pickle file, which is not read, because loading one can execute code; save the tensors of "
            f"torch.load({str(path)!r}, weights_only=True) by {writer}, each as tensor.numpy()."
        )
    try:
        return read()
    except UserError:
        raise
    except Exception as error:  # NumPy promises no type of error for damaged files
        raise UserError(
            f"{path} is not a NumPy {what} of plain numbers ({clause(error)}); save it with {writer}, without objects."
        ) from error


def _array_of_file(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            raise UserError(f"{path} is an archive of several arrays; save one with numpy.save.")
        file.seek(0)
        _check_header(path.name, file, path.stat().st_size)
        file.seek(0)
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def _arrays_of_archive(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            if file.read(6) == b"\x93NUMPY":
                raise UserError(f"{path} holds one array; save {', '.join(names)} with numpy.savez.")
            raise ValueError("it is cut off, or something else.")
        with zipfile.ZipFile(file) as archive:
            parts = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in names if name not in parts]:
                raise UserError(
                    f"{path} lacks {', '.join(missing)}.{suggestion(missing[0], parts.keys() - set(names))} It has "
                    f"{', '.join(parts) or 'nothing'}; numpy.savez saves several arrays."
                )
            size = sum(parts[name].file_size for name in names)
            most = PACKED_RATIO * path.stat().st_size + PACKED_ROOM
            if size > most:
                raise UserError(
                    f"{path} unpacks to {size} bytes, more than {most}, {PACKED_RATIO} times its size; if that is "
                    "meant, save it with numpy.savez, which does not pack."
                )
            for name in names:
                with archive.open(parts[name]) as part:
                    _check_header(name, part, parts[name].file_size)
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]


def _check_header(name: str, file: IO[bytes], size: int) -> None:
    """See that an array is of plain numbers, and as large as its file, before room is made for it."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name} has the unknown version {version}.")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject or dtype.names is not None:
        raise ValueError(f"{name} holds objects or records ({dtype}).")
    if dtype.kind in "fiu" and dtype.itemsize > _LONGEST:
        raise ValueError(f"{name} holds numbers of {8 * dtype.itemsize} bits; .astype('f8') converts them.")
    needed = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or file.tell() + needed > size:
        raise ValueError(f"{name} is cut off: its shape {shape} needs {needed} bytes, the file has {size}.")
