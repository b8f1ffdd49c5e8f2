import dataclasses
import errno
import json
import multiprocessing
import os
import threading
import time
from contextlib import suppress
from functools import partial

import pytest
import torch

import sweep_tasks
from tiny_sweep import CONFIGS, TINY, InProcess, attempts
from wcrnn_models import UserError, load_checkpoint, train
from wcrnn_models.sweeps import Outcome, driver, run_name
from wcrnn_models.sweeps import sweep as readable_sweep
from wcrnn_models.sweeps.choose_pool import available_workers, make_pool
from wcrnn_models.sweeps.claims import claim
from wcrnn_models.sweeps.layout import plan, read_runs
from wcrnn_models.sweeps.processes import ProcessPool
from wcrnn_models.sweeps.worker import Job, failure, work
from wcrnn_models.training.result import TrainResult

sweep = partial(readable_sweep, readable=False)  # names that do not depend on the other runs


def state(directory):
    """Everything that a run has to say: its history and its last weights."""
    weights = load_checkpoint(directory).model.state_dict()
    return json.loads((directory / "history.json").read_text()), {
        name: value.tolist() for name, value in weights.items()
    }


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """The runs one after the other, without a sweep."""
    directory = tmp_path_factory.mktemp("sequential")
    for config in CONFIGS:
        train(config, directory / run_name(config))
    return {run_name(config): state(directory / run_name(config)) for config in CONFIGS}


@pytest.mark.slow
def test_a_sweep_gives_what_sequential_training_gives(tmp_path, sequential, capsys):
    """With real processes: bit for bit, each run once, and nothing on a second call."""
    outcomes = sweep(CONFIGS, tmp_path / "new" / "sweep", workers=2, progress=True)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert list(outcomes) == [run_name(config) for config in CONFIGS]
    for name, expected in sequential.items():
        assert state(tmp_path / "new" / "sweep" / name) == expected
        events = [(line["event"], line["iteration"]) for line in attempts(tmp_path / "new" / "sweep" / name)]
        assert events == [("begin", 0), ("end", 16)]
    assert capsys.readouterr().err.splitlines()[-1] == "4 runs: 4 finished"
    assert sweep(CONFIGS, tmp_path / "new" / "sweep", workers=2) == outcomes
    assert all(len(attempts(tmp_path / "new" / "sweep" / name)) == 2 for name in outcomes)


def test_finished_runs_are_skipped_and_unfinished_ones_go_on(tmp_path, sequential, in_process):
    finished, half = CONFIGS[0], CONFIGS[1]
    train(finished, tmp_path / run_name(finished))
    interrupt(half, tmp_path / run_name(half), at=9)
    outcomes = sweep(CONFIGS, tmp_path)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert {name: state(tmp_path / name) for name in outcomes} == sequential
    assert not attempts(tmp_path / run_name(finished))
    assert [line["iteration"] for line in attempts(tmp_path / run_name(half))] == [8, 16]
    assert in_process.closed


def interrupt(config, directory, at):
    """Train up to an iteration."""
    from wcrnn_models.training.run import Run

    with pytest.MonkeyPatch.context() as patch:
        original = Run.batch

        def batch(self):
            if self.iteration == at:
                raise KeyboardInterrupt
            return original(self)

        patch.setattr(Run, "batch", batch)
        with pytest.raises(KeyboardInterrupt):
            train(config, directory)


def test_equal_configurations_are_one_run(tmp_path, in_process):
    outcomes = sweep([TINY, dataclasses.replace(TINY, r=0.995), dataclasses.replace(TINY)], tmp_path)
    assert len(outcomes) == len(in_process.jobs) == 1
    assert read_runs(tmp_path) == {run_name(TINY): TINY}


def test_networks_can_be_trained_together(tmp_path, sequential, in_process):
    """One job for two networks; the results are the same to rounding."""
    outcomes = sweep(CONFIGS, tmp_path, together=2)
    assert [len(job.configs) for job in in_process.jobs] == [2, 2]
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    for name, (history, _) in sequential.items():
        found = json.loads((tmp_path / name / "history.json").read_text())
        assert found["test_metrics"] == pytest.approx(history["test_metrics"], rel=1e-5)


def test_a_run_that_fails_does_not_stop_the_rest(tmp_path, sequential, in_process):
    """Alone, and among networks that are trained together."""
    for together in (1, 4):
        directory = tmp_path / str(together)
        damaged = run_name(CONFIGS[2])
        interrupt(CONFIGS[2], directory / damaged, at=9)
        (directory / damaged / "resume.pt").write_bytes(b"half")
        outcomes = sweep(CONFIGS, directory, together=together)
        assert outcomes[damaged].status == "failed"
        assert f"{damaged}/resume.pt is damaged" in outcomes[damaged].message
        assert "to start the run again" in outcomes[damaged].message
        assert outcomes[damaged].details == ""
        others = [name for name in outcomes if name != damaged]
        assert {outcomes[name].status for name in others} == {"finished"}
        (directory / damaged / "resume.pt").unlink()
        assert sweep(CONFIGS, directory)[damaged].status == "finished"
        assert state(directory / damaged) == sequential[damaged]


def test_a_run_that_has_lost_a_checkpoint_fails(tmp_path, in_process):
    (name,) = sweep([TINY], tmp_path)
    (tmp_path / name / "checkpoints" / "iteration-00000000.json").unlink()
    (outcome,) = sweep([TINY], tmp_path).values()
    assert outcome.status == "failed"
    assert f"{name}/checkpoints/iteration-00000000.json is missing; restore the file, or delete" in outcome.message


def test_a_lost_configuration_is_that_of_the_name(tmp_path, in_process):
    outcomes = sweep([TINY], tmp_path)
    (path,) = tmp_path.glob("*/config.json")
    text = path.read_text()
    path.unlink()
    assert sweep([TINY], tmp_path) == outcomes
    assert path.read_text() == text


def test_a_directory_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    message = r"the directory .*new cannot be made or written \(Permission denied\); name another for the sweep"
    with pytest.raises(UserError, match=message):
        plan([TINY], tmp_path / "new")


def test_divergence_is_an_outcome(tmp_path, in_process):
    (outcome,) = sweep([dataclasses.replace(TINY, r=1e30)], tmp_path).values()
    assert outcome.status == "diverged"
    assert "training diverged" in outcome.message
    (again,) = sweep([dataclasses.replace(TINY, r=1e30)], tmp_path).values()
    assert again == outcome


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, in_process, monkeypatch):
    from wcrnn_models.training.run import Run

    def fail(self):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(Run, "step", fail)
    (outcome,) = sweep([TINY], tmp_path).values()
    assert (outcome.status, outcome.message) == ("failed", "ZeroDivisionError: division by zero")
    assert "in fail" in outcome.details
    assert failure("name", KeyError()).message == "KeyError: KeyError"


@pytest.mark.parametrize("moment", range(0, 60, 7))
def test_a_full_disk_loses_nothing(tmp_path, sequential, in_process, monkeypatch, moment):
    """Every write from the given one on fails; afterwards the same call completes the sweep."""
    writes = []
    sync = os.fsync

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sync(descriptor)

    outcomes = {}
    with monkeypatch.context() as patch, suppress(OSError):  # which the plan itself may raise
        patch.setattr(os, "fsync", full)
        outcomes = sweep(CONFIGS[:2], tmp_path)
    assert len(writes) > moment
    for outcome in outcomes.values():
        assert outcome.status in ("failed", "finished")
        if outcome.status == "failed":
            assert outcome.message == "[Errno 28] No space left on device"
    assert not [path for path in tmp_path.rglob("*.partial") if path.stat().st_size]
    outcomes = sweep(CONFIGS[:2], tmp_path)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert all(state(tmp_path / name) == sequential[name] for name in outcomes)


@pytest.mark.parametrize("left", ["weights without description", "half weights", "half description", "half resume"])
def test_half_written_files_of_a_killed_process_do_no_harm(tmp_path, sequential, in_process, left):
    name = run_name(CONFIGS[0])
    interrupt(CONFIGS[0], tmp_path / name, at=13)
    checkpoints = tmp_path / name / "checkpoints"
    later = checkpoints / "iteration-00000016.safetensors"  # of an evaluation that was not completed
    if left == "weights without description":
        later.write_bytes((checkpoints / "iteration-00000012.safetensors").read_bytes())
    elif left == "half weights":
        later.write_bytes((checkpoints / "iteration-00000012.safetensors").read_bytes()[:50])
        (checkpoints / f".{later.name}.x.partial").write_bytes(b"half")
    elif left == "half description":
        (checkpoints / f".{later.stem}.json.x.partial").write_bytes(b'{"iter')
    else:
        (tmp_path / name / ".resume.pt.x.partial").write_bytes(b"half")
    assert sweep([CONFIGS[0]], tmp_path)[name].status == "finished"
    assert state(tmp_path / name) == sequential[name]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_that_is_trained_elsewhere_is_waited_for(tmp_path, sequential, in_process, monkeypatch):
    """While another process holds it the rest is trained; when it is given back unfinished, it goes on."""
    monkeypatch.setattr(driver, "_BUSY_SECONDS", 1.0)
    (held, *_) = (tmp_path / name for name in plan(CONFIGS, tmp_path))
    release, shown = threading.Event(), []

    def other():
        with claim(held) as mine:
            assert mine
            interrupt(CONFIGS[0], held, at=9)
            taken.set()
            release.wait(60)

    class Watch:
        def __init__(self, stream):
            pass

        def show(self, rows):
            shown.append([row.state for row in rows.values()])
            if shown[-1].count("finished") == 3:
                release.set()

    taken = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(60)
    monkeypatch.setattr(driver, "LiveTable", Watch)
    outcomes = sweep(CONFIGS, tmp_path, progress=True)
    thread.join()
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert {name: state(tmp_path / name) for name in outcomes} == sequential
    assert ["elsewhere", "finished", "finished", "finished"] in shown
    assert [line["iteration"] for line in attempts(held)] == [8, 16]


def test_a_run_that_another_sweep_finished_is_not_repeated(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(driver, "_BUSY_SECONDS", 0.0)
    done = []

    def busy_then_finished(job):
        if not done:
            done.append(1)
            (name,) = job.names
            train(TINY, tmp_path / name)  # as the other sweep does meanwhile
            return [Outcome(name, "busy")]
        return pytest.fail("trained again")

    in_process.task = busy_then_finished
    (outcome,) = sweep([TINY], tmp_path).values()
    assert outcome.status == "finished"
    assert len(in_process.jobs) == 1


def test_a_process_that_is_killed_again_and_again_is_given_up(tmp_path, in_process):
    in_process.task = lambda job: [Outcome(name, "killed", "its process was ended by SIGKILL") for name in job.names]
    (outcome,) = sweep([TINY], tmp_path).values()
    assert outcome.status == "failed"
    assert outcome.message == "its process was ended by SIGKILL, 3 times without a new evaluation"
    assert len(in_process.jobs) == 3


@pytest.mark.slow
def test_a_process_that_is_killed_after_some_progress_is_replaced(tmp_path, sequential, monkeypatch):
    """It dies after every second evaluation, more often than three times in all."""
    monkeypatch.setattr(driver, "work", sweep_tasks.train_half_and_die)
    config = dataclasses.replace(TINY, evaluate_every=1, epochs=1)
    (outcome,) = sweep([config], tmp_path, workers=1).values()
    assert outcome.status == "finished"
    begun = [line["iteration"] for line in attempts(tmp_path / outcome.name) if line["event"] == "begin"]
    assert begun == [0, 1, 3, 5, 7]
    expected = train(config, tmp_path / "expected")
    assert TrainResult.read(tmp_path / outcome.name / "history.json") == expected


@pytest.mark.slow
def test_processes(tmp_path):
    """Side by side; killed ones are told from those that exit; the rest is ended on closing."""
    pool = ProcessPool(2, sweep_tasks.sleep)
    pool.submit(sweep_tasks.Sleep("a", tmp_path / "a"))
    pool.submit(sweep_tasks.Sleep("b", tmp_path / "b", 60.0))
    assert pool.room() == 0
    found = wait_for(pool, 2)
    assert found == [Outcome("a", "finished"), Outcome("a-2", "finished")]
    assert pool.room() == 1
    assert pool.outcomes(0.01) == []
    pool.close()
    assert not multiprocessing.active_children()
    assert not (tmp_path / "b").exists()
    for task, message in (
        (sweep_tasks.kill_itself, "its process was ended by SIGKILL"),
        (sweep_tasks.exit_with_3, "its process ended with exit code 3"),
    ):
        pool = ProcessPool(1, task)
        pool.submit(sweep_tasks.Sleep("c", tmp_path / "c"))
        assert wait_for(pool, 2) == [Outcome("c", "killed", message), Outcome("c-2", "killed", message)]
        pool.close()


def wait_for(pool, count, seconds=60):
    found, deadline = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += pool.outcomes(1.0)
    return found


def test_a_worker_uses_one_thread(tmp_path):
    planned = plan([TINY], tmp_path)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        work(Job(tmp_path, {name: config.to_json() for name, config in planned.items()}))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_planned_runs_are_known_before_they_begin(tmp_path):
    planned = plan(CONFIGS, tmp_path)
    assert read_runs(tmp_path) == dict(sorted(planned.items()))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("config.json")}
    assert plan(CONFIGS, tmp_path) == planned
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("config.json")} == before


def test_two_sweeps_may_plan_at_once(tmp_path, monkeypatch):
    """The other one has written the file and cleaned up what we were writing."""
    from wcrnn_models.sweeps import layout

    original, calls = layout.write_atomically, []

    def disturbed(path, content):
        calls.append(path)
        if len(calls) == 1:
            original(path, content)
            raise FileNotFoundError(path)
        return original(path, content)

    monkeypatch.setattr(layout, "write_atomically", disturbed)
    assert list(plan([TINY], tmp_path)) == [run_name(TINY)]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: sweep([], d), "the sweep has no configuration; give at least one"),
        (lambda d: sweep([TINY], d, workers=0), "workers must be at least 1, got 0"),
        (lambda d: sweep([TINY], d, together=0), "together must be at least 1, got 0"),
        (lambda d: sweep([TINY], d, workers=1, scheduler="tcp://x:1"), "workers does not go with scheduler"),
        (lambda d: sweep([TINY], d / "file"), "a file where a directory should be"),
        (lambda d: sweep([TINY], d / "file" / "below"), "a file where a directory should be"),
        (lambda d: read_runs(d / "missing"), "there is no directory .*missing; give the directory of a sweep"),
        (lambda d: read_runs(d), "holds no run; give the directory of a sweep"),
    ],
    ids=["nothing", "workers", "together", "both", "file", "below a file", "missing", "empty"],
)
def test_mistakes_are_refused(tmp_path, call, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message):
        call(tmp_path)


def test_a_damaged_configuration_is_named(tmp_path):
    plan([TINY], tmp_path)
    (tmp_path / run_name(TINY) / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: .* not valid JSON.*; delete .*, or restore the file"):
        read_runs(tmp_path)


def test_missing_dask_is_explained(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs dask.distributed; run `pip install 'lyapkit\[cluster\]'`"):
        make_pool(work, None, "tcp://127.0.0.1:1")


def test_one_process_has_the_gpu(tmp_path, monkeypatch):
    """Unless more are asked for."""
    asked = []
    monkeypatch.setattr(driver, "make_pool", lambda task, workers, scheduler: asked.append(workers) or InProcess())
    monkeypatch.setattr(driver._Driver, "until_done", lambda self: {})
    monkeypatch.setattr(driver, "known_device", torch.device)
    for options in ({}, {"device": "cuda"}, {"device": "cuda", "workers": 3}, {"device": "cuda", "scheduler": "x"}):
        sweep([TINY], tmp_path, **options)
    assert asked == [None, 1, 3, None]


def test_the_number_of_workers_is_that_of_the_cores(monkeypatch):
    assert available_workers() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_workers() == 7
