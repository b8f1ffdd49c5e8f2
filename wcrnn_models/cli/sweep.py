"""``wcrnn sweep``: train a grid of networks, or resume it, and collect the results."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from lyapkit_command.guard import SUCCESS, USER_ERROR
from wcrnn_models.cli.exits import DIVERGED
from wcrnn_models.errors import UserError
from wcrnn_models.training.config import SHORT_NAMES, TrainConfig

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


@dataclass(frozen=True)
class Arguments:
    """Train every combination of some options, each in a directory of its own, such as seed=0,r=0.995.

    After any interruption, the same command resumes. Finished runs are not repeated. Several such commands may share a
    directory, also on several machines. The results are written to results.nc in the directory. Exit code 2 means that
    a run failed, 3 that training diverged.

    Example: wcrnn sweep runs --preset add100 --learning-rate 0.01 --over r=0.95,0.99,1.0 --over seed=0..4
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIRECTORY")]
    """Directory of the sweep; made if missing."""

    over: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An option with its values, such as r=0.95,1.0 or seed=0..4; give it several times for a grid."""

    workers: int | None = None
    """Processes at a time, with one thread each; if not given, as many as there are cores, or one on a GPU."""

    scheduler: str | None = None
    """Address of a dask.distributed scheduler, such as tcp://host:8786, whose workers train instead. They must see the
    directory under the same name."""

    together: int = 1
    """Networks that a worker trains at once; more than one is meant for GPUs."""

    device: str = "cpu"
    """Device on which to train, such as cpu or cuda."""

    analyze: bool = False
    """Analyse all kept checkpoints afterwards, each into analyses/NAME.nc of its run."""

    preset: str | None = None
    """Preset, as for wcrnn train."""

    network: str | None = None
    """Network, as for wcrnn train."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The config.json of a run, as for wcrnn train."""

    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def run(self) -> int:
        """Train, write the results and print a table; return the exit code."""
        axes = _axes(self.over)
        from lyapkit import save
        from wcrnn_models.files import check_result_file
        from wcrnn_models.run_files import ANALYSIS_FOLDER
        from wcrnn_models.sweeps import analyze_sweep, collect, grid, sweep
        from wcrnn_models.sweeps.layout import read_result
        from wcrnn_models.sweeps.planning import named
        from wcrnn_models.sweeps.table import Row, render

        directory: Path = self.directory
        configs = grid(self.training, **axes)
        where: dict[str, Any] = {"workers": self.workers, "scheduler": self.scheduler}
        outcomes = sweep(configs, directory, together=self.together, device=self.device, progress=True, **where)
        planned = named(configs, directory)
        print(
            render({name: Row(planned[name], outcomes[name].ended, read_result(directory / name)) for name in outcomes})
        )
        failed = [outcome for outcome in outcomes.values() if outcome.status == "failed"]
        try:
            check_result_file(directory / "results.nc")
            print(f"written to {save(collect(directory, configs, unfinished='include'), directory / 'results.nc')}")
        except UserError as error:
            print(f"wcrnn: results.nc is not written: {error}", file=sys.stderr)
        if self.analyze:
            good = [config for name, config in planned.items() if outcomes[name].status != "failed"]
            analyses = analyze_sweep(directory, good, **where) if good else {}
            lost = [outcome for outcome in analyses.values() if outcome.status == "failed"]
            done = f"{len(analyses) - len(lost)} of {len(analyses)}" if lost else f"{len(analyses)}"
            print(f"{done} checkpoints analysed, in the folders {directory}/*/{ANALYSIS_FOLDER}")
            failed += lost
        for outcome in failed:
            print(f"wcrnn: error: {outcome.name}: {outcome.message}\n{outcome.details}".rstrip(), file=sys.stderr)
        if failed:
            return USER_ERROR
        return DIVERGED if any(outcome.status == "diverged" for outcome in outcomes.values()) else SUCCESS


def _axes(given: Sequence[str]) -> dict[str, list[Any]]:
    """Return the axes of a grid from texts such as ``r=0.95,1.0``."""
    axes: dict[str, list[Any]] = {}
    for text in given:
        name, sign, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not sign or not name or not values:
            raise UserError(f"--over needs an option and its values, such as r=0.95,1.0 or seed=0..4, got {text!r}.")
        name = SHORT_NAMES.get(name, name)
        if name in axes:
            raise UserError(f"--over names {name} twice; give all its values at once.")
        axes[name] = _values(values)
    return axes


def _values(text: str) -> list[Any]:
    """Parse values as JSON writes them, or names and ranges, separated by commas."""
    try:
        values = json.loads(f"[{text}]")
    except RecursionError:
        raise UserError("--over needs numbers or names, such as r=0.95,1.0, got too many brackets.") from None
    except ValueError:
        return [value for part in text.split(",") for value in _value(part.strip())]
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _value(text: str) -> list[Any]:
    if match := _RANGE.fullmatch(text):
        first, last = map(int, match.groups())
        if last < first:
            raise UserError(f"the range {text} is empty; give the smaller number first.")
        from wcrnn_models.sweeps.grids import MAX_RUNS  # here, because its package imports PyTorch

        if (count := last - first + 1) > MAX_RUNS:
            raise UserError(
                f"the range {text} has {count} values, more than the {MAX_RUNS} runs of a grid; give fewer."
            )
        return list(range(first, last + 1))
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):  # a name
        return [text]
