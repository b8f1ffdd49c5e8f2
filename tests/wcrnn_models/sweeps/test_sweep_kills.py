"""Real processes that are killed at any moment: nothing is lost, nothing runs twice, nothing is changed."""

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest

from sweep_runs import (
    BUSY_SECONDS,
    CONFIGS,
    TOTAL,
    alive,
    assert_nothing_lost_or_repeated,
    begun,
    evaluations,
    half_done,
    start_driver,
    state,
    until,
)
from wcrnn_models import UserError, train
from wcrnn_models.sweeps import analyze_sweep, driver, run_name
from wcrnn_models.sweeps import sweep as readable_sweep
from wcrnn_models.sweeps.cluster import ClusterPool
from wcrnn_models.sweeps.worker import work

sweep = partial(readable_sweep, readable=False)  # names that do not depend on the other runs

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(driver, "_BUSY_SECONDS", BUSY_SECONDS)


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """What the runs give one after the other, without a sweep."""
    directory = tmp_path_factory.mktemp("sequential")
    for config in CONFIGS:
        train(config, directory / run_name(config))
    return {run_name(config): state(directory / run_name(config)) for config in CONFIGS}


def test_a_worker_is_killed(tmp_path, sequential):
    """In the middle of a run; the others do not notice."""
    killed = {}

    def kill():
        name, killed[name] = until(lambda: half_done(tmp_path))
        os.kill(begun(tmp_path)[name][-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = sweep(CONFIGS, tmp_path, workers=2)
    thread.join()
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    (name,) = killed
    assert len(begun(tmp_path)[name]) == 2
    assert_nothing_lost_or_repeated(tmp_path, sequential, killed)


def test_the_driver_is_killed(tmp_path, sequential):
    """Its processes end with it, and the next driver goes on from what they have evaluated."""
    directory = tmp_path / "sweep"
    with start_driver(tmp_path, directory) as process:
        until(lambda: max(evaluations(directory).values()) >= 20)
        process.send_signal(signal.SIGKILL)
    reached = {name: at for name, at in evaluations(directory).items() if -1 < at < TOTAL}
    assert reached
    workers = [process for processes in begun(directory).values() for process in processes]
    until(lambda: not any(map(alive, workers)))
    outcomes = sweep(CONFIGS, directory, workers=2)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert_nothing_lost_or_repeated(directory, sequential, dict.fromkeys(sequential, 0) | reached)


def test_two_sweeps_share_a_directory(tmp_path, sequential):
    """Each run is trained by one of them, and both end with all of them finished."""
    directory = tmp_path / "sweep"
    with start_driver(tmp_path, directory) as process:
        until(lambda: sum(map(len, begun(directory).values())))
        outcomes = sweep(CONFIGS, directory, workers=2)
        assert process.wait(120) == 0
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert all(len(processes) == 1 for processes in begun(directory).values())
    assert_nothing_lost_or_repeated(directory, sequential)


class Cluster:
    """A scheduler and two workers, each a process of its own with one thread."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-show", "--no-dashboard"
        )
        until(self.file.exists)
        self.workers = [self.start_worker() for _ in range(2)]

    def start_worker(self):
        return self._start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _start(self, command, *options):
        arguments = ["--scheduler-file", str(self.file), *options]
        with (self.folder / f"{command}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    @property
    def address(self):
        return json.loads(self.file.read_text())["address"]

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.close()


def test_a_cluster_gives_what_sequential_training_gives(tmp_path, sequential, cluster):
    """Both workers take part; a second call has nothing to do."""
    outcomes = sweep(CONFIGS, tmp_path, scheduler=cluster.address)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert_nothing_lost_or_repeated(tmp_path, sequential)
    processes = {process for (process,) in begun(tmp_path).values()}
    assert processes == {worker.pid for worker in cluster.workers}
    assert sweep(CONFIGS, tmp_path, scheduler=cluster.address) == outcomes
    assert_nothing_lost_or_repeated(tmp_path, sequential)
    analyses = analyze_sweep(
        tmp_path,
        CONFIGS[:2],
        scheduler=cluster.address,
        checkpoints="ends",
        samples=2,
        trajectories=1,
        include=["lyapunov_spectrum"],
    )
    assert {outcome.status for outcome in analyses.values()} == {"finished"}
    assert len(list(tmp_path.glob("*/analyses/*.nc"))) == len(analyses) == 4


def test_a_worker_of_a_cluster_is_killed(tmp_path, sequential, cluster):
    """The other one goes on with its run."""
    killed = {}

    def kill():
        name, killed[name] = until(lambda: half_done(tmp_path))
        (process,) = begun(tmp_path)[name]
        os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = sweep(CONFIGS, tmp_path, scheduler=cluster.address)
    thread.join()
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    (name,) = killed
    assert len(set(begun(tmp_path)[name])) == 2
    assert_nothing_lost_or_repeated(tmp_path, sequential, killed)
    cluster.workers = [worker for worker in cluster.workers if worker.poll() is None]
    cluster.workers.append(cluster.start_worker())


def test_the_driver_of_a_cluster_is_killed_while_another_one_shares_the_directory(tmp_path, sequential, cluster):
    """Workers finish what they are at; the driver that stays, and one that is started again, wait for it."""
    directory = tmp_path / "sweep"
    with start_driver(tmp_path, directory, cluster.address) as process:
        until(lambda: half_done(directory))
        process.send_signal(signal.SIGKILL)
    with start_driver(tmp_path, directory, cluster.address) as process:
        outcomes = sweep(CONFIGS, directory, scheduler=cluster.address)
        assert process.wait(120) == 0
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert_nothing_lost_or_repeated(directory, sequential)


def test_a_scheduler_that_is_not_there_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("wcrnn_models.sweeps.cluster._SECONDS_TO_CONNECT", 0.2)
    with pytest.raises(
        UserError, match=r"there is no scheduler at 'tcp://127.0.0.1:9' .*; start one by `dask scheduler`"
    ):
        ClusterPool("tcp://127.0.0.1:9", work)
    with pytest.raises(UserError, match="there is no scheduler at 'nonsense:///'"):
        ClusterPool("nonsense:///", work)
