"""Curves of trainings for TensorBoard."""

import sys
from types import SimpleNamespace

import pytest

from short_runs import CONFIG, interrupted_run
from wcrnn_models import UserError, train


class FakeWriter:
    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars, self.flushed = folder, purge_step, [], 0
        FakeWriter.last = self

    def add_scalar(self, name, value, iteration):
        self.scalars.append((name, value, iteration))

    def flush(self):
        self.flushed += 1


def test_tensorboard_gets_every_evaluation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    result = train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    writer = FakeWriter.last
    assert (writer.folder, writer.purge_step) == (str(tmp_path / "curves"), 0)
    columns = (
        ("train loss", result.train_losses),
        ("gradient norm", result.gradient_norms),
        ("test rms", result.test_metrics),
    )
    for name, values in columns:
        assert [(value, at) for found, value, at in writer.scalars if found == name] == list(
            zip(values, result.iterations, strict=True)
        )
    assert writer.flushed == len(result.iterations)


def test_tensorboard_goes_on_after_an_interruption(tmp_path, monkeypatch):
    interrupted_run(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    train(CONFIG, tmp_path, tensorboard=str(tmp_path / "curves"))
    assert FakeWriter.last.purge_step == 12
    assert sorted({iteration for *_, iteration in FakeWriter.last.scalars}) == [12, 16, 20, 24, 28, 30]


def test_missing_tensorboard_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="TensorBoard is not installed; run `pip install tensorboard`"):
        train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_directory_for_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; name a directory for TensorBoard"):
        train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "file")
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_written_by_the_real_one(tmp_path):
    """Only where it is installed."""
    pytest.importorskip("tensorboard", reason="needs TensorBoard; install the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(CONFIG, tmp_path / "run", tensorboard=tmp_path / "curves")
    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("test rms")]
    assert [step for step, _ in found] == result.iterations
    assert [value for _, value in found] == pytest.approx(result.test_metrics, rel=1e-6)
