"""Run many trainings, each in a directory of its own: resumable, on one machine or a cluster."""

from __future__ import annotations

from wcrnn_models.sweeps.analyze import analyze_sweep, collect_analyses
from wcrnn_models.sweeps.driver import sweep
from wcrnn_models.sweeps.grids import grid
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.sweeps.results import collect
from wcrnn_models.sweeps.worker import Outcome

__all__ = ["Outcome", "analyze_sweep", "collect", "collect_analyses", "grid", "run_name", "sweep"]
