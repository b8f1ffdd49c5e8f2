"""``wcrnn data``: fetch the data sets, or say where they are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import download

SUMMARY = "fetch the data sets, or say where they are looked for"


@dataclass(frozen=True)
class Fetch:
    """Download a data set into the cache, verified by its checksums."""

    dataset: tyro.conf.Positional[Literal["mnist"]]
    """The data set."""

    mirror: tuple[str, ...] = download.MNIST_MIRRORS
    """URLs of directories that hold the files, tried in order; file:// works too."""


@dataclass(frozen=True)
class Where:
    """Print the directories that are searched, in order, and the state of every file."""


def run(arguments: Sequence[str]) -> int:
    """Parse and act; returns the exit code."""
    from wcrnn_models.cli.main import SUCCESS

    action = tyro.cli(
        Annotated[Fetch, tyro.conf.subcommand("fetch")] | Annotated[Where, tyro.conf.subcommand("where")],
        args=arguments,
        prog="wcrnn data",
        description="Fetch the data sets, or say where they are looked for.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if isinstance(action, Fetch):
        for path in download.fetch_mnist(action.mirror, progress=True):
            print(path)
        return SUCCESS
    for directory in download.search_directories():
        print(directory)
    for name in download.MNIST_FILES:
        try:
            print(f"{name}: {download.find_mnist_file(name)}")
        except UserError as error:
            print(f"{name}: {error}")
    return SUCCESS
