"""Contributions of time steps to the leading curvature of untrained networks, below and above the edge of chaos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.nn.functional import mse_loss, one_hot

from figures.experiments.base import describe
from figures.paper import STRENGTH_CLASSES
from lyapkit import curvature_by_step
from wcrnn_models import TrainConfig, predict
from wcrnn_models.models.predictions import Predictions
from wcrnn_models.training.build import build_model, build_task
from wcrnn_models.training.presets import preset

SAMPLES, SEEDS = 64, (0,)
"""Number of test samples of the loss, and of network instances; minutes on one core."""

RATE = 0.02
"""Learning rate of the configurations; nothing is trained."""

RECURRENT = ("recurrent.weight", "recurrent.bias", "input.weight", "input.bias")
"""Parameters that act at every step. With the readout's, a leading eigenvector can be the readout's alone."""


def measure(runs: Path, *, progress: bool, samples: int = SAMPLES, seeds: Sequence[int] = SEEDS) -> xr.DataTree:
    """Measure curvature by step along the leading eigenvector, and between pairs of steps, beside that of eq. (14).

    The curvature is that of the generalised Gauss-Newton matrix, of which eq. (14) speaks, in the recurrent parameters.
    The loss is the squared difference from one-hot targets, whose own curvature is constant: that of the cross-entropy,
    p (1 - p), vanishes where outputs are large, as those of supercritical networks are, and hides the effect of time.
    The pair of steps s and t carries the weight |lambda|^((D-s) + (D-t)), so that a step together with all others
    carries |lambda|^(D-t) and with itself |lambda|^(2 (D-t)). The weight is one factor of the curvature; the other
    is what a step does with the parameters, tanh'(u_t) times the state and the input. It vanishes where units
    saturate, as they do in the later part of supercritical runs, and where pixels are black and states are small.

    Nothing is trained or kept.

    Args:
        runs: Not used.
        progress: Whether to show a bar for each network.
        samples: Number of test samples of the loss.
        seeds: Number of network instances.

    Returns:
        A tree with the child ``curvature_by_step``: the result of `lyapkit.curvature_by_step`, over ``seed`` and ``r``,
        with ``step_weight`` (r, step) and ``pair_weight`` (r, bin, other_bin), see `weights`.

    Raises:
        UserError: If the data set is missing or has fewer test samples.
    """
    by_seed = []
    for seed in seeds:
        configs = [preset("smnist", learning_rate=RATE, r=r, seed=seed, test_size=None) for r in STRENGTH_CLASSES]
        each = [by_step(config, samples, progress=progress) for config in configs]
        by_seed.append(xr.concat(each, xr.Variable("r", list(STRENGTH_CLASSES)), combine_attrs="drop_conflicts"))
    dataset = xr.concat(by_seed, xr.Variable("seed", list(seeds)), combine_attrs="drop_conflicts")
    tree = xr.DataTree.from_dict({"curvature_by_step": dataset.assign_attrs(samples=samples)})
    tree.attrs = describe("curvature_over_time", len(seeds))
    return tree


def by_step(config: TrainConfig, samples: int, *, progress: bool = False) -> xr.Dataset:
    """Return the curvature of the untrained network of a configuration on the first test samples, in float64."""
    network, task = build_model(config), build_task(config)
    predictions = predict(network)
    assert predictions is not None
    batches = list(task.test_batches())
    inputs = torch.cat([inputs for inputs, _ in batches], dim=1)[:, :samples].double()
    targets = torch.cat([targets for _, targets in batches])[:samples]
    if not targets.is_floating_point():
        targets = one_hot(targets, task.output_size)
    found = curvature_by_step(
        network.double(),
        (inputs, targets.double()),
        mse_loss,
        k=1,
        operator="ggn",
        parameters=RECURRENT,
        rng=config.seed,
        progress=progress,
    )
    step_weight, pair_weight = weights(predictions, found.first_step.values[:-1], found.last_step.values[:-1])
    padded = np.zeros((found.sizes["bin"],) * 2)
    padded[:-1, :-1] = pair_weight
    return found.assign(step_weight=("step", step_weight), pair_weight=(("bin", "other_bin"), padded))


def weights(
    predictions: Predictions, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of eq. (14), which sum to 1.

    Args:
        predictions: Predictions for the network.
        first: First step of every bin, counted from 1.
        last: Last step of every bin; of the last one it is D.

    Returns:
        The weights of every step with all others, shape (D,), proportional to |lambda|^(D-t); and those of the pairs of
        bins, summed over their steps, shape (bins, bins).
    """
    duration = int(last[-1])
    of_step = predictions.curvature_weight(duration - np.arange(1, duration + 1), 0)
    of_step /= of_step.sum()
    of_bin = np.add.reduceat(of_step, np.asarray(first) - 1)
    return of_step, np.outer(of_bin, of_bin)
