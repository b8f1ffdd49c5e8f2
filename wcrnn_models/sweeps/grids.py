"""Form all combinations of some fields of a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import islice, product
from typing import Any

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.training.config import TrainConfig

MAX_RUNS = 100_000
"""Largest number of runs of a grid. There is no source: it is more than anybody trains, and a list of them fits in
memory."""


def grid(base: TrainConfig, **axes: Iterable[Any]) -> list[TrainConfig]:
    """Return the configurations of a full grid, the last axis running fastest.

    Args:
        base: Configuration of the fields that do not vary.
        axes: Values by field of `TrainConfig`.

    Raises:
        UserError: If a field is unknown or has no value, there are more than 100,000 combinations, or one of them is
            refused.

    Example:
        >>> configs = grid(TrainConfig(epochs=1), r=[0.95, 1.0], seed=range(2))
        >>> [(config.r, config.seed) for config in configs]
        [(0.95, 0), (0.95, 1), (1.0, 0), (1.0, 1)]
    """
    known = [field.name for field in fields(TrainConfig)]
    values = {name: list(islice(axis, MAX_RUNS + 1)) for name, axis in axes.items()}
    for name, axis in values.items():
        if name not in known:
            raise UserError(f"the configuration has no field {name!r}.{suggestion(name, known)}")
        if not axis:
            raise UserError(f"the axis {name} has no value; give at least one.")
        if len(axis) > MAX_RUNS:
            raise UserError(f"the axis {name} has more values than the {MAX_RUNS} runs of a grid; give fewer.")
    if (count := math.prod(map(len, values.values()))) > MAX_RUNS:
        raise UserError(f"the grid has {count} runs, more than {MAX_RUNS}; give fewer values, or train several grids.")
    return [replace(base, **dict(zip(values, point, strict=True))) for point in product(*values.values())]
