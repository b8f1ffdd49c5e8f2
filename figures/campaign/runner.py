"""Work through the stages of the campaign: train what has no record, analyse it, and record both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from figures.campaign.analyses import analyse, results_file
from figures.campaign.rates import Rates
from figures.campaign.records import Record, add_records, read_records
from figures.campaign.stage import Stage
from figures.data_sets import DATA_SET_OF, find_data_set
from figures.experiments.base import commit
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.groups import groups
from wcrnn_models.sweeps.layout import plan, read_result, run_name
from wcrnn_models.sweeps.worker import Job, work
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult
from wcrnn_models.training.saved import load_checkpoint

WAIT_SECONDS = 20.0
"""Seconds until another look at trainings that other processes are busy with."""

TOGETHER = {"cpu": 1, "cuda": 96}
"""Networks trained at once: on a processor nothing is gained (see benchmarks/training.py), on a GPU one small network
leaves most idle."""


@dataclass
class Campaign:
    """The stages with their records.

    Attributes:
        stages: The stages in the order in which they run.
        records: Folder of the records.
        runs: Folder of the trainings with their checkpoints, which stay on this machine.
        device: Device on which to train.
        analyses: Whether to analyse the trained networks; if not, a later campaign with the same runs does.
        say: Function that takes one line for each training that ends, and for each stage that cannot run.
        failed: Messages of trainings that failed, by name; they are not tried again.
    """

    stages: Sequence[Stage]
    records: Path
    runs: Path
    device: str = "cpu"
    analyses: bool = True
    say: Callable[[str], None] = print
    failed: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, list[Record]]:
        """Return the records of all stages.

        Raises:
            UserError: If a file is damaged or of another version.
        """
        return {stage.name: read_records(self.records, stage.name) for stage in self.stages}

    def left(self, records: Mapping[str, Sequence[Record]]) -> dict[str, list[TrainConfig]]:
        """Return the trainings of each stage that have no record, or whose analyses are to be made.

        Args:
            records: Records by stage.
        """
        rates = Rates(records)
        found = {}
        for stage in self.stages:
            done = {run_name(record.config) for record in records[stage.name]}
            found[stage.name] = [
                config for config in stage.configs(rates) if run_name(config) not in done or self._lacks(stage, config)
            ]
        return found

    def _lacks(self, stage: Stage, config: TrainConfig) -> bool:
        """Return whether analyses of a training are missing that are asked for."""
        if not self.analyses or not stage.analyses(config):
            return False
        return not results_file(self.records, stage.name, run_name(config)).exists()

    def work(self) -> None:
        """Train until nothing is left that can be trained. Interrupt it at any moment; it goes on from there."""
        while True:
            progressed, busy = False, False
            for jobs in self._jobs():
                outcomes = self._train(jobs)
                progressed |= "done" in outcomes
                busy |= "busy" in outcomes
                if progressed:
                    break  # rates may be known now, and other processes may have added records
            if not progressed and not busy:
                return
            if not progressed:
                time.sleep(WAIT_SECONDS)

    def _jobs(self) -> Iterator[dict[str, tuple[TrainConfig, Stage]]]:
        """Yield the trainings that can run now, by name, those together that can be trained together."""
        records = self.read()
        left = self.left(records)
        waiting: dict[str, tuple[TrainConfig, Stage]] = {}
        for stage in self.stages:
            configs = {run_name(config): config for config in left[stage.name] if run_name(config) not in self.failed}
            if configs and not any(left[need] for need in stage.needs) and self._has_data(stage, configs.values()):
                for name, config in configs.items():
                    waiting.setdefault(name, (config, stage))  # another stage with the same training takes its turn
        together = TOGETHER[self.device.partition(":")[0]]
        for names in groups({name: config for name, (config, _) in waiting.items()}, together):
            yield {name: waiting[name] for name in names}

    def _has_data(self, stage: Stage, configs: Iterable[TrainConfig]) -> bool:
        """Return whether the data sets of a stage exist; say once what is missing."""
        for data_set in sorted({DATA_SET_OF[config.task] for config in configs if config.task in DATA_SET_OF}):
            try:
                find_data_set(data_set)
            except UserError as error:
                if stage.name not in self.failed:
                    self.failed[stage.name] = str(error)
                    self.say(f"{stage.name}: skipped: {error}")
                return False
        return True

    def _train(self, jobs: Mapping[str, tuple[TrainConfig, Stage]]) -> set[str]:
        """Train some configurations and record those that ended; return which of done, busy and failed occurred."""
        plan([config for config, _ in jobs.values()], self.runs)
        before = {name: _iterations(self.runs / name) for name in jobs}
        start = time.perf_counter()
        job = Job(self.runs, {name: config.to_json() for name, (config, _) in jobs.items()}, self.device)
        outcomes = {outcome.name: outcome for outcome in work(job)}
        elapsed = time.perf_counter() - start
        happened = set()
        for name, (config, stage) in jobs.items():
            outcome = outcomes[name]
            if outcome.status == "busy":
                happened.add("busy")
            elif outcome.status in ("finished", "diverged"):
                result = read_result(self.runs / name)
                assert result is not None
                trained = _iterations(self.runs / name) - before[name]
                if self._lacks(stage, config):
                    analyse(self.runs / name, stage.analyses(config), results_file(self.records, stage.name, name))
                record = self._record(config, result, elapsed / trained if trained else None)
                add_records(self.records, stage.name, [record])
                self.say(f"{stage.name}: {_described(config, stage)}: {_measured(result)}")
                happened.add("done")
            else:
                self.failed[name] = outcome.message
                self.say(f"{stage.name}: {_described(config, stage)}: failed: {outcome.message}")
                happened.add("failed")
        return happened

    def _record(self, config: TrainConfig, result: TrainResult, seconds_per_iteration: float | None) -> Record:
        return Record(
            config=config,
            result=result,
            weights=weight_changes(self.runs / run_name(config), result),
            seconds_per_iteration=seconds_per_iteration and float(f"{seconds_per_iteration:.3g}"),
            commit=commit(),
            where=f"{self.device}, {torch.get_num_threads()} thread(s), PyTorch {torch.__version__}",
        )


def weight_changes(run: Path, result: TrainResult) -> dict[str, tuple[float, float, float]]:
    """Return the 2-norms of each parameter before and after a training, and of the difference.

    Args:
        run: Directory of the training.
        result: Its result.
    """
    if not {"initial", "final"} <= set(result.checkpoints):
        return {}
    first, last = (
        dict(load_checkpoint(run / result.checkpoints[role]).model.named_parameters()) for role in ("initial", "final")
    )
    return {
        name: (_norm(before), _norm(last[name]), _norm(last[name].detach() - before.detach()))
        for name, before in first.items()
    }


def _norm(tensor: Tensor) -> float:
    return float(tensor.detach().double().norm())


def _iterations(run: Path) -> int:
    result = read_result(run)
    if result is None or not result.iterations:
        return 0
    return max(result.iterations[-1], result.diverged_at or 0)


def _described(config: TrainConfig, stage: Stage) -> str:
    return ", ".join(f"{name} {getattr(config, name)}" for name in dict.fromkeys((*stage.dimensions, "learning_rate")))


def _measured(result: TrainResult) -> str:
    best = "nothing" if result.best_metric is None else f"{result.best_metric:.4g}"
    return f"{result.status}, best {result.metric_name} {best}"
