import errno
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from wcrnn_models import files
from wcrnn_models.errors import UserError, suggestion


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / ".config.json.x1y2.partial").write_bytes(b"half")
    (tmp_path / "keep.json").write_bytes(b"")
    files.remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.json"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "no" / "x.nc", "the directory .*no of the result file does not exist; create it first"),
        (lambda path: path, "the result file .* is a directory; name a file in it"),
        (lambda path: pipe(path / "x.nc"), "the result file .*x.nc is a device or a pipe; name a regular file"),
        (lambda path: path / "x.csv", r"result file .*x\.csv is netCDF, whatever its name; let the name end in \.nc"),
        (lambda path: path / "x", r"the result file .*x is netCDF, whatever its name; let the name end in \.nc"),
    ],
    ids=["nowhere", "directory", "pipe", "another suffix", "no suffix"],
)
def test_what_cannot_be_a_result_file_is_refused(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        files.check_result_file(make(tmp_path))


def pipe(path):
    os.mkfifo(path)
    return path


def test_the_check_of_a_result_file_leaves_nothing(tmp_path, monkeypatch):
    files.check_result_file(tmp_path / "new.nc")
    (tmp_path / "old.nc").write_bytes(b"old")
    files.check_result_file(tmp_path / "old.nc")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.nc", b"old")]

    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    message = r"the directory .* of the result file cannot be written \(Permission denied\); name another"
    with pytest.raises(UserError, match=message):
        files.check_result_file(tmp_path / "new.nc")


def test_sha256_of_the_standard_example():
    assert files.sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_lock_excludes_a_second_holder_and_is_released(tmp_path):
    held = pytest.raises(UserError, match=f"in use by process {os.getpid()}")
    with files.exclusive(tmp_path), held, files.exclusive(tmp_path):
        pass
    with files.exclusive(tmp_path):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    code = (
        "import sys, time, pathlib; from wcrnn_models.files import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"in use by process {process.pid}"), files.exclusive(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 5
    while True:
        try:
            with files.exclusive(tmp_path):
                break
        except UserError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_suggestion():
    assert suggestion("trian", ["train", "data"]) == " Did you mean 'train'?"
    assert suggestion("zzz", ["train", "data"]) == ""
    assert suggestion("figb4", ["fig4", "figB4"]) == " Did you mean 'figB4'?"
    assert suggestion("FIG4", ["fig4", "figB4"]) == " Did you mean 'fig4'?"
