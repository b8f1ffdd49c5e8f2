"""Checkpoints: weights in ``NAME.safetensors``, the rest in ``NAME.json``; loading executes nothing.

The JSON file is written last and holds the SHA-256 of the weights, so a pair is either complete or refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from wcrnn_models.cells import WCRNN
from wcrnn_models.errors import UserError
from wcrnn_models.files import sha256, write_atomically
from wcrnn_models.training.build import build_model
from wcrnn_models.training.config import TrainConfig

FORMAT_VERSION = 1
CHECKPOINT_FOLDER = "checkpoints"
"""Folder of a run directory that holds its checkpoints."""

_FIELDS = ("format_version", "iteration", "test_metric", "metric_name", "weights_sha256", "config")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network with its history.

    Attributes:
        model: The network, on the CPU.
        config: The configuration it was trained with.
        iteration: Training iterations it has seen.
        metadata: The content of the JSON file, ``test_metric`` and ``metric_name`` among it.
        sha256: SHA-256 of the ``.safetensors`` file.
    """

    model: WCRNN
    config: TrainConfig
    iteration: int
    metadata: Mapping[str, Any]
    sha256: str


def save_checkpoint(
    path: str | Path,
    model: WCRNN,
    config: TrainConfig,
    *,
    iteration: int,
    test_metric: float | None = None,
    metric_name: str | None = None,
) -> Path:
    """Write ``path.safetensors`` and ``path.json``.

    Args:
        path: Name without suffix; an existing pair of that name is replaced.
        model: The network that ``config`` describes.
        config: Its configuration.
        iteration: Training iterations it has seen.
        test_metric: Its metric on the test set, if known.
        metric_name: What that metric is.

    Returns:
        The path of the ``.safetensors`` file.

    Raises:
        UserError: If the weights do not have the shapes that ``config`` asks for.
    """
    stem = Path(path)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _check_shapes(stem, weights, build_model(config).state_dict())
    content = safetensors.torch.save(weights)
    metadata = {
        "format_version": FORMAT_VERSION,
        "iteration": iteration,
        "test_metric": test_metric,
        "metric_name": metric_name,
        "weights_sha256": sha256(content),
        "config": asdict(config),
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    weights_path = _with_suffix(stem, ".safetensors")
    write_atomically(weights_path, content)
    write_atomically(_with_suffix(stem, ".json"), json.dumps(metadata, indent=2, allow_nan=False).encode())
    return weights_path


def load_checkpoint(path: str | Path) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        path: The ``.safetensors`` file, the ``.json`` file, or the directory of a run, whose last checkpoint
            is taken.

    Raises:
        UserError: If a file is missing, truncated, altered, of another format, or does not fit its
            configuration; the text names the file.
    """
    weights_path = _locate(Path(path))
    json_path = weights_path.with_suffix(".json")
    for file in (weights_path, json_path):
        if not file.is_file():
            twin = json_path if file == weights_path else weights_path
            hint = f"; {twin.name} needs it, copy both" if twin.is_file() else ""
            raise UserError(f"there is no checkpoint file {file}{hint}")
    metadata = _read_metadata(json_path)
    content = weights_path.read_bytes()
    digest = sha256(content)
    if digest != metadata["weights_sha256"]:
        raise UserError(
            f"{weights_path} is not the file that {json_path.name} was written for, or is truncated: "
            f"expected SHA-256 {metadata['weights_sha256']}, got {digest}; copy both files again"
        )
    try:
        weights = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{weights_path} is not a valid safetensors file ({error}); copy it again") from error
    try:
        config = TrainConfig.from_dict(metadata["config"])
    except UserError as error:
        raise UserError(f"{json_path}: {error}") from error
    model = build_model(config)
    _check_shapes(weights_path, weights, model.state_dict())
    model.load_state_dict(weights)
    return LoadedCheckpoint(model, config, metadata["iteration"], metadata, digest)


def list_checkpoints(directory: str | Path) -> list[Path]:
    """The ``.safetensors`` files of the complete checkpoints in a run directory, sorted by iteration.

    Args:
        directory: A run directory, or a folder of checkpoints.

    Raises:
        UserError: If there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UserError(f"there is no directory {root}")
    folder = root / CHECKPOINT_FOLDER if (root / CHECKPOINT_FOLDER).is_dir() else root
    found = [file for file in folder.glob("*.safetensors") if file.with_suffix(".json").is_file()]
    iterations = {file: _read_metadata(file.with_suffix(".json"))["iteration"] for file in found}
    return sorted(found, key=lambda file: (iterations[file], file.name))


def _locate(path: Path) -> Path:
    if path.is_dir():
        checkpoints = list_checkpoints(path)
        if not checkpoints:
            raise UserError(f"{path} holds no checkpoint; give the directory of a run, made by `wcrnn train`")
        return checkpoints[-1]
    if path.suffix not in (".safetensors", ".json"):
        raise UserError(
            f"a checkpoint is a .safetensors file with its .json file, or the directory of a run, got {path}"
            + ("; pickle files are not read, because loading one can execute code" if path.is_file() else "")
        )
    return path.with_suffix(".safetensors")


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); copy it again") from error
    if not isinstance(metadata, dict) or "format_version" not in metadata:
        raise UserError(f"{path} is not the description of a checkpoint: it has no format_version")
    if metadata["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {metadata['format_version']}, this program reads {FORMAT_VERSION}; "
            "use the version of the program that wrote it"
        )
    if missing := [name for name in _FIELDS if name not in metadata]:
        raise UserError(f"{path} lacks {', '.join(missing)}; copy it again")
    iteration = metadata["iteration"]
    if isinstance(iteration, bool) or not isinstance(iteration, int) or iteration < 0:
        raise UserError(f"{path}: iteration must be an integer >= 0, got {iteration!r}")
    return metadata


def _check_shapes(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    faults = [f"lacks {name}" for name in expected if name not in weights]
    faults += [f"has the unknown {name}" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name in expected and (found := _signature(tensor)) != (wanted := _signature(expected[name])):
            faults.append(f"has {name} as {found}, expected {wanted}")
    if faults:
        raise UserError(f"the weights of {path} do not fit their configuration: it {'; it '.join(faults)}")


def _signature(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
