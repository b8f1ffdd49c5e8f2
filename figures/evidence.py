"""Read the results behind figures and claims: records and analyses of the campaign, and separate result files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from figures.campaign.results import analysis_results, planned, training_results
from figures.campaign.runner import Campaign
from figures.campaign.stage import Stage
from figures.campaign.stages import STAGES
from figures.campaign.status import seconds, speeds
from lyapkit import load
from wcrnn_models.errors import UserError, clause
from wcrnn_models.training.config import TrainConfig

FILES = ("untrained", "initial_dynamics", "coupling_law", "curvature_over_time", "architecture_spectra", "digit")
"""Result files that are not part of the campaign; `python -m figures renew` measures them."""


@dataclass(frozen=True)
class Left:
    """The trainings of a stage that are left to do, and their cost.

    Attributes:
        trainings: Number of trainings without a record.
        of: Number of trainings of the stage.
        hours: Hours for the trainings that are left, on one thread, without analyses.
        instance_hours: Hours for all trainings of one network instance.
    """

    trainings: int
    of: int
    hours: float
    instance_hours: float


@dataclass
class Evidence:
    """Results by stage and by file; each is read once.

    Attributes:
        records: Folder of the records of the campaign.
        data: Folder of the result files; missing files count as not measured.
        files: Result files that exist, by name.
    """

    records: Path
    data: Path
    files: dict[str, xr.DataTree] = field(init=False)
    _trainings: dict[str, xr.Dataset] = field(init=False, default_factory=dict)
    _analyses: dict[str, dict[str, xr.Dataset]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the records and the result files.

        Raises:
            UserError: If a file is damaged.
        """
        campaign = Campaign(STAGES, self.records, self.records / "none")
        self._stages: Mapping[str, Stage] = {stage.name: stage for stage in STAGES}
        self._records = campaign.read()
        self._waiting = campaign.left(self._records)
        self._speeds = speeds(record for stage in self._records.values() for record in stage)
        there = [name for name in FILES if (self.data / f"{name}.nc").is_file()]
        self.files = {name: read_file(name, self.data) for name in there}

    def training(self, stage: str) -> xr.Dataset:
        """Return the trainings of a stage, see `training_results`."""
        if stage not in self._trainings:
            self._trainings[stage] = training_results(self._stages[stage], self._records)
        return self._trainings[stage]

    def analysis(self, stage: str, name: str) -> xr.Dataset | None:
        """Return an analysis of a stage, see `analysis_results`; None if no network has it."""
        if stage not in self._analyses:
            try:
                self._analyses[stage] = analysis_results(self._stages[stage], self._records, self.records)
            except ValueError as error:
                raise UserError(
                    f"an analysis of the stage {stage} in {self.records} is damaged: {clause(error)}."
                ) from error
        return self._analyses[stage].get(name)

    def measured(self, name: str, child: str) -> xr.Dataset | None:
        """Return a part of a result file; None if the file or the part does not exist."""
        tree = self.files.get(name)
        return None if tree is None or child not in tree.children else tree[child].to_dataset()

    def origin(self, name: str) -> str:
        """Return the caption of a stage or a result file: the measured part of it, and the commits that measured it."""
        if name not in self._stages:
            return f"{name}: {_origin(self.files[name])}" if name in self.files else f"{name}: not measured"
        planned, records = self.configs(name), self._records[name]
        there = [record for record in records if record.config in set(planned)]
        if not there:
            return f"{name}: not measured"
        commits = ", ".join(dict.fromkeys(record.commit for record in there))
        instances = len({record.config.seed for record in there})
        plural = "s" if "," in commits else ""
        return f"{name}: {len(there)} of {len(planned)} trainings, {_seeds(instances)}, commit{plural} {commits}"

    def configs(self, stage: str) -> list[TrainConfig]:
        """Return the configurations of the trainings of a stage."""
        return list(planned(self._stages[stage], self._records).values())

    def left(self, stage: str) -> Left:
        """Return the trainings of a stage that are left, and their cost."""
        waiting, configs = self._waiting[stage], self.configs(stage)
        total = sum(self.hours(config) for config in configs)
        instances = len({config.seed for config in configs})
        return Left(len(waiting), len(configs), sum(map(self.hours, waiting)), total / instances)

    def hours(self, config: TrainConfig) -> float:
        """Return the estimated hours of a training on one thread."""
        return seconds(config, self._speeds) / 3600


def read_file(name: str, folder: Path) -> xr.DataTree:
    """Return a result file.

    Raises:
        UserError: If it is missing, damaged, of another experiment, or does not state its commit and instances.
    """
    path, remedy = folder / f"{name}.nc", f'measure it again by "python -m figures renew {name} --data {folder}"'
    if not path.is_file():
        raise UserError(f"{path} does not exist; {remedy}.")
    try:
        tree = load(path)
    except ValueError as error:
        raise UserError(f"{clause(error)}; {remedy}.") from error
    if not isinstance(tree, xr.DataTree) or tree.attrs.get("experiment") != name:
        raise UserError(f"{path} holds no results of the experiment {name}; {remedy}.")
    seeds, commit = tree.attrs.get("seeds"), tree.attrs.get("commit")
    if not isinstance(seeds, int | np.integer) or seeds < 1 or not isinstance(commit, str) or not commit:
        raise UserError(f"{path} does not say how many instances it has and which commit made it; {remedy}.")
    return tree


def _origin(tree: xr.DataTree) -> str:
    return f"{_seeds(int(tree.attrs['seeds']))}, commit {tree.attrs['commit']}"


def _seeds(count: int) -> str:
    return f"{count} instance{'s' * (count != 1)}"
