"""The state from which a run goes on: tensors and plain Python values, read without executing code."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wcrnn_models.errors import UserError
from wcrnn_models.files import write_atomically

_FORMAT_VERSION = 1


@dataclass
class Progress:
    """Evaluations so far, see `TrainResult`; batches need no state, as they depend on the iteration alone."""

    iterations: list[int] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    test_metrics: list[float] = field(default_factory=list)

    @property
    def iteration(self) -> int:
        """Training iterations done at the last evaluation."""
        return self.iterations[-1]


def save_progress(path: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a run; a crash leaves the previous state or this one."""
    buffer = io.BytesIO()
    state = {
        "format_version": _FORMAT_VERSION,
        "iterations": progress.iterations,
        "train_losses": progress.train_losses,
        "test_metrics": progress.test_metrics,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_progress(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model and optimizer to the state of a file, and return its evaluations.

    Raises:
        UserError: If the file is damaged or was not written by `save_progress`.
    """
    remedy = f"delete {path} to start the run again"
    try:
        state: Any = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load promises no type of error for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); {remedy}") from error
    if not isinstance(state, dict) or state.get("format_version") != _FORMAT_VERSION:
        raise UserError(f"{path} is not a state of format version {_FORMAT_VERSION}; {remedy}")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(state["iterations"], state["train_losses"], state["test_metrics"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path} does not fit the run's configuration; {remedy}") from error
