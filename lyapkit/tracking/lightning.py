"""Make the callback of PyTorch Lightning; Lightning is imported only when a callback is asked for."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib import import_module
from typing import Any, Protocol

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""Names under which Lightning is published. A trainer takes only callbacks of its own package."""


class Measuring(Protocol):
    """The part of a `lyapkit.Tracker` that the callback needs."""

    @property
    def along(self) -> str:
        """Return ``"checkpoint"`` or ``"epoch"``."""

    @property
    def steps(self) -> Collection[int]:
        """Return the steps that were measured."""

    @property
    def failures(self) -> Collection[int]:
        """Return the steps whose measurement was left out."""

    def __call__(self, step: int) -> object:
        """Measure the network if it is time to, else return None."""

    def scalars(self) -> dict[str, float]:
        """Return the headline numbers of the last measurement."""


def make_callback(tracker: Measuring) -> Any:
    """Return a ``Callback`` of Lightning that calls a tracker, and hands its headline numbers to the loggers.

    Args:
        tracker: Tracker that is called with the number of optimiser steps or, along ``"epoch"``, with the number of
            epochs.

    Raises:
        ImportError: If Lightning is not installed.
    """
    base: Any = _package().Callback

    class TrackerCallback(base):  # type: ignore[misc]  # Lightning need not be installed
        """Call a `lyapkit.Tracker` while a `Trainer` fits."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Measure the network as it is before training."""
            self._call(trainer, trainer.current_epoch if tracker.along == "epoch" else trainer.global_step)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            """Measure after optimiser steps."""
            if tracker.along == "checkpoint":
                self._call(trainer, trainer.global_step)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Measure after epochs, counted from 1."""
            if tracker.along == "epoch":
                self._call(trainer, trainer.current_epoch + 1)

        def _call(self, trainer: Any, step: int) -> None:
            if not trainer.is_global_zero or step in tracker.steps or step in tracker.failures:
                return  # batches whose gradients are accumulated share an optimiser step
            if tracker(step) is not None:
                for logger in trainer.loggers:
                    logger.log_metrics(tracker.scalars(), step=trainer.global_step)

    return TrackerCallback()


def _package() -> Any:
    """Return the package that is already imported, or else the one that is installed."""
    for name in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError('Lightning is not installed; run: pip install "lyapkit[lightning]".')
