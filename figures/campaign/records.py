"""Keep what each training of the campaign has measured, in one small file for each stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import read_json, write_atomically
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import MEASURED, TrainResult

VERSION = 1
"""Version of the files; others are refused, never overwritten."""

DIGITS = 6
"""Significant digits of measured courses."""


@dataclass(frozen=True)
class Record:
    """A training that has ended.

    Attributes:
        config: Configuration of the training.
        result: Its course; checkpoints are not kept.
        weights: The 2-norms before and after training, and of the difference, by the name of a parameter.
        seconds_per_iteration: Time of one training iteration, evaluations included, of all networks that were trained
            together; None where the training had ended before.
        commit: The commit that trained it.
        where: Device, threads, and version of PyTorch.
    """

    config: TrainConfig
    result: TrainResult
    weights: dict[str, tuple[float, float, float]]
    seconds_per_iteration: float | None
    commit: str
    where: str


def read_records(folder: Path, stage: str) -> list[Record]:
    """Return the records of a stage, none where it has no file.

    Raises:
        UserError: If the file is damaged, or of another version.
    """
    path = folder / f"{stage}.json"
    if not path.exists():
        return []
    remedy = "move it away to measure the stage again"
    content = read_json(path, remedy)
    if not isinstance(content, dict) or content.get("version") != VERSION or content.get("stage") != stage:
        found = content.get("version") if isinstance(content, dict) else None
        raise UserError(f"{path} is not a record of version {VERSION} of the stage {stage}, got {found!r}; {remedy}.")
    try:
        return [_record(entry) for entry in content["trainings"]]
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is damaged ({clause(error)}); {remedy}.") from error


def add_records(folder: Path, stage: str, new: Sequence[Record]) -> None:
    """Add records to the file of a stage, made if missing; a configuration that has one keeps it.

    Several processes may add to the same file. A crash leaves the old file or the new one.

    Raises:
        UserError: If `read_records` refuses a file, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{stage}.lock"):
        records = read_records(folder, stage)
        present = {record.config for record in records}
        records += [record for record in new if record.config not in present]
        lines = ",\n".join(json.dumps(_entry(record), allow_nan=False) for record in records)
        text = f'{{"version": {VERSION}, "stage": {json.dumps(stage)}, "trainings": [\n{lines}\n]}}\n'
        write_atomically(folder / f"{stage}.json", text.encode())


def _entry(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it; checkpoints, which stay on the machine, are left out."""
    result: dict[str, Any] = {**asdict(record.result), "checkpoints": {}}
    for name in MEASURED:
        result[name] = [_rounded(value) for value in result[name]]
    if result["best_metric"] is not None:
        result["best_metric"] = _rounded(result["best_metric"])
    weights = {name: [_rounded(norm) for norm in norms] for name, norms in record.weights.items()}
    return {**asdict(record), "config": asdict(record.config), "result": result, "weights": weights}


def _record(entry: dict[str, Any]) -> Record:
    return Record(
        config=TrainConfig.from_dict(entry["config"]),
        result=TrainResult.from_dict(entry["result"]),
        weights={name: (first, last, change) for name, (first, last, change) in entry["weights"].items()},
        seconds_per_iteration=entry["seconds_per_iteration"],
        commit=entry["commit"],
        where=entry["where"],
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
