"""Files that lie about their sizes, links, and leftovers: refused in one line, at the cost of their own size."""

import errno
import json
import logging
import os
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from filelock import FileLock

from lyapkit_command.numpy_files import read_archive, read_array
from wcrnn_models import TrainConfig, UserError, load_checkpoint, owners, train
from wcrnn_models.cli import main
from wcrnn_models.files import InUseError, append_line, check_result_file, exclusive, read_regular
from wcrnn_models.sweeps import processes, run_name, sweep
from wcrnn_models.sweeps.claims import claim
from wcrnn_models.tasks import ArrayTask
from wcrnn_models.training.result import TrainResult

TINY = TrainConfig(length=4, hidden_size=4, batch_size=2, epochs=2, iterations_per_epoch=3, test_size=5)


@pytest.fixture
def run(tmp_path):
    train(TINY, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, link):
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years of work")
    (tmp_path / "run" / ".claim").mkdir(parents=True)
    for lock in (".lock", ".claim/.lock", "attempts.jsonl"):
        link(thesis, tmp_path / "run" / lock)
    with pytest.raises(UserError, match=r"\.lock is a link or no regular file"):
        train(TINY, tmp_path / "run")
    with pytest.raises(UserError, match=r"\.lock is a link or no regular file"), claim(tmp_path / "run"):
        pass
    with pytest.raises(UserError, match=r"attempts\.jsonl is a link or no regular file"):
        append_line(tmp_path / "run" / "attempts.jsonl", "{}")
    assert thesis.read_text() == "years of work"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_links_to_nothing_pipes_and_folders_are_refused(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "new")
    with pytest.raises(UserError, match="is a link"), exclusive(tmp_path):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="no regular file"), exclusive(tmp_path):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / ".claim").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match=r"\.claim is a link"), claim(tmp_path):
        pass
    assert list((tmp_path / "other").iterdir()) == []
    (tmp_path / "x.nc").symlink_to(tmp_path / "y.nc")
    with pytest.raises(UserError, match="is a link, and what it points to would be replaced"):
        check_result_file(tmp_path / "x.nc")
    with pytest.raises(UserError, match="is not a regular file"):
        read_regular(tmp_path / ".lock")


def test_a_lock_with_any_content_is_no_harm(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff\x00\x1b[2J" * 1000)
    with exclusive(tmp_path), pytest.raises(InUseError, match=f"in use by process {os.getpid()}"), exclusive(tmp_path):
        pass


@pytest.fixture
def without_locks(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_record_serves(tmp_path):
    with (
        exclusive(tmp_path),
        pytest.raises(UserError, match=f"in use by process {os.getpid()} of"),
        exclusive(tmp_path),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    record = tmp_path / ".owner.json"
    record.write_text(json.dumps({"host": owners.socket.gethostname(), "process": 2**22 + 1, "token": "dead"}))
    with exclusive(tmp_path), claim(tmp_path) as mine, claim(tmp_path) as theirs:
        assert (mine, theirs) == (True, False)
    outcome = next(iter(sweep([TINY], tmp_path / "sweep", workers=1).values()))  # of processes that have locks
    assert outcome.status == "finished"
    assert train(TINY, tmp_path / "run").status == "finished"


@pytest.mark.parametrize(
    ("age", "reason"), [(-3600, "is dated 3600 s in the future"), (90, "was not renewed for 90 s")]
)
def test_a_claim_of_another_machine_that_is_gone_says_why(tmp_path, caplog, age, reason):
    (tmp_path / ".claim").mkdir()
    record = tmp_path / ".claim" / "owner.json"
    record.write_text(json.dumps({"host": "elsewhere", "process": 7, "token": "theirs"}))
    os.utime(record, (time.time() - age, time.time() - age))
    with caplog.at_level(logging.WARNING), claim(tmp_path) as mine:
        assert mine
    (line,) = caplog.messages
    assert f"process 7 of elsewhere counts as gone: its record {reason}" in line.replace("3599", "3600")


def test_what_killed_owners_left_is_deleted(tmp_path):
    (tmp_path / ".claim").mkdir()
    for name, age in (("owner.json.clock.x", 9000), ("owner.json.y", -9000), ("owner.json.z", 10)):
        path = tmp_path / ".claim" / name
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    with claim(tmp_path):
        pass
    assert sorted(path.name for path in (tmp_path / ".claim").iterdir()) == [".lock", "owner.json.z"]


def test_a_killed_forkserver_is_one_line_and_the_work_goes_on(tmp_path, monkeypatch, caplog):
    starts, original = [], processes.BaseProcess.start

    def start(self):
        starts.append(self)
        if len(starts) == 1:
            raise EOFError
        original(self)

    monkeypatch.setattr(processes.BaseProcess, "start", start)
    with caplog.at_level(logging.WARNING):
        assert [each.status for each in sweep([TINY], tmp_path / "sweep", workers=1).values()] == ["finished"]
    assert caplog.messages == ["the process that starts the others was killed; it is started again"]
    monkeypatch.setattr(processes.BaseProcess, "start", lambda self: (_ for _ in ()).throw(EOFError))
    with pytest.raises(UserError, match=r"no process can be started .*same command again, which resumes"):
        sweep([TINY], tmp_path / "again", workers=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 2**31 - 1, "model": "s4d", "residual": "scalar", "r": 0.995, "coupling": 0.01},
        {"hidden_size": 20000, "residual": "orthogonal"},
        {"hidden_size": 2**31 - 2, "residual": "rotation", "phi": "random"},
        {"hidden_size": 100_000, "model": "lstm"},
        {"model": "s4d", "modes": 2**31 - 1},
        {"task": "arrays", "data": "x", "input_size": 2**31 - 1, "output_size": 1, "length": 7}
        | {"loss_on": "last", "iterations_per_epoch": None},
    ],
)
def test_a_checkpoint_cannot_ask_for_a_large_network(run, changes):
    for path in (run / "checkpoints").glob("*.json"):
        content = json.loads(path.read_bytes())
        content["config"] |= changes
        path.write_text(json.dumps(content))
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"do not fit their configuration: it has at least [0-9]+ numbers"):
            load_checkpoint(path)
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iteration": 10**400}, "iteration must be an integer >= 0"),
        ({"iteration": 2**63}, "iteration must be an integer >= 0"),
        ({"metric_name": "\x1b[2J"}, "metric_name must be a string or null"),
    ],
)
def test_numbers_and_names_that_no_result_can_hold_are_refused(run, change, message):
    path = next((run / "checkpoints").glob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(UserError, match=message):
        load_checkpoint(path)


def test_control_characters_of_a_history_do_not_reach_a_terminal(run):
    path = run / "history.json"
    original = json.loads(path.read_bytes())
    for change in ({"metric_name": "\x1b[2J"}, {"warning": "a\nb"}, {"checkpoints": {"final": "\x07"}}):
        path.write_text(json.dumps(original | change))
        with pytest.raises(UserError, match="is not the history of a training run"):
            TrainResult.read(path)


def test_weights_without_a_description_are_deleted(run, tmp_path):
    orphan = run / "checkpoints" / "iteration-00000005.safetensors"
    orphan.write_bytes(b"half")
    (run / "history.json").unlink()
    train(TINY, run)
    assert not orphan.exists()


def test_a_packed_state_is_refused(run):
    state = torch.load(run / "resume.pt", weights_only=True)
    with zipfile.ZipFile(run / "resume.pt") as old, zipfile.ZipFile(run / "new", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    (run / "new").replace(run / "resume.pt")
    (run / "history.json").unlink()
    assert state["format_version"] == 4
    with pytest.raises(UserError, match=r"resume\.pt is damaged \(it is packed"):
        train(TINY, run)


@pytest.mark.parametrize("change", [{"done": -1}, {"losses": [1.0]}, {"norms": "x"}, {"done": 7}, {"done": True}])
def test_a_state_between_evaluations_that_cannot_be_is_refused(run, change):
    state = torch.load(run / "resume.pt", weights_only=True)
    torch.save(state | change, run / "resume.pt")
    (run / "history.json").unlink()
    with pytest.raises(UserError, match="done, losses and norms must be those of the iterations since"):
        train(TINY, run)


class TestNumpy:
    def arrays(self, **changes):
        inputs, targets = np.zeros((3, 4, 2)), np.array([0, 1, 0])
        given = {"train_inputs": inputs, "train_targets": targets, "test_inputs": inputs, "test_targets": targets}
        return given | changes

    def test_a_bomb_is_refused_by_its_directory(self, tmp_path):
        path = tmp_path / "bomb.npz"
        np.savez_compressed(path, **self.arrays(train_inputs=np.zeros(2**25)))
        assert path.stat().st_size < 2**20
        with pytest.raises(UserError, match=r"bomb\.npz unpacks to 268\d+ bytes, more than .*numpy\.savez"):
            read_archive(path, list(self.arrays()))

    def test_a_small_archive_may_be_packed(self, tmp_path):
        np.savez_compressed(tmp_path / "x.npz", **self.arrays(train_inputs=np.zeros(2**20)))
        assert read_archive(tmp_path / "x.npz", ["train_inputs"])[0].shape == (2**20,)

    @pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (-1,), (5,)])
    def test_a_shape_that_the_file_does_not_hold_is_refused(self, tmp_path, shape):
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            file.write(bytes(32))
        with pytest.raises(UserError, match=r"not a NumPy file of plain numbers \(x\.npy is cut off: its shape"):
            read_array(tmp_path / "x.npy")
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.write(tmp_path / "x.npy", "a.npy")
        with pytest.raises(UserError, match=r"not a NumPy archive of plain numbers \(a is cut off"):
            read_archive(tmp_path / "x.npz", ["a"])

    @pytest.mark.parametrize(
        "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00\x00\x00", b"x" * 99]
    )
    def test_damaged_files_are_one_line(self, tmp_path, content):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(UserError, match="is not a NumPy file of plain numbers"):
            read_array(tmp_path / "x.npy")

    @pytest.mark.parametrize("array", [np.zeros((4, 4), dtype=np.longdouble), np.zeros(4, dtype="i4,f8")])
    def test_other_kinds_of_numbers_are_refused(self, tmp_path, array):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(UserError, match="is not a NumPy file of plain numbers"):
            read_array(tmp_path / "x.npy")

    def test_numbers_beyond_the_type_are_refused(self):
        arrays = self.arrays(train_inputs=np.full((3, 4, 2), 1e300))
        with pytest.raises(UserError, match=r"train_inputs must be within the range of float32, got 1e\+300"):
            ArrayTask(**arrays)
        ArrayTask(**arrays, dtype=torch.float64)


@pytest.mark.parametrize(
    "arguments", [["--workers", "0"], ["--workers", "1", "--scheduler", "tcp://x:1"], ["--device", "nonsense"]]
)
def test_a_refused_sweep_writes_nothing(tmp_path, arguments, capsys):
    assert main(["sweep", str(tmp_path / "new"), *arguments]) == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("\n") == 1


def test_too_many_brackets_are_one_line(tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "new"), "--over", "r=" + "[" * 100_000]) == 2
    assert "too many brackets" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_figure_is_not_written_beside_a_directory(tmp_path, capsys):
    (tmp_path / "figures").mkdir()
    assert main(["data", "spectrum", "adding", "--samples", "8", "--output", str(tmp_path / "figures")]) == 2
    assert "is a directory; name a file in it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_the_name_of_a_run_is_printed_whatever_its_bytes(tmp_path, capsys):
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/run-\xff")
    options = [f"--{name.replace('_', '-')}={getattr(TINY, name)}" for name in ("length", "epochs", "test_size")]
    options += ["--hidden-size=4", "--batch-size=2", "--iterations-per-epoch=3"]
    assert main(["train", directory, *options]) == 0
    assert "run-" in capsys.readouterr().out
    assert run_name(TINY)
