"""Informed heterogeneous WCRNNs beside homogeneous ones: Table 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from figures.experiments.comparison import Comparison, Contestants
from figures.protocols import CHARACTERISTIC_FREQUENCY, Protocol
from wcrnn_models.training.config import TrainConfig

HETEROGENEOUS = {"residual": "informed", "coupling": "informed"}
"""Rotations times a diagonal, and couplings, drawn for each unit as in section 4.3."""

HOMOGENEOUS_IMAGES = {"residual": "rotation", "phi": CHARACTERISTIC_FREQUENCY, "r": 1.0}
"""Rotations at the characteristic frequency of sMNIST, at which Fig. 4 has its peak. The paper takes the best
homogeneous configuration of all, and does not say which it was."""

HOMOGENEOUS_ADDING = {"r": 0.995}
"""The weakly subcritical network of Fig. 2; weakly subcritical networks were the best in section 4.1."""


def tasks(protocol: Protocol) -> Mapping[str, Contestants]:
    """What is trained, by task: both data sets, and every length of the protocol, at `cpu` the shortest only."""
    lengths = protocol.lengths if protocol.name == "paper" else protocol.lengths[:1]
    images = {task: _both(protocol, _images(protocol, task), HOMOGENEOUS_IMAGES) for task in ("smnist", "psmnist")}
    return images | {f"add{length}": _both(protocol, _adds(protocol, length), HOMOGENEOUS_ADDING) for length in lengths}


def _both(protocol: Protocol, config: Callable[..., TrainConfig], homogeneous: Mapping[str, Any]) -> Contestants:
    networks = {"homogeneous": homogeneous, "heterogeneous": HETEROGENEOUS}
    return {name: [config(seed=seed, **fields) for seed in protocol.table_seeds] for name, fields in networks.items()}


def _images(protocol: Protocol, task: Any) -> Callable[..., TrainConfig]:
    longer = {"epochs": 3, "test_size": None, "evaluate_every": 100, "probe_every": 50}
    return lambda **fields: protocol.images(task, **(longer if protocol.name == "cpu" else {}), **fields)


def _adds(protocol: Protocol, length: int) -> Callable[..., TrainConfig]:
    longer = {"epochs": 25, "evaluate_every": 500}
    return lambda **fields: protocol.adds(length, **(longer if protocol.name == "cpu" else {}), **fields)


INFORMED = Comparison("informed", "informed heterogeneous WCRNNs beside homogeneous ones", tasks)
