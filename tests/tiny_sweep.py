"""A sweep of four runs of a fraction of a second each."""

import json

from wcrnn_models import TrainConfig
from wcrnn_models.sweeps import grid
from wcrnn_models.sweeps.worker import work

TINY = TrainConfig(
    length=6,
    hidden_size=8,
    coupling=0.1,
    learning_rate=0.05,
    batch_size=16,
    epochs=2,
    iterations_per_epoch=8,
    test_size=20,
    evaluate_every=4,
)
CONFIGS = grid(TINY, r=[0.9, 1.0], seed=range(2))


def attempts(directory):
    file = directory / "attempts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class InProcess:
    """A pool that does every job at once in this process, where functions can be replaced."""

    def __init__(self, task=work):
        self.task, self.ended, self.jobs = task, [], []

    def room(self):
        return 2

    def submit(self, job):
        self.jobs.append(job)
        self.ended += self.task(job)

    def outcomes(self, seconds):
        found, self.ended = self.ended, []
        return found

    def close(self):
        self.closed = True
