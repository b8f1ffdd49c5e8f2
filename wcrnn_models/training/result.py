"""Hold the measurements of a training run so far, which are written to ``history.json`` at every evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import read_json
from wcrnn_models.run_files import HISTORY_FILE
from wcrnn_models.values import is_count, is_finite, is_integer

Status = Literal["running", "finished", "diverged"]

MEASURED = ("train_losses", "gradient_norms", "test_metrics")
"""Measurements of an evaluation, by the names of the fields."""


@dataclass(frozen=True)
class TrainResult:
    """The course and outcome of a training run.

    Attributes:
        status: The outcome: ``"finished"``; ``"diverged"`` if it ended with numbers that were not finite or too large;
            ``"running"`` only in the file of a run that is still training or was interrupted.
        metric_name: One of ``"mse"``, ``"rms"`` or ``"accuracy"``.
        best_metric: Best test metric of all evaluations, None if none was finite.
        best_iteration: First iteration at which it was reached.
        iterations_to_minimal_performance: First iteration at which the measured test metric met the task's minimal
            performance (section 4.1); None if never. It is measured at every evaluation and, until it is met, every
            ``probe_every`` iterations.
        total_iterations: Number of training iterations of the whole run, done or not.
        iterations: Number of training iterations done at each evaluation; the first is 0.
        train_losses: Mean training loss since the previous evaluation; at iteration 0, the loss of the
            untrained network on the first batch.
        gradient_norms: Mean 2-norm of the gradient, before clipping, over the same iterations.
        test_metrics: Metric on the whole test set at each evaluation.
        diverged_at: Number of iterations done when the run diverged: loss, gradient, weights or metric were not finite,
            or the loss was above ``divergence_loss``. None otherwise.
        warning: Message about a problem; None if there was none.
        checkpoints: Names of the kept checkpoints in the run directory: ``initial``, ``best``, ``final``, and those of
            ``save_at`` that were reached, by iteration. One at which an evaluation found that the run diverged is left
            out.
    """

    status: Status
    metric_name: str
    best_metric: float | None
    best_iteration: int | None
    iterations_to_minimal_performance: int | None
    total_iterations: int
    iterations: list[int]
    train_losses: list[float]
    gradient_norms: list[float]
    test_metrics: list[float]
    diverged_at: int | None
    warning: str | None
    checkpoints: dict[str, str]

    def to_json(self) -> str:
        """Write all fields as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> TrainResult:
        """Return the result that `to_json` wrote to a file.

        Raises:
            UserError: If the file does not hold such a result.
        """
        remedy = "delete it and train again"
        values = read_json(path, remedy)
        try:
            return cls.from_dict(values)
        except UserError as error:
            raise UserError(f"{path} {clause(error)}; {remedy}.") from error

    @classmethod
    def from_dict(cls, values: object) -> TrainResult:
        """Return the result with exactly these fields, as `dataclasses.asdict` gives them.

        Raises:
            UserError: If a field is missing or unknown, or values contradict each other.
        """
        if not isinstance(values, dict) or set(values) != {field.name for field in fields(cls)}:
            raise UserError("is not the history of a training run.")
        if fault := _fault(values):
            raise UserError(f"is not the history of a training run: {fault}.")
        return cls(**values)


def ended_result(directory: Path) -> TrainResult | None:
    """Return the result of a run that has ended, None if there is none or the run has not ended.

    Args:
        directory: The directory of the run.

    Raises:
        UserError: If the history is damaged, or a checkpoint that it names is missing.
    """
    path = directory / HISTORY_FILE
    if not path.exists():
        return None
    result = TrainResult.read(path)
    if result.status == "running":
        return None
    refuse_missing_checkpoints(directory, result.checkpoints.values())
    return result


def refuse_missing_checkpoints(directory: Path, names: Iterable[str]) -> None:
    """Demand that the checkpoints of a run exist, without reading them.

    Args:
        directory: The directory of the run.
        names: Names of the files of their weights, relative to it.

    Raises:
        UserError: If a file is missing.
    """
    for name in names:
        weights = directory / name
        for file in (weights, weights.with_suffix(".json")):
            if not file.is_file():
                raise UserError(
                    f"{directory} holds a run, but its checkpoint {file} is missing; restore the file, or delete the "
                    "directory to train again."
                )


def course_fault(iterations: object, **measured: object) -> str | None:
    """Say why values that were read from a file cannot be the evaluations of a run; None if they can.

    Args:
        iterations: Iterations, which should be increasing integers from 0.
        measured: Lists of measurements, which should hold as many finite numbers each.
    """
    if not isinstance(iterations, list) or not all(map(is_count, iterations)):
        return "iterations must be a list of integers"
    if iterations[:1] not in ([], [0]) or any(later <= earlier for earlier, later in pairwise(iterations)):
        return "iterations must increase from 0"
    for name, values in measured.items():
        if not isinstance(values, list) or not all(map(is_finite, values)):
            return f"{name} must be a list of finite numbers"
        if len(values) != len(iterations):
            return f"{name} must have as many entries as iterations, {len(iterations)}, got {len(values)}"
    return None


def is_iteration(value: object, last: int) -> bool:
    """Tell whether a value is an iteration of a run, up to the given one."""
    return is_integer(value) and 0 <= value <= last


def _is_printable(value: object) -> bool:
    """Tell whether a value is a text of printable characters."""
    return isinstance(value, str) and value.isprintable()


def _fault(values: dict[str, Any]) -> str | None:
    """Say why the fields cannot be those of a history; None if they can."""
    if fault := course_fault(**{name: values[name] for name in ("iterations", *MEASURED)}):
        return fault
    course = list(zip(values["iterations"], values["test_metrics"], strict=True)) or [(None, None)]
    reached, diverged_at, warning = (
        values[name] for name in ("iterations_to_minimal_performance", "diverged_at", "warning")
    )
    checkpoints = values["checkpoints"]
    last = max([*values["iterations"], *filter(is_integer, [diverged_at])], default=-1)
    total = values["total_iterations"]
    demands = {
        "total_iterations must be an integer, not below an iteration": is_count(total) and total >= last,
        f"status must be one of {', '.join(get_args(Status))}": values["status"] in get_args(Status),
        "metric_name must be a string": _is_printable(values["metric_name"]),
        "best_iteration and best_metric must be those of an evaluation": (
            (values["best_iteration"], values["best_metric"]) in course
        ),
        "iterations_to_minimal_performance must be an iteration of the run or null": (
            reached is None or is_iteration(reached, last)
        ),
        "diverged_at must be an integer or null": diverged_at is None or is_count(diverged_at),
        "warning must be a string or null": warning is None or _is_printable(warning),
        "checkpoints must be names by role": (
            isinstance(checkpoints, dict) and all(map(_is_printable, checkpoints.values()))
        ),
    }
    return next((demand for demand, met in demands.items() if not met), None)
