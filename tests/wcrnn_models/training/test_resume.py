"""Interrupted trainings that go on, bit for bit."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from short_runs import CONFIG, LEARNABLE, interrupted_run, weights
from wcrnn_models import UserError, train
from wcrnn_models.files import exclusive


def assert_same_run(directory, other):
    assert json.loads((directory / "history.json").read_text()) == json.loads((other / "history.json").read_text())
    expected = weights(other)
    assert all(torch.equal(value, expected[name]) for name, value in weights(directory).items())


@pytest.mark.parametrize("stop", [50, 150, 299])
def test_the_probe_survives_an_interruption(tmp_path, monkeypatch, stop):
    config = dataclasses.replace(LEARNABLE, probe_every=7)
    whole = train(config, tmp_path / "whole")
    interrupted_run(tmp_path / "run", monkeypatch, config, at=stop)
    assert train(config, tmp_path / "run") == whole


@pytest.mark.parametrize("stop", [0, 3, 4, 5, 17, 29])
def test_resuming_after_an_exception_is_exact(uninterrupted, tmp_path, monkeypatch, stop):
    interrupted_run(tmp_path, monkeypatch, at=stop)
    if stop > 0:
        assert json.loads((tmp_path / "history.json").read_text())["status"] == "running"
    (tmp_path / ".resume.pt.abc.partial").write_bytes(b"half")  # as left by a process killed while writing
    train(CONFIG, tmp_path)
    assert_same_run(tmp_path, uninterrupted[0])
    assert not (tmp_path / ".resume.pt.abc.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "times"), [(0, 2), (1, 6)])
def test_resuming_after_kills_is_exact(tmp_path, seed, times):
    config = dataclasses.replace(CONFIG, epochs=100, evaluate_every=7)
    code = (
        "import sys, pathlib; from wcrnn_models import TrainConfig, train\n"
        "config = TrainConfig.from_json(sys.argv[2]); train(config, pathlib.Path(sys.argv[1]))"
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", code, str(killed), config.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    delays, kills = random.Random(seed), 0
    for _ in range(times):
        with subprocess.Popen(command, env=environment) as process:
            deadline = time.monotonic() + 60
            before = _evaluations(killed)
            while _evaluations(killed) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(delays.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    assert json.loads((killed / "history.json").read_text())["status"] == "running"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, whole)
        train(config, killed)
    finally:
        torch.set_num_threads(threads)
    assert_same_run(killed, whole)


def _evaluations(directory):
    try:
        return len(json.loads((directory / "history.json").read_text())["iterations"])
    except FileNotFoundError:
        return 0


def test_another_configuration_is_refused_by_its_fields(uninterrupted):
    other = dataclasses.replace(CONFIG, seed=1, r=0.9)
    with pytest.raises(UserError, match=r"r is 0.995 there and 0.9 here, seed is 0 there and 1 here"):
        train(other, uninterrupted[0])


def test_a_directory_in_use_is_refused(tmp_path):
    with exclusive(tmp_path), pytest.raises(UserError, match="in use by process"):
        train(CONFIG, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_integers_may_stand_for_floats_when_resuming(tmp_path, monkeypatch, uninterrupted):
    interrupted_run(tmp_path, monkeypatch, dataclasses.replace(CONFIG, r=1))
    assert train(dataclasses.replace(CONFIG, r=1.0), tmp_path).status == "finished"
