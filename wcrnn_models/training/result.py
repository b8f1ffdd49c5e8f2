"""What a training run has measured so far; written to ``history.json`` at every evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from wcrnn_models.errors import UserError

Status = Literal["running", "finished", "diverged"]


@dataclass(frozen=True)
class TrainResult:
    """The course and outcome of a training run.

    Attributes:
        status: ``"finished"``; ``"diverged"`` if loss or weights stopped being finite; ``"running"`` only in
            the file of a run that is going on or was interrupted.
        metric_name: ``"rms"`` or ``"accuracy"``.
        best_metric: Best test metric of all evaluations, None if none was finite.
        best_iteration: The first iteration at which it was reached.
        iterations_to_minimal_performance: The first evaluated iteration at which the test metric met the
            task's minimal performance (section 4.1), None if never.
        iterations: Training iterations done at each evaluation; the first is 0.
        train_losses: Mean training loss since the previous evaluation; at iteration 0, the loss of the
            untrained network on the first batch.
        test_metrics: Metric on the whole test set at each evaluation.
        diverged_at: Iterations done when loss, weights or metric were found not finite, None otherwise.
        warning: What went wrong, None if nothing.
        checkpoints: Names of the kept checkpoints in the run directory: ``initial``, ``best``, ``final``.
    """

    status: Status
    metric_name: str
    best_metric: float | None
    best_iteration: int | None
    iterations_to_minimal_performance: int | None
    iterations: list[int]
    train_losses: list[float]
    test_metrics: list[float]
    diverged_at: int | None
    warning: str | None
    checkpoints: dict[str, str]

    def to_json(self) -> str:
        """All fields as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> TrainResult:
        """The result that `to_json` wrote to a file.

        Raises:
            UserError: If the file is not such a result.
        """
        try:
            values = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON ({error}); delete it and train again") from error
        if not isinstance(values, dict) or set(values) != {field.name for field in fields(cls)}:
            raise UserError(f"{path} is not the history of a training run; delete it and train again")
        return cls(**values)
