"""Analyse the checkpoints of all runs of a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import xarray as xr

from lyapkit import load, save
from lyapkit_command.stopping import orderly
from wcrnn_models.analysis import analyze_checkpoint
from wcrnn_models.errors import UserError
from wcrnn_models.files import check_result_file, sha256
from wcrnn_models.run_files import ANALYSIS_FOLDER, CHECKPOINT_FOLDER
from wcrnn_models.sweeps.assemble import By, assemble, concatenate
from wcrnn_models.sweeps.choose_pool import make_pool
from wcrnn_models.sweeps.results import chosen_runs, shared_provenance
from wcrnn_models.sweeps.worker import Outcome, RunStatus, failure
from wcrnn_models.training.config import TrainConfig

Which = Literal["all", "ends", "first"]


@dataclass(frozen=True)
class AnalysisJob:
    """Checkpoints of one run.

    Attributes:
        directory: The directory of the sweep.
        checkpoints: Files of the checkpoints, by ``RUN/CHECKPOINT``.
        options: Arguments of `analyze_checkpoint`.
    """

    directory: Path
    checkpoints: dict[str, Path]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the checkpoints."""
        return list(self.checkpoints)


def analyze_sweep(
    directory: str | Path,
    configs: Iterable[TrainConfig] | None = None,
    *,
    checkpoints: Which = "all",
    workers: int | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> dict[str, Outcome]:
    """Apply `analyze_checkpoint` to the checkpoints of a sweep, and write a file ``analyses/NAME.nc`` for each.

    The file lies in the directory of the run. Checkpoints that have been analysed with the same options are skipped. A
    checkpoint that cannot be analysed is reported, and does not stop the others.

    Args:
        directory: The directory of a sweep.
        configs: Configurations of the runs; all of the directory by default.
        checkpoints: Choice of checkpoints: ``"all"`` kept ones, ``"ends"`` for the first and the last of each run, or
            ``"first"`` for the untrained network alone.
        workers: Number of processes at a time; all cores by default.
        scheduler: Address of a dask.distributed scheduler, whose workers do it instead.
        options: Arguments of `analyze_checkpoint`, such as ``samples`` and ``include``.

    Returns:
        The outcome by ``RUN/CHECKPOINT``: ``"finished"`` or, with a message, ``"failed"``.

    Raises:
        UserError: If there is no such sweep, or a run has no checkpoint.
    """
    if checkpoints not in get_args(Which):
        raise UserError(f"checkpoints must be 'all', 'ends' or 'first', got {checkpoints!r}.")
    directory = Path(directory).absolute()
    jobs = []
    for run in chosen_runs(directory, configs):
        files = sorted((directory / run / CHECKPOINT_FOLDER).glob("*.safetensors"))
        if not files:
            raise UserError(f"the run {run} in {directory} has no checkpoint; train it first, or choose configs.")
        if checkpoints == "ends":
            files = list(dict.fromkeys((files[0], files[-1])))
        elif checkpoints == "first":
            files = files[:1]
        jobs.append(AnalysisJob(directory, {f"{run}/{file.stem}": file for file in files}, options))
    outcomes: dict[str, Outcome] = {}
    waiting, expected = list(jobs), sum(len(job.checkpoints) for job in jobs)
    with orderly(), closing(make_pool(analyze, workers, scheduler)) as pool:
        while len(outcomes) < expected:
            while waiting and pool.room() > 0:
                pool.submit(waiting.pop(0))
            for outcome in pool.outcomes(1.0):
                status: RunStatus = "failed" if outcome.status == "killed" else outcome.status
                outcomes[outcome.name] = replace(outcome, status=status)
    return {name: outcomes[name] for job in jobs for name in job.names}


def analyze(job: AnalysisJob) -> list[Outcome]:
    """Analyse the checkpoints of a job one after the other, with one thread."""
    torch.set_num_threads(1)
    outcomes = []
    for name, file in job.checkpoints.items():
        try:
            _analyze(file, job.options)
            outcomes.append(Outcome(name, "finished"))
        except Exception as error:
            outcomes.append(failure(name, error))
    return outcomes


def _analyze(file: Path, options: Mapping[str, Any]) -> None:
    path = result_file(file)
    arguments = signature(analyze_checkpoint).bind(file, **options)
    arguments.apply_defaults()  # so that a file with other defaults does not pass for this one
    described = json.dumps(dict(list(arguments.arguments.items())[1:]), sort_keys=True, default=str)
    if _written_for(path) == (described, sha256(file.read_bytes())):
        return
    path.parent.mkdir(exist_ok=True)
    check_result_file(path)
    tree = analyze_checkpoint(file, **options)
    tree.attrs |= {
        "options_json": described,
        "checkpoint_sha256": tree["network"].attrs["checkpoint_sha256"],
        "iteration": tree["network"].attrs["iteration"],
    }
    save(tree, path)


def _written_for(path: Path) -> tuple[str, str] | None:
    """Return the options and the checkpoint of a file; None if it is missing, damaged, or of another kind."""
    try:
        attributes = load(path).attrs
        return attributes["options_json"], attributes["checkpoint_sha256"]
    except (OSError, ValueError, KeyError):
        return None


def result_file(checkpoint: Path) -> Path:
    """Return the file for the analyses of a checkpoint of a run."""
    return checkpoint.parent.parent / ANALYSIS_FOLDER / f"{checkpoint.stem}.nc"


def collect_analyses(
    directory: str | Path, analysis: str, configs: Iterable[TrainConfig] | None = None, *, by: By = "grid"
) -> xr.Dataset:
    """Collect one analysis of a sweep over the fields that vary and over checkpoints.

    Args:
        directory: Directory of a sweep that `analyze_sweep` has analysed.
        analysis: Name of the analysis, such as ``"hessian_spectrum"``: a child of the tree of `analyze_checkpoint`.
        configs: Configurations of the runs; all of the directory by default.
        by: Arrangement, as in `collect`.

    Returns:
        The Dataset of that analysis with the further dimension ``checkpoint``: the training iterations at which every
        run has an analysed checkpoint.

    Raises:
        UserError: If there is no such sweep, a run has no such analysis, no checkpoint is common to all runs, or for a
            reason that `collect` names.
    """
    directory = Path(directory)
    chosen = chosen_runs(directory, configs)
    found = {run: _by_iteration(directory / run, analysis) for run in chosen}
    common = sorted(set.intersection(*(set(each) for each in found.values())))
    if not common:
        raise UserError(
            f"no analysed checkpoint is common to the {len(found)} runs in {directory}; analyse all checkpoints, and "
            "keep those of the same iterations with save_at."
        )
    label = xr.Variable(("checkpoint",), common, {"long_name": "training iteration"})
    parts = {run: concatenate([each[iteration] for iteration in common], label) for run, each in found.items()}
    return assemble(parts, chosen, by).assign_attrs(shared_provenance(chosen))


def _by_iteration(run: Path, analysis: str) -> dict[int, xr.Dataset]:
    """Return the analyses of a run by training iteration."""
    found = {}
    for path in sorted((run / ANALYSIS_FOLDER).glob("*.nc")):
        tree = load(path)
        if analysis not in tree.children:
            raise UserError(f"{path} has no {analysis!r}, only {', '.join(tree.children)}; analyse the sweep with it.")
        found[int(tree.attrs["iteration"])] = tree[analysis].to_dataset()
    if not found:
        raise UserError(f"the run {run} has not been analysed; call analyze_sweep first.")
    return found
