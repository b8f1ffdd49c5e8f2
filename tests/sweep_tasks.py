"""What processes of a pool do in tests; they import it by name."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from wcrnn_models.sweeps.worker import Outcome


@dataclass(frozen=True)
class Sleep:
    """Sleep, write down that it is over, and say so."""

    name: str
    file: Path
    seconds: float = 0.0

    @property
    def names(self):
        return [self.name, f"{self.name}-2"]


def sleep(job):
    time.sleep(job.seconds)
    job.file.write_text("slept")
    return [Outcome(name, "finished") for name in job.names]


def kill_itself(job):
    os.kill(os.getpid(), signal.SIGKILL)


def exit_with_3(job):
    os._exit(3)


def train_half_and_die(job):
    """Evaluate once more, then be killed, as if memory always ran out between two evaluations."""
    from wcrnn_models.sweeps.worker import work
    from wcrnn_models.training import run

    evaluate = run.Run._evaluate
    evaluations = []

    def counted(self, metric=None):
        evaluations.append(1)
        if len(evaluations) > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(self, metric)

    run.Run._evaluate = counted
    return work(job)


def die_at_once(job):
    """Be killed before any evaluation."""
    os.kill(os.getpid(), signal.SIGKILL)
