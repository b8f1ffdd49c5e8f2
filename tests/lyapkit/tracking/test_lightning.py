"""The Lightning callback, under a stub with Lightning's documented hooks, and under Lightning where it is installed."""

import sys
import types

import pytest
import torch
from torch import nn

from lyapkit import Tracker

INPUTS = torch.randn(30, 2, 2, generator=torch.Generator().manual_seed(1))


class Callback:
    """The hooks that are used, with the signatures of `lightning.pytorch.Callback`."""

    def on_train_start(self, trainer, pl_module):
        raise NotImplementedError

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        raise NotImplementedError

    def on_train_epoch_end(self, trainer, pl_module):
        raise NotImplementedError


class Logger:
    def __init__(self) -> None:
        self.logged = []

    def log_metrics(self, metrics, step=None):
        self.logged.append((dict(metrics), step))


class Trainer:
    """Calls the hooks as Lightning does: two batches are accumulated for each optimiser step."""

    def __init__(self, callback, is_global_zero: bool = True) -> None:
        self.callback, self.is_global_zero = callback, is_global_zero
        self.global_step = self.current_epoch = 0
        self.loggers = [Logger()]

    def fit(self, epochs: int = 2, batches: int = 4) -> None:
        self.callback.on_train_start(self, None)
        for self.current_epoch in range(epochs):
            for batch in range(batches):
                self.global_step += batch % 2
                self.callback.on_train_batch_end(self, None, None, None, batch)
            self.callback.on_train_epoch_end(self, None)


@pytest.fixture
def stub(monkeypatch):
    package = types.ModuleType("lightning")
    package.pytorch = types.ModuleType("lightning.pytorch")
    package.pytorch.Callback = Callback
    monkeypatch.setitem(sys.modules, "lightning", package)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", package.pytorch)
    return package.pytorch


@pytest.mark.parametrize(("along", "steps"), [("checkpoint", [0, 2, 4]), ("epoch", [0, 2])])
def test_the_callback_measures_at_optimiser_steps_or_epochs(stub, along: str, steps: list[int]) -> None:
    tracker = Tracker(nn.GRU(2, 3), INPUTS, every=2, along=along)
    callback = tracker.lightning_callback()
    assert isinstance(callback, stub.Callback)
    trainer = Trainer(callback)
    trainer.fit()
    assert tracker.steps == steps
    (logger,) = trainer.loggers
    assert [step for _, step in logger.logged] == [0, 2, 4] if along == "checkpoint" else [0, 4]
    assert logger.logged[-1][0] == tracker.scalars()


def test_only_the_first_process_measures(stub) -> None:
    tracker = Tracker(nn.GRU(2, 3), INPUTS)
    Trainer(tracker.lightning_callback(), is_global_zero=False).fit()
    assert tracker.steps == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own, about workers, loggers and tokens of its dependencies
def test_training_by_lightning_is_bit_identical_with_and_without(tmp_path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(2, 4, num_layers=2, dropout=0.2), nn.Linear(4, 1)

        def training_step(self, batch, batch_idx):
            return self.head(self.rnn(batch[0].transpose(0, 1))[0][-1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def trained(tracked: bool):
        torch.manual_seed(0)
        module = Module()
        data = torch.utils.data.TensorDataset(torch.randn(24, 10, 2))
        loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
        tracker = Tracker(module.rnn, INPUTS, every=2)
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[tracker.lightning_callback()] * tracked, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, loader)
        return module, tracker

    with_it, tracker = trained(True)
    without, _ = trained(False)
    assert tracker.steps == [0, 2, 4, 6]
    assert tracker.result["lyapunov_spectrum"].lyapunov_exponent.sizes["checkpoint"] == 4
    for one, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)
