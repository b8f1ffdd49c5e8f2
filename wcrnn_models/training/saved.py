"""Save trained networks as checkpoints, and load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wcrnn_models.checkpoints import CheckpointFile, read_checkpoint, read_checkpoints, write_checkpoint
from wcrnn_models.errors import UserError, clause
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.training.build import build_model, completed, sizes
from wcrnn_models.training.config import TrainConfig

_LAST_DIGITS = 1e-15  # relative, in float64: sin and cos of a rotation differ this much between machines


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network with its history.

    Attributes:
        model: The network, on the CPU.
        config: Configuration that it was trained with.
        iteration: Number of training iterations that it has seen.
        metadata: Content of the JSON file, including ``test_metric`` and ``metric_name``.
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
        iteration: Number of training iterations that it has seen.
        test_metric: Metric on the test set, if known.
        metric_name: Name of that metric.

    Returns:
        The path of the ``.safetensors`` file.

    Raises:
        UserError: If the weights do not have the shapes that ``config`` asks for, if the residual or the coupling
            are not those of ``config``, or if sizes are left to data that cannot be read. (A dense residual has no
            recipe and is kept as it is.)
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return store_checkpoint(
        Path(path), model, config, iteration=iteration, test_metric=test_metric, metric_name=metric_name
    )


def store_checkpoint(
    stem: Path,
    model: RecurrentNetwork,
    config: TrainConfig,
    *,
    iteration: int,
    test_metric: float | None,
    metric_name: str | None,
) -> Path:
    """Save a checkpoint as `save_checkpoint` does, in a directory that exists."""
    config = completed(config)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _check_fit(stem, weights, build_model(config, matrix=_own_matrix(stem, weights, config)))
    return write_checkpoint(
        stem, weights, asdict(config), iteration=iteration, test_metric=test_metric, metric_name=metric_name
    )


def load_checkpoint(path: str | Path) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        path: The ``.safetensors`` file, the ``.json`` file, or the directory of a run. From a directory, the last
            checkpoint is loaded, even while the run continues.

    Raises:
        UserError: If a file is missing, truncated or altered, has another format, or does not fit its configuration.
            The message names the file.
    """
    path = Path(path)
    if path.is_dir():
        return read_checkpoints(path, lambda found: _built(read_checkpoint(found[-1])))
    return _built(read_checkpoint(path))


def _built(file: CheckpointFile) -> LoadedCheckpoint:
    """Return the network of a checkpoint, if the weights fit its configuration."""
    try:
        config = TrainConfig.from_dict(file.metadata["config"])
    except UserError as error:
        raise UserError(f"{file.path.with_suffix('.json')}: {clause(error)}.") from error
    _refuse_other_sizes(file.path, file.weights, config)
    model = build_model(config, matrix=_own_matrix(file.path, file.weights, config))
    _check_fit(file.path, file.weights, model)
    model.load_state_dict(file.weights)
    return LoadedCheckpoint(model, config, file.metadata["iteration"], file.metadata, file.sha256)


def _refuse_other_sizes(path: Path, weights: Mapping[str, Tensor], config: TrainConfig) -> None:
    """Refuse a configuration whose network has more numbers than the weights, before the network is built.

    Building a network takes time and memory that grow with its sizes, and a few digits in a file can make these huge.
    """
    inputs, hidden, outputs = sizes(config)
    layers = 1 if config.layers is None else config.layers
    modes = 1 if config.modes is None else config.modes
    least = max(inputs * hidden, hidden * hidden, hidden * outputs, layers * hidden * modes)
    numbers = sum(tensor.numel() for tensor in weights.values())
    if least > numbers:
        raise UserError(
            f"the weights of {path} do not fit their configuration: it has at least {least} numbers, they are "
            f"{numbers}."
        )


def _own_matrix(path: Path, weights: Mapping[str, Tensor], config: TrainConfig) -> Tensor | None:
    """Return the matrix of a dense residual, which a checkpoint contains; None for residuals that have a recipe."""
    if config.model != "wcrnn" or config.residual != "dense":
        return None
    matrix = weights.get("residual.weight", torch.zeros(0))
    if matrix.shape != (config.hidden_size, config.hidden_size) or not matrix.is_floating_point():
        return torch.zeros(config.hidden_size, config.hidden_size)  # for the network that the misfit is named against
    if not bool(matrix.isfinite().all()):
        raise UserError(f"the residual of {path} is not finite; copy it again.")
    return matrix


def _check_fit(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    if fault := misfit(weights, model):
        raise UserError(f"the weights of {path} do not fit their configuration: it {fault}.")


def misfit(weights: Mapping[str, Tensor], model: nn.Module) -> str | None:
    """Return the reason why weights cannot be those of a trained network; None if they can.

    Args:
        weights: Weights, which should be a ``state_dict`` of the network.
        model: The untrained network. Shapes, types and buffers, which training does not change, must equal its own.
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
