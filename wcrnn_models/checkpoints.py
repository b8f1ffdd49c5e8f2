"""Checkpoints: weights in ``NAME.safetensors``, the rest in ``NAME.json``; loading executes nothing.

The JSON file is written last and holds the SHA-256 of the weights, so a pair is either complete or refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wcrnn_models.errors import UserError
from wcrnn_models.files import read_json, sha256, write_atomically
from wcrnn_models.network import RecurrentNetwork
from wcrnn_models.training.build import build_model
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import CONFIG_FILE, HISTORY_FILE
from wcrnn_models.values import is_finite, is_integer

FORMAT_VERSION = 1
CHECKPOINT_FOLDER = "checkpoints"
"""Folder of a run directory that holds its checkpoints."""

_ATTEMPTS = 20  # to list and read checkpoints that a running training replaces
_LAST_DIGITS = 1e-15  # relative, of float64: sin and cos, which a rotation needs, differ that much between machines
_PAUSE = 0.05  # seconds between them
_FIELDS = ("format_version", "iteration", "test_metric", "metric_name", "weights_sha256", "config")


T = TypeVar("T")


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

    model: RecurrentNetwork
    config: TrainConfig
    iteration: int
    metadata: Mapping[str, Any]
    sha256: str


def save_checkpoint(
    path: str | Path,
    model: RecurrentNetwork,
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
        UserError: If the weights do not have the shapes that ``config`` asks for, or the residual or the coupling
            are not those of ``config``. (A dense residual, which has no recipe, is kept as it is.)
    """
    stem = Path(path)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _check_fit(stem, weights, build_model(config, matrix=_own_matrix(stem, weights, config)))
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
            is taken, also while the run is going on.

    Raises:
        UserError: If a file is missing, truncated, altered, of another format, or does not fit its
            configuration; the text names the file.
    """
    path = Path(path)
    if path.is_dir():
        return read_checkpoints(path, lambda found: _load(found[-1]))
    return _load(_weights_file(path))


def read_checkpoints(directory: str | Path, read: Callable[[list[Path]], T]) -> T:
    """What ``read`` makes of the checkpoints of a directory, also while they are being replaced.

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


def _load(weights_path: Path) -> LoadedCheckpoint:
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
    model = build_model(config, matrix=_own_matrix(weights_path, weights, config))
    _check_fit(weights_path, weights, model)
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
            raise UserError(f"there is no {path}; give the directory of a run, or a checkpoint file (.safetensors)")
        raise UserError(
            f"a checkpoint is a .safetensors file with its .json file, or the directory of a run, got {path}"
            "; pickle files are not read, because loading one can execute code"
        )
    return path.with_suffix(".safetensors")


def _read_metadata(path: Path) -> dict[str, Any]:
    metadata = read_json(path, "copy it again")
    if not isinstance(metadata, dict) or "format_version" not in metadata:
        raise UserError(f"{path} is not the description of a checkpoint: it has no format_version")
    if metadata["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {metadata['format_version']}, this program reads {FORMAT_VERSION}; "
            "use the version of the program that wrote it"
        )
    if missing := [name for name in _FIELDS if name not in metadata]:
        raise UserError(f"{path} lacks {', '.join(missing)}; copy it again")
    iteration, metric, name = (metadata[key] for key in ("iteration", "test_metric", "metric_name"))
    if not is_integer(iteration) or iteration < 0:
        raise UserError(f"{path}: iteration must be an integer >= 0, got {iteration!r}; copy it again")
    if metric is not None and not is_finite(metric):
        raise UserError(f"{path}: test_metric must be a finite number or null, got {metric!r}; copy it again")
    if name is not None and not isinstance(name, str):
        raise UserError(f"{path}: metric_name must be a string or null, got {name!r}; copy it again")
    return metadata


def _own_matrix(path: Path, weights: Mapping[str, Tensor], config: TrainConfig) -> Tensor | None:
    """The matrix of a dense residual, which a checkpoint carries with it; None for residuals that have a recipe."""
    if config.model != "wcrnn" or config.residual != "dense":
        return None
    matrix = weights.get("residual.weight", torch.zeros(0))
    if matrix.shape != (config.hidden_size, config.hidden_size) or not matrix.is_floating_point():
        return torch.zeros(config.hidden_size, config.hidden_size)  # for the network beside which the misfit is named
    if not bool(matrix.isfinite().all()):
        raise UserError(f"the residual of {path} is not finite; copy it again")
    return matrix


def _check_fit(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    if fault := misfit(weights, model):
        raise UserError(f"the weights of {path} do not fit their configuration: it {fault}")


def misfit(weights: Mapping[str, Tensor], model: nn.Module) -> str | None:
    """What keeps weights from being those of a trained network, None if nothing does.

    Args:
        weights: What should be a ``state_dict`` of the network.
        model: The untrained network; shapes, types and the buffers, which training leaves alone, must be its own.
    """
    expected = model.state_dict()
    faults = [f"lacks {name}" for name in expected if name not in weights]
    faults += [f"has the unknown {name}" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name in expected and (found := _signature(tensor)) != (wanted := _signature(expected[name])):
            faults.append(f"has {name} as {found}, expected {wanted}")
    if not faults:
        for name, buffer in model.named_buffers():
            wanted_values, values = (tensor.detach().cpu().double() for tensor in (buffer, weights[name]))
            difference = float((values - wanted_values).abs().max())
            if not difference <= _LAST_DIGITS * float(wanted_values.abs().max()):
                faults.append(f"has another {name} than its configuration gives, by up to {difference:.2g}")
    return "; it ".join(faults) or None


def _signature(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
