"""Where the MNIST files are, checked by their checksums, and how to get them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from wcrnn_models.errors import UserError


class Checksum(NamedTuple):
    """Published checksums of a file; both are verified."""

    sha256: str
    md5: str


MNIST_FILES = {
    "train-images-idx3-ubyte.gz": Checksum(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", "f68b3c2dcbeaaa9fbdd348bbdeb94873"
    ),
    "train-labels-idx1-ubyte.gz": Checksum(
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", "d53e105ee54ea40749a09fcbcd1e9432"
    ),
    "t10k-images-idx3-ubyte.gz": Checksum(
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", "9fb629c4189551a2d022fa330f9573f3"
    ),
    "t10k-labels-idx1-ubyte.gz": Checksum(
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", "ec29112dd5afa0611ce80d1b7f02629c"
    ),
}
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def cache_directory() -> Path:
    """Where fetched files are kept: ``WCRNN_CACHE_DIR``, or ``wcrnn`` in the user's cache directory."""
    if configured := os.environ.get("WCRNN_CACHE_DIR"):
        return Path(configured).expanduser()
    import pooch

    return Path(pooch.os_cache("wcrnn"))


def search_directories() -> list[Path]:
    """Where MNIST files are looked for, in order: ``WCRNN_DATA_DIR``, its ``mnist`` folder, the cache."""
    directories = [cache_directory() / "mnist"]
    if configured := os.environ.get("WCRNN_DATA_DIR"):
        given = Path(configured).expanduser()
        directories = [given, given / "mnist", *directories]
    return directories


def find_mnist_file(name: str) -> Path:
    """The first file of that name in `search_directories`, with its checksums verified.

    Raises:
        UserError: If there is none, or its checksums are wrong.
    """
    for directory in search_directories():
        if (path := directory / name).is_file():
            verify(path, MNIST_FILES[name])
            return path
    looked_in = ", ".join(map(str, search_directories()))
    raise UserError(
        f"the MNIST file {name} is not in {looked_in}; run `wcrnn data fetch mnist`, or set WCRNN_DATA_DIR "
        "to the directory that holds the four gzipped files"
    )


def verify(path: Path, expected: Checksum) -> None:
    """Compare a file with its checksums.

    Raises:
        UserError: If one differs; the text names the file.
    """
    content = path.read_bytes()
    found = Checksum(hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).hexdigest())
    if found != expected:
        raise UserError(
            f"{path} has a wrong checksum: expected SHA-256 {expected.sha256} and MD5 {expected.md5}, got "
            f"{found.sha256} and {found.md5}; delete it and run `wcrnn data fetch mnist`"
        )


def fetch_mnist(mirrors: Sequence[str] = MNIST_MIRRORS, *, progress: bool = False) -> list[Path]:
    """Download the four files that are not yet in the cache; files with a wrong checksum are never kept.

    Args:
        mirrors: URLs of directories, tried in order for each file; ``file://`` works too.
        progress: Whether to show progress bars.

    Returns:
        The paths of the four files in the cache.

    Raises:
        UserError: If no mirror gives a file with the right checksum; the text gives the reason for each.
    """
    directory = cache_directory() / "mnist"
    return [_fetch(name, checksum, mirrors, directory, progress) for name, checksum in MNIST_FILES.items()]


def _fetch(name: str, expected: Checksum, mirrors: Sequence[str], directory: Path, progress: bool) -> Path:
    import pooch
    import requests

    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + name
        try:
            # pooch downloads to a temporary file, verifies it, and only then gives it its name
            found = pooch.retrieve(
                url,
                known_hash=f"sha256:{expected.sha256}",
                fname=name,
                path=directory,
                downloader=_copy_file if urlsplit(url).scheme == "file" else None,
                progressbar=progress,
            )
        except (ValueError, OSError, requests.exceptions.RequestException) as error:
            reasons.append(f"{mirror}: {' '.join(str(error).split())}")
            continue
        verify(Path(found), expected)
        return Path(found)
    raise UserError(
        f"no mirror gave {name} ({'; '.join(reasons) or 'none was named'}); try again later, name another "
        "with --mirror, or set WCRNN_DATA_DIR to a directory that holds the file"
    )


def _copy_file(url: str, output_file: str, _: object) -> None:
    """The pooch downloader of ``file://`` URLs."""
    shutil.copyfile(url2pathname(urlsplit(url).path), output_file)
