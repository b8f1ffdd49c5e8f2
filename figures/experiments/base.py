"""A sweep of trainings with the analyses of its checkpoints, as one file of results."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, runtime_checkable
from typing import Protocol as Interface

import xarray as xr

from figures.protocols import Protocol
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps import analyze_sweep, collect, collect_analyses, run_name, sweep
from wcrnn_models.sweeps.assemble import assemble
from wcrnn_models.training.config import TrainConfig

Configs = Callable[[Protocol], Sequence[TrainConfig]]

CLONE = Path(__file__).parents[2]
MEASURED = ("figures/data", "docs/reproduction.md")
"""What measurements change in it."""


class Measurement(Interface):
    """Anything that measures what figures draw."""

    @property
    def name(self) -> str:
        """Of the result file, without its suffix."""

    @property
    def about(self) -> str:
        """In a line."""

    def measure(self, protocol: Protocol, runs: Path, *, workers: int | None, progress: bool) -> xr.DataTree:
        """Do it; what was trained before in ``runs`` is not trained again."""


@runtime_checkable
class Training(Interface):
    """A `Measurement` that trains networks."""

    def trainings(self, protocol: Protocol) -> list[TrainConfig]:
        """What it trains."""


@dataclass(frozen=True)
class Experiment:
    """A grid of trainings and, if asked for, analyses of some of them before and after training.

    Attributes:
        name: Of the result file, without its suffix.
        about: In a line.
        configs: What to train: a full grid over ``dimensions``.
        dimensions: Fields of `TrainConfig` that become dimensions of the results, also where they have one value.
        analysed: Which of them to analyse; none by default.
        options: Arguments of `analyze_checkpoint`.
        checkpoints: Which checkpoints to analyse: all, the first and the last, or the first alone.
    """

    name: str
    about: str
    configs: Configs
    dimensions: tuple[str, ...]
    analysed: Configs | None = None
    options: Callable[[Protocol], Mapping[str, Any]] = field(default=lambda protocol: {})
    checkpoints: Literal["all", "ends", "first"] = "ends"

    def trainings(self, protocol: Protocol) -> list[TrainConfig]:
        """What it trains."""
        return list(self.configs(protocol))

    def measure(self, protocol: Protocol, runs: Path, *, workers: int | None, progress: bool) -> xr.DataTree:
        """Train and analyse what has not been, and collect it.

        Args:
            protocol: How much to train.
            runs: Directory of a sweep; experiments may share it.
            workers: Processes at a time; all cores by default.
            progress: Whether to show a table of the runs.

        Returns:
            A tree: ``training`` as `collect` gives it, and every analysis as `collect_analyses` does, over
            ``dimensions`` and ``checkpoint``. Attributes: ``experiment``, ``protocol``, ``seeds``, ``commit``.

        Raises:
            UserError: If a run or an analysis failed.
        """
        configs = list(self.configs(protocol))
        train_all(configs, runs, workers=workers, progress=progress)
        children = {"training": self._with_dimensions(collect(runs, configs), configs)}
        if self.analysed is not None:
            children |= self._analyses(protocol, runs, workers)
        tree = xr.DataTree.from_dict(children)
        tree.attrs = describe(self.name, protocol, len({config.seed for config in configs}))
        return tree

    def _analyses(self, protocol: Protocol, runs: Path, workers: int | None) -> dict[str, xr.Dataset]:
        assert self.analysed is not None
        configs = list(self.analysed(protocol))
        options = dict(self.options(protocol))
        outcomes = analyze_sweep(runs, configs, checkpoints=self.checkpoints, workers=workers, **options)
        if failed := {name: outcome for name, outcome in outcomes.items() if outcome.status == "failed"}:
            name, outcome = next(iter(failed.items()))
            raise UserError(f"{len(failed)} of {len(outcomes)} analyses failed, such as {name}: {outcome.message}")
        names = (*options["include"], "network")
        return {name: self._with_dimensions(collect_all(runs, name, configs), configs) for name in names}

    def _with_dimensions(self, dataset: xr.Dataset, configs: Sequence[TrainConfig]) -> xr.Dataset:
        """With a dimension also for fields of which all runs have the same value."""
        missing = [name for name in self.dimensions if name not in dataset.dims]
        return dataset.expand_dims({name: [getattr(configs[0], name)] for name in missing})


def collect_all(runs: Path, analysis: str, configs: Sequence[TrainConfig]) -> xr.Dataset:
    """One analysis of some runs over the fields that vary and over checkpoints.

    As `collect_analyses`, but runs that ended early, because they diverged, do not shorten the others: what they do not
    have of the checkpoints that are common to those trained longest is NaN.
    """
    chosen = {run_name(config): config for config in configs}
    parts = {name: collect_analyses(runs, analysis, [config]).drop_encoding() for name, config in chosen.items()}
    iterations = {name: set(part.checkpoint.values.tolist()) for name, part in parts.items()}
    last = max(max(each) for each in iterations.values())
    common = sorted(set.intersection(*(each for each in iterations.values() if last in each)))
    attributes = next(iter(parts.values())).checkpoint.attrs
    for name, part in parts.items():
        parts[name] = part.reindex(checkpoint=common)
        parts[name].checkpoint.attrs = attributes
    return assemble(parts, chosen, "grid")


def train_all(configs: Sequence[TrainConfig], runs: Path, *, workers: int | None, progress: bool) -> None:
    """Train what has not been, as `sweep` does.

    Raises:
        UserError: If a run failed; one that diverged has not.
    """
    outcomes = sweep(configs, runs, workers=workers, progress=progress)
    if failed := {name: each for name, each in outcomes.items() if each.status not in ("finished", "diverged")}:
        name, outcome = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(outcomes)} runs failed, such as {name}: {outcome.message}")


def describe(name: str, protocol: Protocol, seeds: int) -> dict[str, str | int]:
    """Attributes of a result file, from which the captions of figures are made."""
    return {"experiment": name, "protocol": protocol.name, "seeds": seeds, "commit": commit()}


def commit() -> str:
    """The commit of this clone, with ``-dirty`` where tracked files differ from it, and "unknown" outside of a clone.

    Results and the report made from them are no reason for the mark: they do not change what is measured.
    """
    try:
        name = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in MEASURED))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changed else name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CLONE), "--no-optional-locks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
