"""Checkpoint files: weights in ``NAME.safetensors``, the rest in ``NAME.json``; reading executes nothing.

The JSON file is written last and holds the SHA-256 of the weights, so a pair is either complete or refused.
"""

from __future__ import annotations

import json
import reprlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import read_json, read_regular, sha256, write_atomically
from wcrnn_models.run_files import CHECKPOINT_FOLDER, CONFIG_FILE, HISTORY_FILE
from wcrnn_models.values import is_count, is_finite

FORMAT_VERSION = 1

_ATTEMPTS = 20  # to list and read checkpoints that a running training replaces
_PAUSE = 0.05  # seconds between them
_FIELDS = ("format_version", "iteration", "test_metric", "metric_name", "weights_sha256", "config")

T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointFile:
    """The content of a checkpoint.

    Attributes:
        path: The ``.safetensors`` file.
        weights: Tensors by name, on the CPU.
        metadata: The content of the JSON file, ``iteration`` and ``config`` among it.
        sha256: SHA-256 of the ``.safetensors`` file.
    """

    path: Path
    weights: dict[str, Tensor]
    metadata: Mapping[str, Any]
    sha256: str


def write_checkpoint(
    stem: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    iteration: int,
    test_metric: float | None = None,
    metric_name: str | None = None,
) -> Path:
    """Write ``stem.safetensors`` and ``stem.json`` into a directory that exists.

    Args:
        stem: Name without suffix; an existing pair of that name is replaced.
        weights: Tensors by name, contiguous and on the CPU.
        config: The configuration, as JSON can hold it.
        iteration: Training iterations that the network has seen.
        test_metric: Its metric on the test set, if known.
        metric_name: What that metric is.

    Returns:
        The path of the ``.safetensors`` file.
    """
    content = safetensors.torch.save(dict(weights))
    metadata = {
        "format_version": FORMAT_VERSION,
        "iteration": iteration,
        "test_metric": test_metric,
        "metric_name": metric_name,
        "weights_sha256": sha256(content),
        "config": config,
    }
    weights_path = _with_suffix(stem, ".safetensors")
    write_atomically(weights_path, content)
    write_atomically(_with_suffix(stem, ".json"), json.dumps(metadata, indent=2, allow_nan=False).encode())
    return weights_path


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read a checkpoint from either of its files.

    Raises:
        UserError: If a file is missing, truncated, altered, or of another format; the text names the file.
    """
    weights_path = _weights_file(path)
    json_path = weights_path.with_suffix(".json")
    for file in (weights_path, json_path):
        if not file.is_file():
            twin = json_path if file == weights_path else weights_path
            hint = f"; {twin.name} needs it, copy both" if twin.is_file() else ""
            raise UserError(f"the checkpoint file {file} does not exist{hint}.")
    metadata = _read_metadata(json_path)
    content = read_regular(weights_path)
    digest = sha256(content)
    if digest != metadata["weights_sha256"]:
        raise UserError(
            f"{weights_path} is not the file that {json_path.name} was written for, or is truncated: "
            f"expected SHA-256 {metadata['weights_sha256']}, got {digest}; copy both files again."
        )
    try:
        weights = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{weights_path} is not a valid safetensors file ({clause(error)}); copy it again.") from error
    return CheckpointFile(weights_path, weights, metadata, digest)


def read_checkpoints(directory: str | Path, read: Callable[[list[Path]], T]) -> T:
    """Return what ``read`` makes of the checkpoints of a directory, also while they are being replaced.

    A running training deletes the checkpoints that are superseded; if one of them vanishes while ``read`` is at work,
    the directory is listed again.

    Args:
        directory: A run directory, or a folder of checkpoints.
        read: Takes what `list_checkpoints` returns, which is not empty.

    Raises:
        UserError: If there is no checkpoint, or ``read`` raises it.
    """
    for _ in range(_ATTEMPTS):
        found = list_checkpoints(directory)
        if not found:
            raise _without_checkpoints(Path(directory))
        try:
            return read(found)
        except (UserError, FileNotFoundError):
            if all(map(_is_complete, found)):
                raise
        time.sleep(_PAUSE)
    raise _unsteady(directory)


def list_checkpoints(directory: str | Path) -> list[Path]:
    """Return the ``.safetensors`` files of the complete checkpoints in a run directory, sorted by iteration.

    Args:
        directory: A run directory, or a folder of checkpoints.

    Raises:
        UserError: If there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UserError(f"the directory {root} does not exist.")
    folder = root / CHECKPOINT_FOLDER if (root / CHECKPOINT_FOLDER).is_dir() else root
    for _ in range(_ATTEMPTS):
        found = _complete(folder)
        with suppress(FileNotFoundError):
            iterations = {file: _read_metadata(file.with_suffix(".json"))["iteration"] for file in found}
            if _complete(folder) == found:  # else a new one may have come and be missing here
                return sorted(found, key=lambda file: (iterations[file], file.name))
        time.sleep(_PAUSE)
    raise _unsteady(folder)


def _complete(folder: Path) -> set[Path]:
    return {file for file in folder.glob("*.safetensors") if _is_complete(file)}


def _is_complete(weights_path: Path) -> bool:
    return weights_path.is_file() and weights_path.with_suffix(".json").is_file()


def _without_checkpoints(directory: Path) -> UserError:
    if not (directory / CONFIG_FILE).is_file():
        return UserError(f"{directory} holds no checkpoint; give the directory of a run, made by `wcrnn train`")
    if not (directory / HISTORY_FILE).is_file():
        return UserError(f"the run in {directory} has no checkpoint yet; wait, or train it again")
    return UserError(
        f"the checkpoints of the run in {directory} are missing; restore its folder {CHECKPOINT_FOLDER}, or delete the "
        "directory to train again"
    )


def _unsteady(directory: str | Path) -> UserError:
    return UserError(
        f"the checkpoints in {directory} are replaced faster than they can be read; wait until the training that "
        "runs there has ended, or copy a checkpoint"
    )


def _weights_file(path: Path) -> Path:
    if path.suffix not in (".safetensors", ".json"):
        if not path.exists():
            raise UserError(f"there is no {path}; give the directory of a run, or a checkpoint file (.safetensors).")
        raise UserError(
            f"a checkpoint is a .safetensors file with its .json file, or the directory of a run, got {path}; pickle "
            "files are not read, because loading one can execute code. For a state dict, build its network, call "
            f"network.load_state_dict(torch.load({str(path)!r}, weights_only=True)), and pass it to lyapkit, as in "
            "lyapkit.lyapunov_spectrum(network, inputs)."
        )
    return path.with_suffix(".safetensors")


def _read_metadata(path: Path) -> dict[str, Any]:
    metadata = read_json(path, "copy it again")
    if not isinstance(metadata, dict) or "format_version" not in metadata:
        raise UserError(f"{path} is not the description of a checkpoint: it has no format_version.")
    if metadata["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {metadata['format_version']}, this program reads {FORMAT_VERSION}; "
            "use the version of the program that wrote it."
        )
    if missing := [name for name in _FIELDS if name not in metadata]:
        raise UserError(f"{path} lacks {', '.join(missing)}; copy it again.")
    iteration, metric, name = (metadata[key] for key in ("iteration", "test_metric", "metric_name"))
    if not is_count(iteration):
        raise UserError(f"{path}: iteration must be an integer >= 0, got {reprlib.repr(iteration)}; copy it again.")
    if metric is not None and not is_finite(metric):
        raise UserError(f"{path}: test_metric must be a finite number or null, got {metric!r}; copy it again.")
    if name is not None and not (isinstance(name, str) and name.isprintable()):
        raise UserError(f"{path}: metric_name must be a string or null, got {name!r}; copy it again.")
    return metadata | {"test_metric": None if metric is None else float(metric)}


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
