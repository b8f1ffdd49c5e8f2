"""The networks of Table 2 on the benchmark tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from figures.experiments.comparison import Comparison, Contestants
from figures.protocols import Protocol
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.networks import NETWORKS, network_fields

FEW = {"quick": {"train_size": 640}, "cpu": {"epochs": 1, "test_size": 2000}, "paper": {}}
"""Fields of images that differ from those of the protocol. Seven networks are trained, some of them slow: `quick` and
`cpu` train them for less than the other experiments do."""


def digits(protocol: Protocol) -> dict[str, list[TrainConfig]]:
    """The networks of Table 2 on sMNIST by name, for every seed that is trained; the first is the first."""
    return {
        name: [
            protocol.images("smnist", **{**FEW[protocol.name], **network_fields(name), "seed": seed})
            for seed in protocol.seeds
        ]
        for name in NETWORKS
    }


def tasks(protocol: Protocol) -> Mapping[str, Contestants]:
    """What is trained, by task: sMNIST, and what the protocol has time for of psMNIST, sCIFAR10 and the adding problem.

    The paper does not say how it trains on sCIFAR10; it is trained as sMNIST is.
    """
    chosen: dict[str, Contestants] = {"smnist": digits(protocol)}
    if protocol.name == "paper":
        for task in ("psmnist", "scifar10"):
            chosen[task] = {
                name: [replace(config, task=task) for config in trainings]
                for name, trainings in digits(protocol).items()
            }
    for length in {"quick": (100,), "cpu": (), "paper": protocol.lengths}[protocol.name]:
        chosen[f"add{length}"] = {
            name: [protocol.adds(length, **network_fields(name), seed=seed) for seed in protocol.seeds]
            for name in NETWORKS
        }
    return chosen


ARCHITECTURES = Comparison("architectures", "the networks of Table 2 on its tasks", tasks)
