"""Attributes and variables in the forms that netCDF holds, and remedies for those that it does not hold."""

from __future__ import annotations

import datetime
import enum
import json
import numbers
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr

REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "write int(value)"),
    (type(None), "leave it out, or write a text such as 'none'"),
    (enum.Enum, "write its .name"),
    (PurePath, "write str(path)"),
    (Mapping, "write json.dumps(value), or one attribute for each entry"),
    (Set, "write sorted(value)"),
    ((datetime.date, datetime.time), "write value.isoformat()"),
    (datetime.timedelta, "write value.total_seconds()"),
    ((np.datetime64, np.timedelta64), "write str(value)"),
    ((xr.DataArray, xr.Dataset), "make it a variable of the result"),
    ((numbers.Rational, numbers.Complex), "write float(value), or str(value)"),
    (bytes, "write value.decode()"),
    (np.ma.MaskedArray, "write value.filled(...)"),
)
"""Remedies for the kinds of values that netCDF cannot hold."""

RESERVED = frozenset(
    ["CLASS", "NAME", "DIMENSION_LABELS", "DIMENSION_LIST", "REFERENCE_LIST", "coordinates", "_nc3_strict"]
) | {"_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid", "lists_of_one_json"}
"""Names of attributes that files use themselves, and that are removed when they are read."""
LISTS_OF_ONE = "lists_of_one_json"
"""Name of the attribute that lists which others have one row or entry: readers of netCDF take this dim off."""
LOSSLESS = frozenset(("zlib", "complevel", "compression", "compression_opts", "shuffle"))
"""Encodings that are kept: they make files smaller and change no numbers."""
NUMBERS = "iufb"
"""Kinds of variables whose arrays are compressed and have checksums."""
DECODED = frozenset(
    ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype", "bounds")
)
"""Names of attributes of a variable by which readers change numbers, types or coordinates."""


def storable(dataset: xr.Dataset, where: str = "") -> xr.Dataset:
    """Return the Dataset with its attributes in the form that netCDF holds: texts, numbers, or arrays of either.

    Subclasses of ``str``, such as NumPy's and PyTorch's version, become plain texts, and arrays of texts become lists.
    Nothing else is converted, since a file has to return what was saved.

    Args:
        dataset: The Dataset, which stays unchanged.
        where: Its place in a tree, for messages.

    Raises:
        TypeError: If an attribute or a variable has no such form; the message names it and says what to write.
        ValueError: If a name cannot be that of an attribute or variable.
    """
    place = f" of the node {where!r}" if where else ""
    stored = dataset.drop_encoding()  # or else numbers would be packed as in the file they came from
    for name, variable in dataset.variables.items():
        if variable.ndim and variable.size and variable.dtype.kind in NUMBERS:
            stored[name].encoding = {key: value for key, value in variable.encoding.items() if key in LOSSLESS}
    stored.attrs = _attributes(dataset.attrs, place)
    for name, variable in dataset.variables.items():
        _check_name("variable", name, place)
        _check_objects(name, variable, place)
        _check_decoding(name, variable, place)
        stored[name].attrs = _attributes(variable.attrs, f" of the variable {name!r}{place}")
    return stored


def _attributes(attributes: Mapping[Any, Any], place: str) -> dict[str, Any]:
    for name in attributes:
        _check_name("attribute", name, place)
    stored = {name: _attribute(name, value, place) for name, value in attributes.items()}
    single = [name for name, value in stored.items() if np.ndim(value) and len(value) == 1]
    return stored | {LISTS_OF_ONE: json.dumps(single)} if single else stored


def restored(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset from a file with lists of one entry or row as such, where `storable` noted that they were."""
    for attributes in (dataset.attrs, *(variable.attrs for variable in dataset.variables.values())):
        for name in json.loads(attributes.pop(LISTS_OF_ONE, "[]")):
            value = attributes[name]
            attributes[name] = [value] if isinstance(value, str) else np.asarray(value)[np.newaxis]
    return dataset


def _check_name(kind: str, name: Any, place: str) -> None:
    if not isinstance(name, str) or not name or "\0" in name or (kind == "variable" and "/" in name):
        raise ValueError(
            f"the name of the {kind} {name!r}{place} must be a text, not empty and without "
            f"{'slashes or ' if kind == 'variable' else ''}null characters; rename it."
        )
    if kind == "attribute" and name in RESERVED:
        raise ValueError(f"the name of the attribute {name!r}{place} is one that netCDF uses itself; rename it.")


def _check_decoding(name: Any, variable: xr.Variable, place: str) -> None:
    """Refuse attributes by which a reader would change the stored numbers."""
    found = sorted(DECODED & variable.attrs.keys())
    units = variable.attrs.get("units")
    if isinstance(units, str) and " since " in units and variable.dtype.kind in "iuf":
        found.append("units")
    if found:
        raise ValueError(
            f"the attribute {found[0]!r} of the variable {name!r}{place} is one by which readers of netCDF make other "
            "numbers, types or coordinates; rename it."
        )


def _check_objects(name: Any, variable: xr.Variable, place: str) -> None:
    wrong = [value for value in variable.values.flat if not isinstance(value, str)] if variable.dtype == object else []
    if wrong:
        remedy = f"split it with .reset_index({name!r})" if isinstance(wrong[0], tuple) else _remedy(wrong[0])
        raise TypeError(
            f"the variable {name!r}{place} holds {_described(wrong[0])}, and netCDF holds numbers and texts only; "
            f"{remedy}."
        )


def _attribute(name: str, value: Any, place: str) -> Any:
    if isinstance(value, str) and "\0" not in value:
        return str(value)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(_refusal(name, value, place))
    if isinstance(value, numbers.Number | np.ndarray | list | tuple):
        parts = value if isinstance(value, list | tuple) else ()
        array = _as_array(value)
        flags = any(isinstance(part, bool | np.bool_) for part in parts)
        if array.dtype.kind in "iufc" and not flags:
            return value
        if array.dtype.kind == "U" and array.ndim <= 1 and all(isinstance(part, str) for part in parts):
            return array.tolist()
    raise TypeError(_refusal(name, value, place))


def _refusal(name: str, value: Any, place: str) -> str:
    return (
        f"the attribute {name!r}{place} is {_described(value)}, and netCDF holds texts, numbers and lists of either; "
        f"{_remedy(value)}."
    )


def _as_array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or not of numbers
        return np.asarray(None)


def _described(value: Any) -> str:
    shown = repr(value).split("\n", 1)[0]
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(value).__name__})"


def _remedy(value: Any) -> str:
    for kinds, remedy in REMEDIES:
        if isinstance(value, kinds):
            return remedy
    if isinstance(value, str):
        return "take the null characters out"
    if isinstance(value, np.ndarray) and value.dtype == bool:
        return "write value.astype(int)"
    if isinstance(value, list | tuple) and any(isinstance(part, bool | np.bool_) for part in value):
        return "write [int(part) for part in value]"
    if isinstance(value, list | tuple | np.ndarray):
        return "write [str(part) for part in value], or json.dumps(value)"
    if hasattr(value, "tolist"):
        return "write value.tolist()"
    return "write str(value), or leave it out"
