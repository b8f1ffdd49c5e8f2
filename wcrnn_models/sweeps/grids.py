"""All combinations of some fields of a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import product
from typing import Any

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.training.config import TrainConfig


def grid(base: TrainConfig, **axes: Iterable[Any]) -> list[TrainConfig]:
    """The configurations of a full grid, the last axis running fastest.

    Args:
        base: Everything that does not vary.
        axes: Values by field of `TrainConfig`.

    Raises:
        UserError: If a field is unknown or has no value, or a combination is refused.

    Example:
        >>> configs = grid(TrainConfig(epochs=1), r=[0.95, 1.0], seed=range(2))
        >>> [(config.r, config.seed) for config in configs]
        [(0.95, 0), (0.95, 1), (1.0, 0), (1.0, 1)]
    """
    known = [field.name for field in fields(TrainConfig)]
    values = {name: list(axis) for name, axis in axes.items()}
    for name, axis in values.items():
        if name not in known:
            raise UserError(f"the configuration has no field {name!r}.{suggestion(name, known)}")
        if not axis:
            raise UserError(f"the axis {name} has no value; give at least one")
    return [replace(base, **dict(zip(values, point, strict=True))) for point in product(*values.values())]
