"""Only one worker at a time trains a run."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from tiny_sweep import CONFIGS, TINY, attempts
from wcrnn_models import owners as owners_module
from wcrnn_models.files import exclusive
from wcrnn_models.sweeps.claims import claim
from wcrnn_models.sweeps.layout import plan
from wcrnn_models.sweeps.worker import Job, work


class TestClaims:
    def test_one_at_a_time(self, tmp_path):
        with claim(tmp_path) as first, claim(tmp_path) as second:
            assert (first, second) == (True, False)
        with claim(tmp_path) as again:
            assert again
            owner = json.loads((tmp_path / ".claim" / "owner.json").read_text())
            assert owner["process"] == os.getpid()
        assert not (tmp_path / ".claim" / "owner.json").exists()

    def record(self, tmp_path, host, age):
        folder = tmp_path / ".claim"
        folder.mkdir(exist_ok=True)
        path = folder / "owner.json"
        path.write_text(json.dumps({"host": host, "process": 1, "token": "theirs"}))
        past = time.time() - age
        os.utime(path, (past, past))
        return path

    def test_an_owner_on_another_machine_is_respected_while_it_is_alive(self, tmp_path):
        """Locks do not reach there: only the record tells."""
        path = self.record(tmp_path, "elsewhere", age=30)
        with claim(tmp_path) as mine:
            assert not mine
        assert json.loads(path.read_text())["token"] == "theirs"

    def test_an_owner_on_another_machine_that_is_gone_is_replaced(self, tmp_path):
        path = self.record(tmp_path, "elsewhere", age=owners_module.STALE_SECONDS + 5)
        with claim(tmp_path) as mine:
            assert mine
            assert json.loads(path.read_text())["token"] != "theirs"

    def test_an_owner_on_this_machine_without_its_lock_is_gone(self, tmp_path):
        self.record(tmp_path, owners_module.socket.gethostname(), age=0)
        with claim(tmp_path) as mine:
            assert mine

    def test_a_lock_on_this_machine_is_enough(self, tmp_path):
        (tmp_path / ".claim").mkdir()
        with exclusive(tmp_path / ".claim"), claim(tmp_path) as mine:
            assert not mine

    @pytest.mark.parametrize("content", [b"", b"{", b"[]"], ids=["empty", "half", "list"])
    def test_a_record_that_cannot_be_read_counts_by_its_age(self, tmp_path, content):
        path = self.record(tmp_path, "elsewhere", age=0)
        path.write_bytes(content)
        with claim(tmp_path) as mine:
            assert not mine
        past = time.time() - owners_module.STALE_SECONDS - 5
        os.utime(path, (past, past))
        with claim(tmp_path) as mine:
            assert mine

    def test_the_record_is_renewed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(owners_module, "RENEW_SECONDS", 0.01)
        with claim(tmp_path):
            path = tmp_path / ".claim" / "owner.json"
            os.utime(path, (0, 0))
            deadline = time.monotonic() + 20
            while path.stat().st_mtime < 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert path.stat().st_mtime > time.time() - 60

    def test_a_record_taken_over_by_another_machine_is_left_to_it(self, tmp_path):
        with claim(tmp_path):
            path = self.record(tmp_path, "elsewhere", age=0)
        assert json.loads(path.read_text())["token"] == "theirs"

    def test_of_two_machines_that_find_it_stale_one_gets_it(self, tmp_path, monkeypatch):
        """The other one has replaced the record between our look at it and our move."""
        path = self.record(tmp_path, "elsewhere", age=owners_module.STALE_SECONDS + 5)
        original = Path.rename

        def rename(self, target):
            if self == path:
                path.write_text(json.dumps({"host": "third", "process": 2, "token": "fresh"}))
            return original(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        with claim(tmp_path) as mine:
            assert not mine
        assert json.loads(path.read_text())["token"] == "fresh"

    def test_a_machine_that_was_faster_gets_it(self, tmp_path, monkeypatch):
        original = os.open

        def open_later(path, flags, *rest):
            if flags & os.O_EXCL and str(path).endswith("owner.json"):
                self.record(tmp_path, "elsewhere", age=0)
            return original(path, flags, *rest)

        monkeypatch.setattr(os, "open", open_later)
        with claim(tmp_path) as mine:
            assert not mine

    def test_a_full_disk_leaves_no_record(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(json, "dump", full)
        with pytest.raises(OSError, match="No space left"), claim(tmp_path):
            pass
        assert not (tmp_path / ".claim" / "owner.json").exists()

    def test_it_is_given_back_after_an_error(self, tmp_path):
        with pytest.raises(ZeroDivisionError), claim(tmp_path):
            raise ZeroDivisionError
        with claim(tmp_path) as mine:
            assert mine


def test_a_worker_reports_a_claim_that_fails(tmp_path):
    """The directory of the run is not there."""
    (outcome,) = work(Job(tmp_path, {"missing": TINY.to_json()}))
    assert outcome.status == "failed"
    assert "No such file or directory" in outcome.message


def test_a_busy_run_is_reported_and_the_others_are_trained(tmp_path):
    planned = plan(CONFIGS[:2], tmp_path)
    first, second = planned
    with claim(tmp_path / first):
        outcomes = work(Job(tmp_path, {name: config.to_json() for name, config in planned.items()}))
    assert {outcome.name: outcome.status for outcome in outcomes} == {first: "busy", second: "finished"}


def test_a_job_that_comes_too_late_does_nothing(tmp_path):
    """Another process has finished one of its runs since it was queued."""
    planned = plan(CONFIGS[:2], tmp_path)
    job = Job(tmp_path, {name: config.to_json() for name, config in planned.items()})
    first = work(job)
    before = {name: attempts(tmp_path / name) for name in planned}
    assert work(job) == first
    assert {name: attempts(tmp_path / name) for name in planned} == before
