"""Files of the data sets: find them, check their checksums, and get them."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from wcrnn_models.errors import UserError, clause, suggestion
from wcrnn_models.files import write_atomically
from wcrnn_models.tasks.datasets import DATA_SETS, Archive, Checksum, DataSet


def cache_directory() -> Path:
    """Return the folder of fetched files: ``WCRNN_CACHE_DIR``, or ``wcrnn`` in the user's cache directory."""
    if configured := os.environ.get("WCRNN_CACHE_DIR"):
        return Path(configured).expanduser()
    import pooch

    return Path(pooch.os_cache("wcrnn"))


def search_directories(name: str) -> list[Path]:
    """Return the folders in which a data set is searched, in order: ``WCRNN_DATA_DIR``, folders in it, the cache.

    Args:
        name: Of the data set.

    Raises:
        UserError: If the data set is unknown, or ``WCRNN_DATA_DIR`` is set but is not a directory.
    """
    dataset = _known(name)
    directories = [cache_directory() / dataset.name]
    if configured := os.environ.get("WCRNN_DATA_DIR"):
        given = Path(configured).expanduser()
        if not given.is_dir():
            raise UserError(
                f"WCRNN_DATA_DIR is {configured}, which is not a directory; set it to the directory that holds the "
                "data sets, or unset it to use the cache."
            )
        directories = [given, *(given / folder for folder in dataset.folders), *directories]
    return directories


def find_file(name: str, file: str) -> Path:
    """Return the first file of that name in `search_directories`, with its checksums verified.

    Args:
        name: Of the data set.
        file: Name of the file.

    Raises:
        UserError: If there is none, or its checksums are wrong.
    """
    dataset = _known(name)
    directories = search_directories(name)
    for directory in directories:
        if (path := directory / file).is_file():
            verify(path, dataset.files[file], dataset.name)
            return path
    looked_in = ", ".join(map(str, directories))
    raise UserError(
        f"the {dataset.title} file {file} is not in {looked_in}; run `wcrnn data fetch {name}`, or set WCRNN_DATA_DIR "
        "to the directory that holds the original files."
    )


def verify(path: Path, expected: Checksum, name: str) -> None:
    """Compare a file with its checksums.

    Args:
        path: The file.
        expected: Its checksums.
        name: Of the data set, for the remedy.

    Raises:
        UserError: If one differs; the text names the file.
    """
    _verify(path.read_bytes(), path, expected, f"delete it and run `wcrnn data fetch {name}`")


def fetch(name: str, mirrors: Sequence[str] | None = None, *, progress: bool = False) -> list[Path]:
    """Download the files of a data set that are not yet in the cache; wrong checksums are never kept.

    Args:
        name: Of the data set.
        mirrors: URLs of directories, tried in order for each file; ``file://`` works too. Its own by default.
        progress: Whether to show progress bars.

    Returns:
        The paths of the files in the cache.

    Raises:
        UserError: If the data set is unknown, or no mirror gives a file with the right checksum; the text gives the
            reason for each.
    """
    dataset = _known(name)
    mirrors = dataset.mirrors if mirrors is None else mirrors
    directory = cache_directory() / dataset.name
    if dataset.archive is None:
        return [_fetch(file, checksum, mirrors, directory, progress) for file, checksum in dataset.files.items()]
    paths = [directory / file for file in dataset.files]
    if not all(_is_intact(path, dataset.files[path.name]) for path in paths):
        packed = _fetch(dataset.archive.name, dataset.archive.checksum, mirrors, directory, progress)
        _unpack(packed, dataset.archive, dataset.files, directory)
        packed.unlink()
    return paths


def _known(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise UserError(
            f"the data set must be one of {', '.join(DATA_SETS)}, got {name!r}." + suggestion(name, DATA_SETS)
        )
    return DATA_SETS[name]


def _is_intact(path: Path, expected: Checksum) -> bool:
    return path.is_file() and _checksum(path.read_bytes()) == expected


def _unpack(packed: Path, archive: Archive, files: dict[str, Checksum], directory: Path) -> None:
    """Unpack the wanted files of an archive one by one; nothing else in it is written anywhere."""
    try:
        with tarfile.open(packed, "r:gz") as contents:
            for file, checksum in files.items():
                member = contents.extractfile(f"{archive.folder}/{file}")
                if member is None:
                    raise UserError(f"{packed} has no regular file {archive.folder}/{file}; fetch it again.")
                content = member.read()
                _verify(content, f"{file} in {packed}", checksum, "fetch it again")
                write_atomically(directory / file, content)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise UserError(f"{packed} is not the archive it should be ({clause(error)}); fetch it again.") from error


def _verify(content: bytes, what: Path | str, expected: Checksum, remedy: str) -> None:
    found = _checksum(content)
    if found != expected:
        raise UserError(
            f"{what} has a wrong checksum: expected SHA-256 {expected.sha256} and MD5 {expected.md5}, got "
            f"{found.sha256} and {found.md5}; {remedy}."
        )


def _checksum(content: bytes) -> Checksum:
    return Checksum(hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).hexdigest())


def _fetch(file: str, expected: Checksum, mirrors: Sequence[str], directory: Path, progress: bool) -> Path:
    import pooch
    import requests

    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file
        try:
            # pooch downloads to a temporary file, verifies it, and only then gives it its name
            with _quiet(pooch.get_logger()):
                found = pooch.retrieve(
                    url,
                    known_hash=f"sha256:{expected.sha256}",
                    fname=file,
                    path=directory,
                    downloader=_copy_file if urlsplit(url).scheme == "file" else None,
                    progressbar=progress,
                )
        except (ValueError, OSError, requests.exceptions.RequestException) as error:
            reasons.append(f"{mirror}: {clause(error)}")
            continue
        path = Path(found)
        _verify(path.read_bytes(), path, expected, "delete it and fetch it again")
        return path
    raise UserError(
        f"no mirror gave {file} ({'; '.join(reasons) or 'none was named'}); try again later, name another "
        "with --mirror, or set WCRNN_DATA_DIR to a directory that holds the file."
    )


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Drop messages below a warning: progress bars and errors say what there is to say."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _copy_file(url: str, output_file: str, _: object) -> None:
    """Copy a file, as the pooch downloader of ``file://`` URLs."""
    shutil.copyfile(url2pathname(urlsplit(url).path), output_file)
