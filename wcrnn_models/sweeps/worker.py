"""Do the work of a process of a sweep: train some configurations, and report how each ended."""

from __future__ import annotations

import json
import os
import socket
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from wcrnn_models.errors import UserError
from wcrnn_models.files import append_line
from wcrnn_models.sweeps.claims import claim
from wcrnn_models.sweeps.layout import read_result
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.ensemble import train_ensemble
from wcrnn_models.training.result import ended_result
from wcrnn_models.training.trainer import train

ATTEMPTS_FILE = "attempts.jsonl"
"""File with one line when a process begins or resumes a run, and one when it stops properly."""

EndStatus = Literal["finished", "diverged", "failed"]
RunStatus = Literal["finished", "diverged", "failed", "busy", "killed"]


@dataclass(frozen=True)
class Job:
    """Runs that one process does at a time; several are trained together.

    Attributes:
        directory: The directory of the sweep.
        configs: Configurations as JSON, by the names of their directories.
        device: Device to train on.
    """

    directory: Path
    configs: dict[str, str]
    device: str = "cpu"

    @property
    def names(self) -> list[str]:
        """Names of the runs."""
        return list(self.configs)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        name: Name of its directory.
        status: The outcome: ``"finished"`` or ``"diverged"``; ``"failed"`` if it raised an error; ``"busy"`` if another
            process trains it; ``"killed"`` if its process ended without a report.
        message: Message about a problem, in one line.
        details: Traceback of an error that is not a user's mistake.
    """

    name: str
    status: RunStatus
    message: str = ""
    details: str = ""

    @property
    def ended(self) -> EndStatus:
        """Status of a run that is over."""
        assert self.status != "busy" and self.status != "killed"  # noqa: PT018  # mypy follows it only as one
        return self.status


def work(job: Job) -> list[Outcome]:
    """Train the runs of a job, each under its claim, with one thread.

    Errors are reported, not raised, so that one run does not stop the others.
    """
    torch.set_num_threads(1)  # more threads would wait for each other, and sums would depend on the machine
    outcomes, mine = [], {}
    with ExitStack() as stack:
        for name, text in job.configs.items():
            try:
                if not stack.enter_context(claim(job.directory / name)):
                    outcomes.append(Outcome(name, "busy", "another process is training it"))
                elif ended := complete(job.directory / name):  # by another process, since this job was queued
                    outcomes.append(ended)
                else:
                    mine[name] = TrainConfig.from_json(text)
            except Exception as error:
                outcomes.append(failure(name, error))
        if len(mine) > 1:
            with suppress(Exception):  # whose it is shows below
                return outcomes + _train(job, mine)
        for name, config in mine.items():
            try:
                outcomes += _train(job, {name: config})
            except Exception as error:
                outcomes.append(failure(name, error))
    return outcomes


def complete(run: Path) -> Outcome | None:
    """Return the outcome of a run that has ended, from its directory; None if it has not.

    Raises:
        UserError: If its history is damaged, or a checkpoint that it names is missing.
    """
    if (result := ended_result(run)) is None:
        return None
    assert result.status != "running"
    return Outcome(run.name, result.status, result.warning or "")


def failure(name: str, error: BaseException) -> Outcome:
    """Return the outcome of a run that raised an error."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (UserError, OSError)):
        return Outcome(name, "failed", text)
    return Outcome(name, "failed", f"{type(error).__name__}: {text}", "".join(traceback.format_exception(error)))


def _train(job: Job, configs: dict[str, TrainConfig]) -> list[Outcome]:
    directories = [job.directory / name for name in configs]
    for directory in directories:
        previous = read_result(directory)
        _note(directory, event="begin", iteration=previous.iterations[-1] if previous and previous.iterations else 0)
    if len(configs) > 1:
        results = train_ensemble(list(configs.values()), directories, device=job.device)
    else:
        results = [
            train(config, directory, device=job.device)
            for config, directory in zip(configs.values(), directories, strict=True)
        ]
    for directory, result in zip(directories, results, strict=True):
        _note(directory, event="end", iteration=result.iterations[-1] if result.iterations else 0)
    return [outcome for directory in directories if (outcome := complete(directory)) is not None]


def _note(directory: Path, **values: Any) -> None:
    """Append a line to the record of attempts."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": socket.gethostname(),
        "process": os.getpid(),
        **values,
    }
    append_line(directory / ATTEMPTS_FILE, json.dumps(line))
