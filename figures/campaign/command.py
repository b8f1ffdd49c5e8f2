"""``python -m figures measure``: work through the campaign for as long as there is time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from figures.campaign.budget import OutOfTime, budget, seconds
from figures.command import RUNS, command, make_directory
from lyapkit_command.guard import SUCCESS
from wcrnn_models.errors import UserError, suggestion

if TYPE_CHECKING:
    from figures.campaign.runner import Campaign

RECORDS = Path("figures/data/campaign")


@dataclass(frozen=True)
class Arguments:
    """Train the networks of the paper's figures, one stage after the other. Run it in the root of the clone.

    Trainings that have a record are not repeated. The command stops when the budget is spent, at Ctrl-C or when it is
    killed; the same command goes on from there, bit for bit on the same machine. Records are small and belong into the
    repository; checkpoints stay in --runs.
    """

    stages: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STAGE")] = ()
    """Stages to work on, with those that choose their learning rates; all if not given."""

    budget: str | None = None
    """Time to work, such as 2h, 1h30m or 480s; until all is done if not given."""

    status: bool = False
    """Say what is done and left, and stop."""

    device: str = "cpu"
    """Device on which to train, such as cuda, where many networks are trained together."""

    threads: int = 1
    """Processes that train, of one thread each: one for each core, and several also keep a GPU busy."""

    analyses: bool = True
    """Analyse the trained networks. With --no-analyses, a later call with the same --runs does."""

    records: Path = RECORDS
    """Folder of the records."""

    runs: Path = RUNS / "campaign"
    """Folder of the trainings and their checkpoints."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments after ``python -m figures measure``; those of the process by default.

    Returns:
        0 when all is done or the budget is spent, 2 after a user's mistake, 130 after Ctrl-C.
    """
    return command("figures measure", Arguments, sys.argv[2:] if arguments is None else arguments, _run)


def _run(arguments: Arguments) -> int:
    from figures.campaign.status import status

    limit = None if arguments.budget is None else seconds(arguments.budget)
    if arguments.threads < 1:
        raise UserError(f"threads must be at least 1, got {arguments.threads}.")
    campaign = _campaign(arguments)
    campaign.read()  # refuses damaged records before hours are spent
    if arguments.status:
        print(status(campaign))
        return SUCCESS
    make_directory(arguments.records, "--records")
    make_directory(arguments.runs, "--runs")
    from wcrnn_models.training.trainer import usable

    usable(arguments.device)
    helpers = [
        multiprocessing.get_context("spawn").Process(target=_help, args=(arguments,), daemon=True)
        for _ in range(arguments.threads - 1)
    ]
    try:
        with budget(limit):
            for process in helpers:
                process.start()
            campaign.work()
            for process in helpers:
                process.join()
    except OutOfTime:
        print("the budget is spent; the same command goes on from here")
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command goes on from here.") from stop
    finally:
        for process in helpers:
            if process.pid is not None:
                process.terminate()
                process.join()
    print(status(campaign))
    return SUCCESS


def _campaign(arguments: Arguments) -> Campaign:
    from figures.campaign.runner import TOGETHER, Campaign
    from figures.campaign.stages import STAGES

    known = {stage.name: stage for stage in STAGES}
    for name in arguments.stages:
        if name not in known:
            raise UserError(f"there is no stage {name!r}.{suggestion(name, known)} Known stages: {', '.join(known)}.")
    if arguments.device.partition(":")[0] not in TOGETHER:
        raise UserError(f"device must be one of {', '.join(TOGETHER)}, got {arguments.device!r}.")
    chosen = {*arguments.stages, *(need for name in arguments.stages for need in known[name].needs)}
    stages = [stage for stage in STAGES if not chosen or stage.name in chosen]
    return Campaign(stages, arguments.records, arguments.runs, arguments.device, arguments.analyses, _say)


def _say(line: str) -> None:
    print(line, flush=True)


def _help(arguments: Arguments) -> None:
    """Train beside the main process, and end with it; claims keep two processes off the same training."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main one stops this
    _campaign(arguments).work()


def _end_with_parent() -> None:
    """Leave at once when the main process has ended, also by a kill; the training goes on from its file later."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
