"""Build the network and the task that a configuration describes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lyapkit_command.numpy_files import read_array
from wcrnn_models.errors import UserError, clause
from wcrnn_models.models import residuals
from wcrnn_models.models.baselines import LSTM, S4D, URLSTM, ResidualElman
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.models.residuals.base import check_fits
from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.tasks import (
    AddingProblem,
    ArrayTask,
    PermutedSequentialMNIST,
    SequentialCIFAR10,
    SequentialMNIST,
    Task,
)
from wcrnn_models.tasks.measures import DEFAULT_ERROR
from wcrnn_models.training.config import TrainConfig

_IMAGES = {task.name: task for task in (SequentialMNIST, PermutedSequentialMNIST, SequentialCIFAR10)}
_PLAIN: dict[str, type[ResidualElman] | type[LSTM] | type[URLSTM]] = {
    "elman": ResidualElman,
    "lstm": LSTM,
    "ur-lstm": URLSTM,
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
DATA_FIELDS = (
    *("task", "data", "length", "input_size", "output_size", "loss", "loss_on", "dtype"),
    *("seed", "batch_size", "iterations_per_epoch", "train_size", "test_size", "validation_size"),
)
"""Fields of a configuration that determine its task, with its batches and test samples."""

_WEIGHTS, _RESIDUAL, _DIAGONAL, _COUPLING = 2, 3, 4, 5  # streams of random numbers; tasks draw from their own


def build_model(config: TrainConfig, *, matrix: Tensor | None = None) -> RecurrentNetwork:
    """Return the untrained network of a configuration, determined by its seed.

    This needs no data, unless sizes or ``loss_on`` of a task from arrays are left to the data.

    Args:
        config: Configuration of the network.
        matrix: Matrix R of a dense residual, from a checkpoint; read from ``config.residual_file`` if not given.

    Raises:
        UserError: If the file of a dense residual is missing or damaged, has another size, or holds numbers that are
            too large, or for a reason that `completed` names.
    """
    config = completed(config)
    network = _network(config, matrix)
    if config.loss_on is not None:
        network.outputs_at = config.loss_on
    return network


def _network(config: TrainConfig, matrix: Tensor | None) -> RecurrentNetwork:
    shape = sizes(config)
    rng, dtype = _generator(config.seed, _WEIGHTS), _DTYPES[config.dtype]
    if config.model == "s4d":
        options = {name: size for name in ("layers", "modes") if (size := getattr(config, name)) is not None}
        return S4D(*shape, **options, rng=rng, dtype=dtype)
    if config.model != "wcrnn":
        return _PLAIN[config.model](*shape, rng=rng, dtype=dtype)
    coupling: float | Tensor
    if isinstance(config.coupling, str):
        coupling = residuals.informed_coupling(config.hidden_size, _generator(config.seed, _COUPLING))
    else:
        coupling = config.coupling
    return WCRNN(
        *shape,
        residual=_residual(config, matrix),
        coupling=coupling,
        form=config.form,
        nonlinearity=config.nonlinearity,
        rng=rng,
        dtype=dtype,
    )


def build_task(config: TrainConfig) -> Task:
    """Return the task of a configuration, with its data.

    Raises:
        UserError: If data are missing, damaged, or fewer than the configuration asks for.
    """
    dtype = _DTYPES[config.dtype]
    if config.task == "adding":
        return AddingProblem(
            100 if config.length is None else config.length,
            batch_size=config.batch_size,
            iterations_per_epoch=1000 if config.iterations_per_epoch is None else config.iterations_per_epoch,
            test_size=2000 if config.test_size is None else config.test_size,
            validation_size=config.validation_size,
            loss=DEFAULT_ERROR if config.loss is None else config.loss,
            seed=config.seed,
            dtype=dtype,
        )
    if config.task == "arrays":
        assert config.data is not None  # checked by TrainConfig
        return ArrayTask.from_file(
            config.data,
            input_size=config.input_size,
            output_size=config.output_size,
            length=config.length,
            loss_on=config.loss_on,
            batch_size=config.batch_size,
            train_size=config.train_size,
            test_size=config.test_size,
            validation_size=config.validation_size,
            loss=config.loss,
            seed=config.seed,
            dtype=dtype,
        )
    return _IMAGES[config.task](
        batch_size=config.batch_size,
        train_size=config.train_size,
        test_size=config.test_size,
        validation_size=config.validation_size,
        seed=config.seed,
        dtype=dtype,
    )


@dataclass(frozen=True)
class Tasks:
    """Tasks on a device, each built once: networks that see the same data share them.

    Attributes:
        device: Device of the samples that tasks keep.
    """

    device: torch.device
    _built: dict[tuple[object, ...], Task] = field(default_factory=dict)

    def of(self, config: TrainConfig) -> Task:
        """Return the task of a configuration; the same object for all that agree in `DATA_FIELDS`.

        Raises:
            UserError: If data are missing, damaged, or fewer than the configuration asks for.
        """
        key = tuple(getattr(config, name) for name in DATA_FIELDS)
        if key not in self._built:
            self._built[key] = build_task(config).to(self.device)
        return self._built[key]


def completed(config: TrainConfig, task: Task | None = None) -> TrainConfig:
    """Return a configuration with all sizes of its task, so that its network is built without the data.

    Args:
        config: Any configuration. That of a task from arrays may lack sizes and ``loss_on``, which are then those of
            the arrays.
        task: Its task, if it is at hand; otherwise the data are read where a size is missing.

    Raises:
        UserError: If the data are missing or damaged, or do not have the sizes that are given.
    """
    if config.task != "arrays" or None not in (config.input_size, config.output_size, config.length, config.loss_on):
        return config
    task = build_task(config) if task is None else task
    return replace(
        config,
        input_size=task.input_size,
        output_size=task.output_size,
        length=task.sequence_length,
        loss_on=task.loss_on,
    )


def sizes(config: TrainConfig) -> tuple[int, int, int]:
    """Return the numbers of input components, units and output components; those of arrays may have to be read."""
    if config.task == "arrays":
        config = completed(config)
        assert config.input_size is not None
        assert config.output_size is not None
        return config.input_size, config.hidden_size, config.output_size
    task = AddingProblem if config.task == "adding" else _IMAGES[config.task]
    return task.input_size, config.hidden_size, task.output_size


def _residual(config: TrainConfig, matrix: Tensor | None) -> residuals.ResidualSpec:
    rng = _generator(config.seed, _RESIDUAL)
    if config.residual == "informed":
        return residuals.informed(rng)
    if config.residual == "dense":
        return residuals.dense(_read_matrix(config) if matrix is None else matrix)
    if config.residual == "scalar":
        return residuals.scalar(config.r)
    if config.residual == "heterogeneous":
        assert config.delta_r is not None  # checked by TrainConfig
        return residuals.heterogeneous(config.r, config.delta_r, rng)
    strength = config.r if config.delta_r is None else 1.0
    if config.residual == "rotation":
        assert config.phi is not None  # checked by TrainConfig
        turned = residuals.rotation(config.phi, strength, rng)
    else:
        turned = residuals.orthogonal(strength, rng)
    if config.delta_r is None:
        return turned
    return residuals.product(
        turned, residuals.heterogeneous(config.r, config.delta_r, _generator(config.seed, _DIAGONAL))
    )


def _read_matrix(config: TrainConfig) -> Tensor:
    """Return the matrix of a dense residual, float64, shape (N, N); nothing in the file is executed."""
    assert config.residual_file is not None  # checked by TrainConfig
    path = Path(config.residual_file)
    if not path.is_file():
        raise UserError(f"there is no file {path} for the residual; save the matrix with numpy.save.")
    entries = read_array(path)
    size = config.hidden_size
    if entries.shape != (size, size) or entries.dtype.kind not in "fiu":
        found = f"{entries.dtype} of shape {entries.shape}"
        raise UserError(f"{path} must hold {size} x {size} real numbers, as hidden_size asks for, got {found}.")
    if not np.isfinite(entries).all():
        raise UserError(f"{path} must hold finite numbers, got one that is not.")
    matrix = torch.from_numpy(entries.astype(np.float64))
    try:
        check_fits("a number", matrix, _DTYPES[config.dtype])
    except ValueError as error:
        raise UserError(f"{path}: {clause(error)}.") from error
    return matrix


def _generator(seed: int, stream: int) -> torch.Generator:
    """Return a generator with independent numbers for each stream of a seed."""
    mixed = int(np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(mixed)
