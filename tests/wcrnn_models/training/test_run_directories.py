"""Directories of runs that cannot be used, and what a failed run leaves."""

import dataclasses
import errno

import pytest

from short_runs import CONFIG, Interrupted
from wcrnn_models import TrainConfig, UserError, train
from wcrnn_models.tasks import AddingProblem


def test_a_file_is_not_a_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; name a directory"):
        train(CONFIG, tmp_path / "file")


@pytest.mark.parametrize("function", ["pathlib.Path.mkdir", "wcrnn_models.training.trainer.open_own"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch, function):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(function, refuse)
    message = r"the directory .*new cannot be made or written \(Permission denied\); name another for the run"
    with pytest.raises(UserError, match=message):
        train(CONFIG, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_device_is_refused(tmp_path):
    with pytest.raises(UserError, match="device 'nonsense' cannot be used here"):
        train(CONFIG, tmp_path, device="nonsense")


def test_a_device_without_numbers_leaves_no_directory(tmp_path):
    with pytest.raises(UserError, match=r"device 'meta' cannot be used here .*; use 'cpu'"):
        train(CONFIG, tmp_path / "new" / "run", device="meta")
    assert list(tmp_path.iterdir()) == []


def interrupt_at_once(monkeypatch):
    def interrupt(*_):
        raise Interrupted

    monkeypatch.setattr(AddingProblem, "train_batch", interrupt)


def test_a_run_that_fails_before_its_first_evaluation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="run `wcrnn data fetch mnist`"):
        train(TrainConfig(task="smnist"), tmp_path / "new" / "run")
    interrupt_at_once(monkeypatch)
    with pytest.raises(Interrupted):
        train(CONFIG, tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_what_was_there(tmp_path, monkeypatch):
    """Neither other files nor a directory that existed are deleted, and another configuration can follow."""
    kept = tmp_path / "run" / "checkpoints" / "notes.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    for name in ("run", "empty"):
        with pytest.raises(UserError, match="run `wcrnn data fetch mnist`"):
            train(TrainConfig(task="smnist"), tmp_path / name)
    with monkeypatch.context() as patch:  # after the untrained network has been kept
        interrupt_at_once(patch)
        with pytest.raises(Interrupted):
            train(CONFIG, tmp_path / "run")
    assert [path.name for path in kept.parent.iterdir()] == ["notes.json"]
    assert kept.read_bytes() == b"precious"
    assert list((tmp_path / "empty").iterdir()) == []
    assert train(CONFIG, tmp_path / "empty").status == "finished"
    assert train(CONFIG, tmp_path / "run").status == "finished"


def test_a_run_that_diverged_at_once_keeps_its_record_when_what_follows_fails(tmp_path, monkeypatch):
    """It is complete, though it has no evaluation."""
    config = dataclasses.replace(CONFIG, r=1e30)

    def fail(*_, **__):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("wcrnn_models.training.trainer.tqdm", fail)
        with pytest.raises(Interrupted):
            train(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == config.to_json()
    assert train(config, tmp_path).status == "diverged"


def test_a_run_that_was_claimed_before_stays_claimed(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(CONFIG.to_json())  # as after a kill before the first evaluation
    interrupt_at_once(monkeypatch)
    with pytest.raises(Interrupted):
        train(CONFIG, tmp_path)
    assert (tmp_path / "config.json").read_text() == CONFIG.to_json()
