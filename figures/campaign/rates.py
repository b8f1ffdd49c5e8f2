"""The choice of learning rates: of a stated grid, the one whose network is best on held-out samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from figures.campaign.records import Record

FALLBACK = 0.02
"""Rate that stands in for one that has not been measured, where only the number of trainings counts."""


CHANCE = 0.2
"""Accuracy that a network must exceed to have learnt something; always answering one of ten classes gives about 0.1."""


class Rates:
    """Learning rates that the records of pilot stages recommend.

    Args:
        records: Records by the name of their stage.
    """

    def __init__(self, records: Mapping[str, Sequence[Record]]) -> None:
        self._records = records

    def of(self, pilot: str, **fields: Any) -> float:
        """Return the best learning rate of a pilot for networks with the given fields.

        The best is the one with the best metric at the end on held-out samples; of equal ones, the smallest. A training
        that diverged is worse than any that did not. Networks that end near chance, with an accuracy of at most
        `CHANCE`, are worse than all others; among them, the best accuracy during the training decides.

        Args:
            pilot: The name of the stage.
            fields: Fields of `TrainConfig` that the network has.

        Returns:
            The learning rate; `FALLBACK` where nothing has been measured.
        """
        found = [
            record
            for record in self._records.get(pilot, ())
            if all(getattr(record.config, name) == value for name, value in fields.items())
        ]
        if not found:
            return FALLBACK
        return min(found, key=_cost).config.learning_rate


def _cost(record: Record) -> tuple[bool, float, float]:
    """Return a cost: the smaller it is, the better is the rate."""
    result = record.result
    metrics = result.test_metrics or [math.inf]
    cost = metrics[-1]
    if result.metric_name == "accuracy":
        cost = -metrics[-1] if metrics[-1] > CHANCE else -min(max(metrics), CHANCE)
    return result.status == "diverged", cost, record.config.learning_rate
