"""Read a pickle of plain values and byte arrays without executing anything that is written in it.

A pickle is a program: it may import and call any function. This reader knows three names, those by which NumPy pickles
an array, gives for each an inert stand-in of its own, and refuses every other name before it is imported.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from wcrnn_models.errors import UserError, clause

_UNSIGNED_BYTE = b"u1"


class _TypeRecord:
    """Stands for `numpy.dtype`: keeps the code it is called with."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment, which bytes do not have."""


class _ArrayRecord:
    """Stands for an array: keeps shape, type and content as they are written."""

    state: object = None  # also of one that is made without being initialised

    def __init__(self, *_: object) -> None:
        """Take the arguments of `_reconstruct`, which say nothing of the content."""

    def __setstate__(self, state: object) -> None:
        self.state = state


_STANDINS = {
    ("numpy.core.multiarray", "_reconstruct"): _ArrayRecord,
    ("numpy", "ndarray"): _ArrayRecord,
    ("numpy", "dtype"): _TypeRecord,
}


class _InertUnpickler(pickle.Unpickler):
    """Gives the stand-ins, and nothing else, for names."""

    def find_class(self, module: str, name: str) -> type:
        """Return the stand-in of a name.

        Raises:
            UserError: If there is no such class.
        """
        if (module, name) not in _STANDINS:
            raise UserError(f"it asks for {module}.{name}, which is code and not data; nothing was executed.")
        return _STANDINS[module, name]

    def persistent_load(self, pid: object) -> NoReturn:
        """Refuse references to objects outside of the file.

        Raises:
            UserError: If it is called: there is no such thing in data.
        """
        raise UserError(f"it refers to the object {pid!r} outside of the file.")


def read_inert_pickle(content: bytes) -> Any:
    """Return the values of a pickle: numbers, byte strings, lists, tuples and dictionaries; arrays as uint8 arrays.

    Strings of Python 2 are given as `bytes`.

    Args:
        content: The pickle.

    Returns:
        The value. Arrays are found at the top or among the values of a dictionary at the top, writeable.

    Raises:
        UserError: If it is damaged, names anything else, or holds an array of another type; nothing is executed.

    Example:
        >>> import pickle
        >>> read_inert_pickle(pickle.dumps({"labels": [3, 1]}))
        {'labels': [3, 1]}
        >>> read_inert_pickle(pickle.dumps(print))
        Traceback (most recent call last):
        lyapkit_command.errors.UserError: it asks for builtins.print, which is code and not data; nothing was executed.
    """
    try:
        value = _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except UserError:
        raise
    except Exception as error:  # what damaged pickles raise is not specified
        raise UserError(f"it is not a valid pickle ({type(error).__name__}: {clause(error)}).") from error
    if isinstance(value, dict):
        return {key: _array(entry) if isinstance(entry, _ArrayRecord) else entry for key, entry in value.items()}
    return _array(value) if isinstance(value, _ArrayRecord) else value


def _array(record: _ArrayRecord) -> NDArray[np.uint8]:
    match record.state:
        case (int(), tuple(shape), _TypeRecord(code=code), fortran, bytes(content)) if all(
            isinstance(size, int) and size >= 0 for size in shape
        ):
            pass
        case _:
            raise UserError("it holds an array without shape, type and content.")
    if code != _UNSIGNED_BYTE or fortran:
        raise UserError(
            f"it holds an array of type {code!r}{' in Fortran order' if fortran else ''}; only bytes are read."
        )
    if len(content) != math.prod(shape):
        raise UserError(f"it holds an array of shape {shape} with {len(content)} bytes.")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).copy()
