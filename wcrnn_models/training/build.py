"""The network and the task that a configuration describes."""

from __future__ import annotations

import numpy as np
import torch

from wcrnn_models import residuals
from wcrnn_models.cells import WCRNN
from wcrnn_models.tasks import AddingProblem, PermutedSequentialMNIST, SequentialMNIST, Task
from wcrnn_models.training.config import TrainConfig

_TASKS: dict[str, type[Task]] = {task.name: task for task in (AddingProblem, SequentialMNIST, PermutedSequentialMNIST)}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_WEIGHTS, _RESIDUAL = 2, 3  # streams of random numbers; tasks draw from their own


def build_model(config: TrainConfig) -> WCRNN:
    """The untrained network of a configuration, determined by its seed. Needs no data."""
    task = _TASKS[config.task]
    return WCRNN(
        task.input_size,
        config.hidden_size,
        task.output_size,
        residual=_residual(config),
        coupling=config.coupling,
        rng=_generator(config.seed, _WEIGHTS),
        dtype=_DTYPES[config.dtype],
    )


def build_task(config: TrainConfig) -> Task:
    """The task of a configuration, with its data.

    Raises:
        UserError: If data are missing or damaged, or fewer than the configuration asks for.
    """
    dtype = _DTYPES[config.dtype]
    if config.task == "adding":
        return AddingProblem(
            100 if config.length is None else config.length,
            batch_size=config.batch_size,
            iterations_per_epoch=1000 if config.iterations_per_epoch is None else config.iterations_per_epoch,
            test_size=2000 if config.test_size is None else config.test_size,
            seed=config.seed,
            dtype=dtype,
        )
    task = SequentialMNIST if config.task == "smnist" else PermutedSequentialMNIST
    return task(
        batch_size=config.batch_size,
        train_size=config.train_size,
        test_size=config.test_size,
        seed=config.seed,
        dtype=dtype,
    )


def _residual(config: TrainConfig) -> residuals.ResidualSpec:
    if config.residual == "rotation":
        assert config.phi is not None  # checked by TrainConfig
        return residuals.rotation(config.phi, config.r, _generator(config.seed, _RESIDUAL))
    if config.residual == "heterogeneous":
        assert config.delta_r is not None  # checked by TrainConfig
        return residuals.heterogeneous(config.r, config.delta_r, _generator(config.seed, _RESIDUAL))
    return residuals.scalar(config.r)


def _generator(seed: int, stream: int) -> torch.Generator:
    """Independent numbers for each stream of a seed."""
    mixed = int(np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(mixed)
