"""Untrained networks with their samples, and measurements over a grid of such networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from wcrnn_models import WCRNN, predict
from wcrnn_models.training.build import build_model, build_task
from wcrnn_models.training.config import TrainConfig


def prepared(
    config: TrainConfig, count: int, subset: int = 0
) -> tuple[WCRNN, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
    """Return an untrained network in float64 with some of its test samples, a random choice, and the loss.

    Args:
        config: Configuration of the network.
        count: Number of samples.
        subset: Number of the choice; choices with different numbers share no sample.

    Returns:
        The network, inputs of shape (T, count, M), targets, and the loss of outputs and targets.
    """
    network, task = build_model(config), build_task(config)
    assert isinstance(network, WCRNN)
    order = torch.from_numpy(np.random.default_rng(0).permutation(task.test_count))
    inputs, targets = task.test_samples(order[subset * count : (subset + 1) * count])
    return network.double(), inputs.double(), targets.double() if targets.is_floating_point() else targets, task.loss


def over_grid(
    measured: Callable[..., xr.Dataset],
    axes: Sequence[tuple[str, Sequence[object]]],
    point: Mapping[str, object] | None = None,
) -> xr.Dataset:
    """Return measurements over a grid.

    Args:
        measured: Function that measures one point; it takes the names of the axes as keywords.
        axes: Name and values of each axis, the slowest first.
        point: Values of further axes, which have no dimension.
    """
    point = {} if point is None else point
    if not axes:
        return measured(**point)
    (name, values), *others = axes
    parts = [over_grid(measured, others, {**point, name: value}) for value in values]
    return xr.concat(parts, xr.Variable((name,), list(values)))


def exponent_bounds(config: TrainConfig) -> tuple[float, float]:
    """Return the least and the largest exponent that an untrained network can have, whatever its input."""
    predictions = predict(build_model(config))
    assert predictions is not None
    return float(predictions.lower_bounds.min()), float(predictions.upper_bounds.max())
