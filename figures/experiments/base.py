"""Parts shared by experiments: trainings, and the origin of their results."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from wcrnn_models.errors import UserError, clause
from wcrnn_models.sweeps import sweep
from wcrnn_models.training.config import TrainConfig

CLONE = Path(__file__).parents[2]
MEASURED = ("figures/data", "docs/reproduction.md", "docs/reproduction.png")
"""Files that measurements change in the clone."""


def train_all(configs: Sequence[TrainConfig], runs: Path, *, progress: bool) -> None:
    """Train the networks that have not been trained, as `sweep` does.

    Raises:
        UserError: If a run failed. A run that diverged has not failed.
    """
    outcomes = sweep(configs, runs, readable=False, progress=progress)
    if failed := {name: each for name, each in outcomes.items() if each.status not in ("finished", "diverged")}:
        name, outcome = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(outcomes)} runs failed, such as {name}: {clause(outcome.message)}.")


def describe(name: str, seeds: int) -> dict[str, str | int]:
    """Return the attributes of a result file, from which captions are made."""
    return {"experiment": name, "seeds": seeds, "commit": commit()}


def commit() -> str:
    """Return the commit of this clone, ``-dirty`` where tracked files differ from it, "unknown" outside of a clone.

    Changed results, and the report made from them, do not set the mark: they do not change the measurements.
    """
    try:
        name = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in MEASURED))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changed else name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CLONE), "--no-optional-locks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
