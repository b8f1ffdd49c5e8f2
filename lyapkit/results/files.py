"""Result files: netCDF through h5netcdf, written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from lyapkit.checks.clause import clause
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.results.attributes import NUMBERS, restored, storable
from lyapkit.results.targets import checked_path, target_of
from lyapkit.results.temporary import temporary_file

SUFFIX = ".nc"
TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx", ".parquet", ".feather", ".json")
OTHER_FORMATS = (*TABLES, ".h5", ".hdf5", ".hdf", ".nc4", ".cdf", ".zarr", ".pkl", ".pickle", ".pt", ".npz", ".npy")
"""Suffixes of other formats, under which netCDF must not be written."""

BOOKKEEPING_BYTES = 2**20
"""Bytes for the contents of a file besides its numbers: names, attributes, indices."""


PACKED_RATIO, PACKED_ROOM = 64, 2**26
"""A file may unpack to 64 times its size and 64 MiB; no source, chosen above what numbers can be packed to, and below
the thousandfold that HDF5's filters can. What `save` writes is not packed."""


@named_arguments()
def save(result: xr.Dataset | xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a result to a netCDF file, whose name ends in ``.nc``.

    The file is written under a temporary name in the same directory and then moved, so that a crash or a full
    disk leaves either the old file or the new one. Arrays of numbers are stored with checksums.

    Attributes are texts, numbers, or lists and arrays of either. Others, such as truth values and None, are refused
    rather than converted, so that `load` gives back what was saved. Of the encoding of a variable, compression is kept
    (``zlib``, ``complevel``, ``compression``, ``compression_opts``, ``shuffle``); what packs or rounds numbers is not.
    For a table, choose a variable: ``result["lyapunov_exponent"].to_dataframe().to_csv("exponents.csv")``.

    Args:
        result: A Dataset of one analysis, or the DataTree of several.
        path: Name of the file, ending in ``.nc``; an existing file is replaced.

    Returns:
        The path.

    Raises:
        TypeError: If ``result`` is neither, ``path`` is not a name, or an attribute or a variable is of a kind that
            netCDF cannot hold.
        FileNotFoundError: If the directory does not exist.
        IsADirectoryError: If ``path`` is a directory.
        ValueError: If ``path`` is a device or a pipe, or does not end in ``.nc``, or a name cannot be stored.
        OSError: If the disk has no room for the file, or cannot be written to; the old file, if any, is as it was.

    Example:
        >>> import lyapkit, tempfile, torch
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=100)
        >>> path = lyapkit.save(ds, tempfile.mkdtemp() + "/henon.nc")
        >>> bool((lyapkit.load(path).lyapunov_exponent == ds.lyapunov_exponent).all())
        True
    """
    if not isinstance(result, xr.Dataset | xr.DataTree):
        raise TypeError(no_result("save", result))
    path = checked_path(path, f"result{SUFFIX}")
    target = target_of(path)
    if path.suffix.casefold() != SUFFIX:
        raise ValueError(_other_suffix(result, path))
    if isinstance(result, xr.Dataset):
        result = storable(result)
    else:
        nodes = {node.path: storable(node.to_dataset(inherit=False), node.path) for node in result.subtree}
        result = xr.DataTree.from_dict(nodes, name=result.name)
    _refuse_full_disk(result.nbytes, target.parent)
    with temporary_file(target.parent) as temporary:
        if isinstance(result, xr.Dataset):
            result.to_netcdf(temporary, engine="h5netcdf", encoding=_encoding(result))
        else:
            encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in result.subtree}
            result.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        temporary.replace(target)
    return path


def no_result(function: str, given: object) -> str:
    """Say that a function was given something else than a result, and how to get one.

    Args:
        function: Its name; it takes a result and a path.
        given: What it was given.
    """
    remedy = ""
    if isinstance(given, xr.DataArray):
        remedy = "; pass the whole result, or keep one variable of it with result[[name]]"
    elif isinstance(given, dict):
        remedy = "; join several with xarray.DataTree.from_dict"
    elif isinstance(given, str | os.PathLike):
        remedy = "; the result comes first, the path second (lyapkit.load reads a result file)"
    return f"{function} takes an xarray Dataset or DataTree, got {type(given).__name__}{remedy}."


def _other_suffix(result: xr.Dataset | xr.DataTree, path: Path) -> str:
    """Say why a file cannot be written under a name, and propose another."""
    stem = path.stem if path.suffix.casefold() in OTHER_FORMATS else path.name.split(f"{SUFFIX}.")[0]
    stem = stem.strip().removesuffix(SUFFIX) or "result"
    remedy = f'write "{stem}{SUFFIX}"'
    if path.suffix.casefold() in TABLES:
        nodes = result.subtree if isinstance(result, xr.DataTree) else [result]
        names = [(getattr(node, "path", ""), str(name)) for node in nodes for name in node.data_vars]
        if names:
            chosen = "/".join(names[0]).strip("/")
            remedy += f'. For a table, choose a variable: result["{chosen}"].to_dataframe().to_csv("{path.stem}.csv")'
    return f'result files are netCDF, with names that end in {SUFFIX}, got "{path.name}"; {remedy}.'


def _encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Add checksums, by which HDF5 notices numbers that have changed in the file (Fletcher 32), to what is kept."""
    return {
        str(name): {"fletcher32": True, **variable.encoding}
        for name, variable in dataset.variables.items()
        if variable.ndim and variable.size and variable.dtype.kind in NUMBERS
    }


def _most_bytes(path: Path) -> int:
    """Return what the arrays of a file of this size may take."""
    return PACKED_RATIO * path.stat().st_size + PACKED_ROOM


def _refuse_full_disk(size: int, directory: Path) -> None:
    """Refuse to write a file that will not fit, since HDF5 ends the whole process where it meets a full disk.

    Raises:
        OSError: If there is not room for twice the numbers and the bookkeeping of a file.
    """
    free, needed = shutil.disk_usage(directory).free, 2 * size + BOOKKEEPING_BYTES
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {needed} bytes are needed, {free} are free", str(directory)
        )


@named_arguments()
def load(path: str | os.PathLike[str]) -> xr.Dataset | xr.DataTree:
    """Read a result file into memory and close it.

    Args:
        path: A file that `save` wrote.

    Returns:
        A DataTree when the file holds several analyses, else a Dataset.

    Raises:
        TypeError: If ``path`` is not a name.
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a netCDF-4 file, holds no results, or is damaged: its arrays of numbers do not
            fit their checksums (names, attributes and single numbers have none), or its structure cannot be read.

    Example:
        >>> import lyapkit, tempfile
        >>> path = tempfile.mkdtemp() + "/cat.nc"
        >>> _ = lyapkit.save(lyapkit.lyapunov_spectrum(lyapkit.systems.cat_map().map, steps=50), path)
        >>> lyapkit.load(path).lyapunov_exponent.attrs["units"]
        'nats per step'
    """
    path = checked_path(path, f"result{SUFFIX}")
    if not path.is_file():
        beside = path.with_name(path.name + SUFFIX) if path.name else path
        remedy = f"; there is {beside}" if beside.is_file() else ""
        raise FileNotFoundError(f"there is no result file {path}{remedy}.")
    try:
        with h5py.File(path):  # h5netcdf leaves a half-open object behind where this fails
            pass
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            size, most = sum(node.to_dataset(inherit=False).nbytes for node in tree.subtree), _most_bytes(path)
            if size > most:
                raise OSError(f"it would take {size} bytes of memory, and may take {most}; it is damaged.")
            loaded = tree.load()
        for node in loaded.subtree:
            node.dataset = restored(node.to_dataset(inherit=False))
    except (OSError, KeyError, RuntimeError) as error:  # h5py raises KeyError and RuntimeError on damaged metadata
        remedy = "" if path.suffix.casefold() == SUFFIX else f". load reads the {SUFFIX} files that save writes"
        raise ValueError(f"{path} is not a result file (netCDF-4): {clause(error)}{remedy}.") from error
    if not any("schema_version" in node.attrs for node in loaded.subtree):
        raise ValueError(f"{path} is a netCDF or HDF5 file, but holds no results: nothing has a schema_version.")
    return loaded if loaded.children else loaded.to_dataset()
