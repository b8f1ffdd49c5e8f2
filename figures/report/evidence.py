"""What the claims are judged by: records and analyses of the campaign, and result files of untrained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from figures.campaign.results import analysis_results, planned, training_results
from figures.campaign.runner import Campaign
from figures.campaign.stages import STAGES, Stage
from figures.campaign.status import seconds, speeds
from figures.scripts import read
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import TrainConfig

FILES = ("untrained", "coupling_law")
"""Result files of untrained networks."""


@dataclass(frozen=True)
class Left:
    """What is left of a stage.

    Attributes:
        trainings: Without a record.
        of: Trainings of the stage.
        hours: For those that are left, on one thread, without analyses.
        instance_hours: For all trainings of one network instance.
    """

    trainings: int
    of: int
    hours: float
    instance_hours: float


@dataclass
class Evidence:
    """Results by stage and by file, each read once.

    Attributes:
        records: Folder of the records of the campaign.
        data: Folder of the result files; those that are missing count as not measured.
        files: Result files by name, those that are there.
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
        self.files = read([name for name in FILES if (self.data / f"{name}.nc").is_file()], self.data)

    def training(self, stage: str) -> xr.Dataset:
        """Return the trainings of a stage, see `training_results`."""
        if stage not in self._trainings:
            self._trainings[stage] = training_results(self._stages[stage], self._records)
        return self._trainings[stage]

    def analysis(self, stage: str, name: str) -> xr.Dataset | None:
        """Return an analysis of a stage, see `analysis_results`; None where it is there for no network."""
        if stage not in self._analyses:
            try:
                self._analyses[stage] = analysis_results(self._stages[stage], self._records, self.records)
            except ValueError as error:
                raise UserError(f"an analysis of the stage {stage} in {self.records} is damaged: {error}") from error
        return self._analyses[stage].get(name)

    def configs(self, stage: str) -> list[TrainConfig]:
        """Return the trainings of a stage."""
        return list(planned(self._stages[stage], self._records).values())

    def left(self, stage: str) -> Left:
        """Return what is left of a stage."""
        waiting, configs = self._waiting[stage], self.configs(stage)
        total = sum(self.hours(config) for config in configs)
        instances = len({config.seed for config in configs})
        return Left(len(waiting), len(configs), sum(map(self.hours, waiting)), total / instances)

    def hours(self, config: TrainConfig) -> float:
        """Return the estimated hours of a training on one thread."""
        return seconds(config, self._speeds) / 3600
