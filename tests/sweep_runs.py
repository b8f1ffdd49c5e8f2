"""Runs of a sweep that are long enough to be interrupted, and what must hold of them afterwards."""

import json
import os
import subprocess
import sys
import time

import pytest

from wcrnn_models import TrainConfig, load_checkpoint
from wcrnn_models.sweeps import grid, run_name

BASE = TrainConfig(
    length=40,
    hidden_size=20,
    learning_rate=0.05,
    batch_size=32,
    epochs=3,
    iterations_per_epoch=50,
    test_size=50,
    evaluate_every=10,
)
CONFIGS = grid(BASE, r=[0.9, 1.0], seed=range(2))
TOTAL = 150
BUSY_SECONDS = 0.5  # shorter than in use, so that tests do not wait for each other's runs

DRIVER = """
import sys
from wcrnn_models import TrainConfig
from wcrnn_models.sweeps import driver, grid, sweep

driver._BUSY_SECONDS = 0.5
if __name__ == "__main__":
    base = TrainConfig.from_json(sys.argv[2])
    configs = grid(base, r=[0.9, 1.0], seed=range(2))
    outcomes = sweep(configs, sys.argv[1], readable=False, scheduler=(sys.argv[3:] or [None])[0])
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}, outcomes
"""


def state(directory):
    weights = load_checkpoint(directory).model.state_dict()
    history = json.loads((directory / "history.json").read_text())
    return history, {name: value.tolist() for name, value in weights.items()}


def attempts(run):
    file = run / "attempts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def begun(directory):
    """The processes that have begun a run, by its name."""
    lines = {run_name(config): attempts(directory / run_name(config)) for config in CONFIGS}
    return {name: [line["process"] for line in each if line["event"] == "begin"] for name, each in lines.items()}


def half_done(directory):
    """A run in the middle and the last iteration that is known to be evaluated, or None."""
    return next(((name, at) for name, at in evaluations(directory).items() if 20 <= at < TOTAL), None)


def evaluations(directory):
    """The last evaluated iteration of every run."""
    found = {}
    for config in CONFIGS:
        file = directory / run_name(config) / "history.json"
        found[run_name(config)] = json.loads(file.read_text())["iterations"][-1] if file.exists() else -1
    return found


def until(condition, seconds=60):
    """Wait for what a condition gives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    return pytest.fail("waited in vain")


def start_driver(tmp_path, directory, *scheduler):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(directory), BASE.to_json(), *scheduler]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def assert_nothing_lost_or_repeated(directory, sequential, interrupted=()):
    """Results as in sequence; every run was begun once, and again only where its process was interrupted.

    A second attempt starts at an evaluation, not before the last one that is known to have been made, and after the
    first has stopped.
    """
    for name, expected in sequential.items():
        assert state(directory / name) == expected
        lines = attempts(directory / name)
        starts = [line for line in lines if line["event"] == "begin"]
        assert len(starts) <= (2 if name in interrupted else 1)
        assert [line["event"] for line in lines][-1] == "end"
        assert [line["event"] for line in lines].count("end") == 1
        assert starts[0]["iteration"] == 0
        if name in interrupted:
            assert starts[-1]["iteration"] >= interrupted[name]
            assert starts[-1]["iteration"] % BASE.evaluate_every == 0


def alive(process):
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
