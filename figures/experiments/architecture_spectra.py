"""Lyapunov spectra of different networks that solve the adding problem equally well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from figures.experiments.base import describe, train_all
from lyapkit import lyapunov_spectrum
from wcrnn_models import LoadedCheckpoint, TrainConfig, list_checkpoints, load_checkpoint, predict
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.training.build import build_task
from wcrnn_models.training.networks import network_fields

TARGET = 0.2
"""Test error (RMS) at which networks are compared; always answering the mean gives 0.408."""

LEARNING_RATES: Mapping[str, float] = MappingProxyType({"wcrnn-best": 0.1, "lstm": 0.5, "ur-lstm": 0.3, "s4d": 0.05})
"""Learning rates by name of `network_fields`. Chosen by trials on length 20, with gradients clipped to norm 1, seed 0,
test error every 50 of at most 1000 iterations: with these, `TARGET` is reached after 650, 500, 250 and 850; a WCRNN at
0.3 has not reached it after 1000, nor has an S4D at 0.3, whose error jumps."""

MOST_EXPONENTS = 100
"""Largest number of exponents that are computed: all of the other networks, but not the 2210 of S4D."""


@dataclass(frozen=True)
class Effort:
    """Size of the experiment.

    Attributes:
        length: Length of the adding problem.
        seeds: Number of network instances.
        iterations: Largest number of training iterations.
        every: Number of iterations between checkpoints.
        steps: Number of steps of each trajectory, after as many again that settle state and frame.
        trajectories: Number of trajectories for each network.
    """

    length: int
    seeds: int
    iterations: int
    every: int
    steps: int
    trajectories: int


EFFORT = Effort(20, seeds=2, iterations=1500, every=50, steps=1000, trajectories=2)
"""Effort of an hour on two cores."""


def configs(name: str, effort: Effort) -> list[TrainConfig]:
    """Return the trainings of a network, one for each seed, with the checkpoints to choose from."""
    return [
        TrainConfig(
            task="adding",
            length=effort.length,
            learning_rate=LEARNING_RATES[name],
            gradient_clip=1.0,
            epochs=1,
            iterations_per_epoch=effort.iterations,
            evaluate_every=effort.every,
            save_at=tuple(range(effort.every, effort.iterations + 1, effort.every)),
            seed=seed,
            **network_fields(name),
        )
        for seed in range(effort.seeds)
    ]


def measure(runs: Path, *, progress: bool, effort: Effort = EFFORT) -> xr.DataTree:
    """Measure conditional Lyapunov exponents of a WCRNN, an LSTM, a UR-LSTM and S4D at the same test error.

    Each is trained on the adding problem and taken at its first checkpoint whose test error is at most `TARGET`, or at
    its best one where none is. Exponents are a property of long times, while a sequence of the task has few steps; so
    the network reads test sequences one after the other, without a reset in between. Of S4D, whose state has thousands
    of components, the leading exponents are computed; all of them are known exactly, since no input changes them.

    Args:
        runs: Folder of the trainings; existing ones are not repeated.
        progress: Whether to show a table of the runs and bars.
        effort: Size of the experiment.

    Returns:
        A tree with a child for each network of `LEARNING_RATES`, over ``seed``: the result of `lyapunov_spectrum`,
        ``test_error``, ``iteration``, ``state_size``, ``learning_rate`` and, except for gated networks,
        ``predicted_exponent`` of every ``predicted_rank``, which is log |eigenvalue of R| or exact for S4D. Every
        child has the attributes ``length`` and ``target``.

    Raises:
        UserError: If a run failed.
    """
    trainings = {name: configs(name, effort) for name in LEARNING_RATES}
    train_all([each for one in trainings.values() for each in one], runs, progress=progress)
    children = {}
    for name, of_seed in trainings.items():
        found = [_analysed(chosen(runs / run_name(config)), effort, progress) for config in of_seed]
        seeds = xr.Variable("seed", [config.seed for config in of_seed])
        joined = xr.concat(found, seeds, combine_attrs="drop_conflicts")
        children[name] = joined.assign_attrs(length=effort.length, target=TARGET)
    tree = xr.DataTree.from_dict(children)
    tree.attrs = describe("architecture_spectra", effort.seeds)
    return tree


def chosen(run: Path) -> LoadedCheckpoint:
    """Return the first checkpoint of a run whose test error is at most `TARGET`; the best one where there is none."""
    measured = [
        each for each in map(load_checkpoint, list_checkpoints(run)) if each.metadata["test_metric"] is not None
    ]
    for checkpoint in measured:
        if checkpoint.metadata["test_metric"] <= TARGET:
            return checkpoint
    return min(measured, key=lambda each: float(each.metadata["test_metric"]))


def drive(config: TrainConfig, steps: int, trajectories: int) -> Tensor:
    """Return test sequences one after the other, different ones on each trajectory: (steps, trajectories, M), float64.

    Args:
        config: Configuration of the training.
        steps: Number of steps of each trajectory.
        trajectories: Number of trajectories.

    Raises:
        ValueError: If there are not enough test sequences.
    """
    inputs = torch.cat([inputs for inputs, _ in build_task(config).test_batches()], dim=1)
    needed = -(-steps // len(inputs))
    if needed * trajectories > inputs.shape[1]:
        raise ValueError(
            f"{trajectories} trajectories of {steps} steps take {needed * trajectories} test sequences, but there are "
            f"{inputs.shape[1]}; use fewer steps, or a larger test_size."
        )
    rows = [
        inputs[:, each * needed : (each + 1) * needed].transpose(0, 1).flatten(0, 1) for each in range(trajectories)
    ]
    return torch.stack(rows, dim=1)[:steps].double()


def _analysed(checkpoint: LoadedCheckpoint, effort: Effort, progress: bool) -> xr.Dataset:
    inputs = drive(checkpoint.config, 2 * effort.steps, effort.trajectories)
    predictions = predict(checkpoint.model)
    network = checkpoint.model.double()
    count = min(MOST_EXPONENTS, network.state_size)
    spectrum = lyapunov_spectrum(network, inputs, k=count, transient=effort.steps, rng=0, progress=progress)
    found = spectrum[["lyapunov_exponent", "standard_error"]].assign(
        test_error=checkpoint.metadata["test_metric"],
        iteration=checkpoint.iteration,
        state_size=network.state_size,
        learning_rate=checkpoint.config.learning_rate,
    )
    if predictions is not None:
        found["predicted_exponent"] = ("predicted_rank", predictions.exponents)
        found = found.assign_coords(predicted_rank=np.arange(1, predictions.exponents.size + 1))
    return found
