"""Arrays that a command line names: a NumPy file, or an array of an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lyapkit_command.errors import UserError
from lyapkit_command.numpy_files import read_archive, read_array

NUMBERS = "fiub"
"""Kinds of arrays that are numbers or truth values."""


def read_named(text: str, option: str) -> NDArray[Any]:
    """Return the array that an option names.

    Args:
        text: A name, ``FILE``, or ``FILE:NAME`` for an array of an archive. Its name is that of the option by default.
        option: Name of the option, without hyphens.

    Raises:
        UserError: If there is no such file or array, or it does not hold numbers.
    """
    path, name = _parts(text)
    if not path.is_file():
        raise UserError(f"there is no file {path} for --{option}; give a .npy or .npz file.")
    if zipfile.is_zipfile(path):
        (array,) = read_archive(path, [name or option])
    elif name:
        raise UserError(f"{path} holds one array, which has no name; write --{option} {path}.")
    else:
        array = read_array(path)
    if array.dtype.kind not in NUMBERS:
        raise UserError(f"the array for --{option} holds {array.dtype}, and numbers are needed; convert it.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _parts(text: str) -> tuple[Path, str]:
    """Return file and name; a colon in the name of a file that exists, or of a drive, is no separator."""
    file, _, name = text.rpartition(":")
    if Path(text).exists() or not file or set(name) & set("/\\"):
        return Path(text), ""
    return Path(file), name
