"""Weakly coupled residual recurrent networks (WCRNNs) of Dubinin & Effenberger (2024), tasks and training.

The public names are imported on first use, so that the ``wcrnn`` command answers before PyTorch is loaded.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing takes longer than all else here
if TYPE_CHECKING:
    from wcrnn_models import plots as plots
    from wcrnn_models import tasks as tasks
    from wcrnn_models.analysis import analyze_checkpoint as analyze_checkpoint
    from wcrnn_models.checkpoints import list_checkpoints as list_checkpoints
    from wcrnn_models.errors import UserError as UserError
    from wcrnn_models.models import baselines as baselines
    from wcrnn_models.models import residuals as residuals
    from wcrnn_models.models.elman_wc import plain_rnn as plain_rnn
    from wcrnn_models.models.network import RecurrentNetwork as RecurrentNetwork
    from wcrnn_models.models.predictions import Predictions as Predictions
    from wcrnn_models.models.predictions import predict as predict
    from wcrnn_models.models.wcrnn import WCRNN as WCRNN
    from wcrnn_models.sweeps import analyze_sweep as analyze_sweep
    from wcrnn_models.sweeps import collect as collect
    from wcrnn_models.sweeps import collect_analyses as collect_analyses
    from wcrnn_models.sweeps import grid as grid
    from wcrnn_models.sweeps import sweep as sweep
    from wcrnn_models.training.config import TrainConfig as TrainConfig
    from wcrnn_models.training.ensemble import train_ensemble as train_ensemble
    from wcrnn_models.training.presets import preset as preset
    from wcrnn_models.training.result import TrainResult as TrainResult
    from wcrnn_models.training.saved import LoadedCheckpoint as LoadedCheckpoint
    from wcrnn_models.training.saved import load_checkpoint as load_checkpoint
    from wcrnn_models.training.saved import save_checkpoint as save_checkpoint
    from wcrnn_models.training.stability import stable_rate as stable_rate
    from wcrnn_models.training.trainer import train as train

_HOMES = {
    "analyze_checkpoint": "analysis",
    "WCRNN": "models.wcrnn",
    "LoadedCheckpoint": "training.saved",
    "list_checkpoints": "checkpoints",
    "load_checkpoint": "training.saved",
    "save_checkpoint": "training.saved",
    "plain_rnn": "models.elman_wc",
    "UserError": "errors",
    "RecurrentNetwork": "models.network",
    "Predictions": "models.predictions",
    "predict": "models.predictions",
    "analyze_sweep": "sweeps",
    "collect": "sweeps",
    "collect_analyses": "sweeps",
    "grid": "sweeps",
    "sweep": "sweeps",
    "TrainConfig": "training.config",
    "train_ensemble": "training.ensemble",
    "preset": "training.presets",
    "TrainResult": "training.result",
    "stable_rate": "training.stability",
    "train": "training.trainer",
}
_ROOMS = {"baselines": "models.baselines", "plots": "plots", "residuals": "models.residuals", "tasks": "tasks"}

__all__ = [
    "WCRNN",
    "LoadedCheckpoint",
    "Predictions",
    "RecurrentNetwork",
    "TrainConfig",
    "TrainResult",
    "UserError",
    "analyze_checkpoint",
    "analyze_sweep",
    "baselines",
    "collect",
    "collect_analyses",
    "grid",
    "list_checkpoints",
    "load_checkpoint",
    "plain_rnn",
    "plots",
    "predict",
    "preset",
    "residuals",
    "save_checkpoint",
    "stable_rate",
    "sweep",
    "tasks",
    "train",
    "train_ensemble",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"{__name__}.{_ROOMS[name]}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
