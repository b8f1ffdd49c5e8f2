"""What experiments share: trainings, and where their results come from."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from wcrnn_models.errors import UserError
from wcrnn_models.sweeps import sweep
from wcrnn_models.training.config import TrainConfig

CLONE = Path(__file__).parents[2]
MEASURED = ("figures/data", "docs/reproduction.md", "docs/reproduction.png")
"""What measurements change in it."""


def train_all(configs: Sequence[TrainConfig], runs: Path, *, progress: bool) -> None:
    """Train what has not been, as `sweep` does.

    Raises:
        UserError: If a run failed; one that diverged has not.
    """
    outcomes = sweep(configs, runs, progress=progress)
    if failed := {name: each for name, each in outcomes.items() if each.status not in ("finished", "diverged")}:
        name, outcome = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(outcomes)} runs failed, such as {name}: {outcome.message}")


def describe(name: str, seeds: int) -> dict[str, str | int]:
    """Return the attributes of a result file, from which captions are made."""
    return {"experiment": name, "seeds": seeds, "commit": commit()}


def commit() -> str:
    """Return the commit of this clone, ``-dirty`` where tracked files differ from it, "unknown" outside of a clone.

    Results and the report made from them are no reason for the mark: they do not change what is measured.
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
