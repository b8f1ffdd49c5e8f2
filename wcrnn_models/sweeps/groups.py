"""Group the runs of a sweep that `train_ensemble` can train together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.fields import described_fields

_DENSE = ("orthogonal", "dense")  # kept apart: beside one of them, all residuals would be computed by matrices


def groups(configs: Mapping[str, TrainConfig], together: int) -> list[list[str]]:
    """Name runs that can be trained together, at most so many in a group, in the given order.

    Args:
        configs: Configurations by name.
        together: Size of the largest group.

    Example:
        >>> configs = {"a": TrainConfig(seed=0), "b": TrainConfig(form="B"), "c": TrainConfig(seed=1, r=1.0)}
        >>> groups(configs, 2)
        [['a', 'c'], ['b']]
    """
    described = described_fields(TrainConfig)
    open_groups: dict[str, list[str]] = {}
    found: list[list[str]] = []
    for name, config in configs.items():
        values = asdict(config)
        same = [value for field, value in values.items() if not described[field].rule.per_network]
        key = repr([config.residual in _DENSE, *same])
        members = open_groups.get(key)
        if members is None or len(members) == together or config.model != "wcrnn":
            members = open_groups[key] = []
            found.append(members)
        members.append(name)
    return found
