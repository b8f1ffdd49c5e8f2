"""Weakly coupled residual recurrent networks (WCRNNs) of Dubinin & Effenberger (2024), tasks and training.

The public names are imported on first use, so that the ``wcrnn`` command answers before PyTorch is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wcrnn_models import residuals as residuals
    from wcrnn_models import tasks as tasks
    from wcrnn_models.analysis import analyze_checkpoint as analyze_checkpoint
    from wcrnn_models.cells import WCRNN as WCRNN
    from wcrnn_models.checkpoints import LoadedCheckpoint as LoadedCheckpoint
    from wcrnn_models.checkpoints import list_checkpoints as list_checkpoints
    from wcrnn_models.checkpoints import load_checkpoint as load_checkpoint
    from wcrnn_models.checkpoints import save_checkpoint as save_checkpoint
    from wcrnn_models.errors import UserError as UserError
    from wcrnn_models.training.config import TrainConfig as TrainConfig
    from wcrnn_models.training.result import TrainResult as TrainResult
    from wcrnn_models.training.trainer import train as train

_HOMES = {
    "analyze_checkpoint": "analysis",
    "WCRNN": "cells",
    "LoadedCheckpoint": "checkpoints",
    "list_checkpoints": "checkpoints",
    "load_checkpoint": "checkpoints",
    "save_checkpoint": "checkpoints",
    "UserError": "errors",
    "TrainConfig": "training.config",
    "TrainResult": "training.result",
    "train": "training.trainer",
}
_SUBPACKAGES = ("residuals", "tasks")

__all__ = [
    "WCRNN",
    "LoadedCheckpoint",
    "TrainConfig",
    "TrainResult",
    "UserError",
    "analyze_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "residuals",
    "save_checkpoint",
    "tasks",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
