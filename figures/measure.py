"""Measure the results of an experiment and write them where figures find them."""

from __future__ import annotations

from pathlib import Path

from figures.compact import compact
from figures.experiments import EXPERIMENTS
from figures.protocols import Protocol
from lyapkit import save


def measure(name: str, protocol: Protocol, runs: Path, data: Path, workers: int | None = None) -> Path:
    """Train, analyse, and write ``NAME.nc``.

    Args:
        name: Of the experiment.
        protocol: How much to train.
        runs: Directory of the trained networks, one below it for each protocol; what is there is not trained again.
        data: Directory of the result files, made if missing.
        workers: Networks trained at a time; all cores by default.

    Returns:
        The file.

    Raises:
        UserError: If a training or an analysis failed, or data are missing.
    """
    tree = EXPERIMENTS[name].measure(protocol, runs / protocol.name, workers=workers, progress=True)
    data.mkdir(parents=True, exist_ok=True)
    return save(compact(tree), data / f"{name}.nc")
