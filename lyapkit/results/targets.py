"""Checks of the name of a file before it is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def checked_path(path: Any, example: str) -> Path:
    """Return the user's name of a file as a path.

    Args:
        path: The user's argument.
        example: Such a name, for the message.

    Raises:
        TypeError: If it is not a name.
    """
    if not isinstance(path, str | os.PathLike):
        remedy = "give them one by one" if isinstance(path, list | tuple) else f'write a text such as "{example}"'
        raise TypeError(f"path must be the name of a file, got {type(path).__name__}; {remedy}.")
    return Path(path)


def target_of(path: Path) -> Path:
    """Return the file to replace: that of a link is what it points to.

    Args:
        path: Name of the file.

    Raises:
        FileNotFoundError: If the directory does not exist.
        IsADirectoryError: If it is a directory.
        ValueError: If it is a device or a pipe.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the directory {target.parent} does not exist; create it first.")
    if target.exists() and not target.is_file() and not target.is_dir():
        raise ValueError(f"{path} is a device or a pipe, not a regular file; give the name of a file.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; give the name of a file in it.")
    return target
