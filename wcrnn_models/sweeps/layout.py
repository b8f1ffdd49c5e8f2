"""Lay out the directories of a sweep: one for each run, with its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import VanishedError, read_regular, write_atomically
from wcrnn_models.run_files import CONFIG_FILE, HISTORY_FILE
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult

_DIGITS = 16  # of the hash; two of a million runs share them with a probability of 3e-8


def run_name(config: TrainConfig) -> str:
    """Return the name of the directory of a configuration; equal configurations have equal ones.

    Example:
        >>> run_name(TrainConfig(r=1)) == run_name(TrainConfig(r=1.0)) != run_name(TrainConfig(r=0.9))
        True
    """
    return config.fingerprint()[:_DIGITS]


def plan(configs: Iterable[TrainConfig], directory: Path) -> dict[str, TrainConfig]:
    """Make the directories of some configurations, so that runs that have not begun are known, too.

    A lost configuration is written again. The name of the directory, its hash, shows that it is the same one.

    Args:
        configs: Configurations to train. Of equal ones, only one counts.
        directory: The directory of the sweep.

    Returns:
        The configurations by the names of their directories.

    Raises:
        UserError: If ``directory`` is a file, or cannot be made or written.
    """
    planned = {run_name(config): config for config in configs}
    write_configurations(planned, directory)
    return planned


def write_configurations(planned: Mapping[str, TrainConfig], directory: Path) -> None:
    """Write the configurations of runs that have none into their directories, by name.

    Raises:
        UserError: If ``directory`` is a file, or cannot be made or written.
    """
    for name, config in planned.items():
        path = directory / name / CONFIG_FILE
        while not path.exists():
            make_directory(path.parent, directory)
            # another sweep may have begun this run, and deleted files that were being written
            with suppress(VanishedError, FileNotFoundError):
                write_atomically(path, config.to_json().encode())


def make_directory(run: Path, directory: Path) -> None:
    """Make the directory of a run of a sweep.

    Raises:
        UserError: If ``directory`` is or contains a file in its place, or cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{directory} is or contains a file where a directory should be; name another.") from None
    except OSError as error:
        raise UserError(
            f"the directory {directory} cannot be made or written ({error.strerror}); name another for the sweep."
        ) from error


def read_runs(directory: str | Path) -> dict[str, TrainConfig]:
    """Return the configurations of a sweep by the names of their directories, sorted by name.

    Args:
        directory: The directory of the sweep.

    Raises:
        UserError: If there is no such directory, if it holds no run, or if a configuration is damaged.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UserError(f"there is no directory {root}; give the directory of a sweep, made by `wcrnn sweep`.")
    found = {}
    for path in sorted(root.glob(f"*/{CONFIG_FILE}")):
        try:
            found[path.parent.name] = TrainConfig.from_json(read_regular(path))
        except UserError as error:
            raise UserError(f"{path}: {clause(error)}; delete {path.parent}, or restore the file.") from error
    if not found:
        raise UserError(f"{root} holds no run; give the directory of a sweep, made by `wcrnn sweep`.")
    return found


def read_result(run: Path) -> TrainResult | None:
    """Read the measurements of a run so far; None before its first evaluation.

    Raises:
        UserError: If its history is damaged.
    """
    path = run / HISTORY_FILE
    return TrainResult.read(path) if path.exists() else None


def varying(configs: Iterable[TrainConfig]) -> list[str]:
    """Return the fields in which some configurations differ, ``seed`` first and the others in their order."""
    rows = [asdict(config) for config in configs]
    names = [name for name in rows[0] if any(row[name] != rows[0][name] for row in rows)] if rows else []
    return sorted(names, key=lambda name: name != "seed")
