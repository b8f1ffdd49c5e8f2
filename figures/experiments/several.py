"""Sweeps that are no common grid, in one file of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from figures.experiments.base import Experiment, describe
from figures.protocols import Protocol
from wcrnn_models.training.config import TrainConfig


@dataclass(frozen=True)
class Several:
    """Experiments whose results belong together, such as those of different sequence lengths.

    Attributes:
        name: Of the result file, without its suffix.
        about: In a line.
        parts: The experiments by the ending that their results are named by; "" for none.
    """

    name: str
    about: str
    parts: Callable[[Protocol], Mapping[str, Experiment]]

    def trainings(self, protocol: Protocol) -> list[TrainConfig]:
        """What it trains."""
        return [config for part in self.parts(protocol).values() for config in part.trainings(protocol)]

    def measure(self, protocol: Protocol, runs: Path, *, workers: int | None, progress: bool) -> xr.DataTree:
        """Do one after the other.

        Args:
            protocol: How much to train.
            runs: Directory of a sweep; experiments may share it.
            workers: Processes at a time; all cores by default.
            progress: Whether to show a table of the runs.

        Returns:
            A tree with the children of every experiment, such as ``training_100`` for the child ``training`` of the
            experiment of the ending ``100``. Attributes as those of an `Experiment`; ``seeds`` is the largest number.

        Raises:
            UserError: If a run or an analysis failed.
        """
        children: dict[str, xr.Dataset] = {}
        seeds = 0
        for ending, part in self.parts(protocol).items():
            tree = part.measure(protocol, runs, workers=workers, progress=progress)
            children |= {f"{name}_{ending}".rstrip("_"): node.to_dataset() for name, node in tree.children.items()}
            seeds = max(seeds, int(tree.attrs["seeds"]))
        joined = xr.DataTree.from_dict(children)
        joined.attrs = describe(self.name, protocol, seeds)
        return joined
