"""Train several networks of equal size at once, each in a directory of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from tqdm import tqdm

from lyapkit_command import stopping
from wcrnn_models.errors import UserError
from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.tasks.task import Batch
from wcrnn_models.training.adjoint import EnsembleForward, can_train_together
from wcrnn_models.training.build import Tasks
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.descent import descend, gradient_norms
from wcrnn_models.training.result import TrainResult
from wcrnn_models.training.run import Run
from wcrnn_models.training.trainer import open_run, save_and_stop_if_requested, usable


def train_ensemble(
    configs: Sequence[TrainConfig],
    directories: Sequence[str | Path],
    *,
    progress: bool = False,
    device: torch.device | str = "cpu",
) -> list[TrainResult]:
    """Train the WCRNNs of several configurations together: seeds, residuals, couplings, learning rates.

    This is meant for GPUs, since one small network leaves most of a GPU idle. With Triton, all steps of all networks
    take one launch forward and one back. Otherwise, every step of all networks is one batched matrix product. On a CPU,
    this is no faster than one network after the other (see benchmarks/training.py); use `sweep` there, which runs one
    process per core. Networks that see the same data share its batches, and all are evaluated together.

    Every directory gets the same files as from `train`, with the same numbers up to rounding: batched and single
    products may round differently. After an interruption, networks that are behind others first catch up alone.

    Args:
        configs: Configurations of the networks.
        directories: Directories of the runs, one for each configuration.
        progress: True to show a progress bar on a terminal.
        device: Device to train on.

    Returns:
        The course of every training, in the order of the configurations.

    Raises:
        UserError: If the networks differ in size, form, nonlinearity or type, if their batches differ in shape, if the
            loss is on every step, or for a reason that `train` names.
        ValueError: If there is not one directory for each configuration.
    """
    if len(configs) != len(directories):
        raise ValueError(f"expected one directory for each of {len(configs)} configurations, got {len(directories)}.")
    where = usable(device)
    tasks = Tasks(where)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_run(config, Path(directory), where, tasks))
            for config, directory in zip(configs, directories, strict=True)
        ]
        active = [run for run in opened if isinstance(run, Run)]
        _refuse_different(active)
        for run in active:
            run.start()
        _until_done([run for run in active if run.result is None], progress)
        results = [run.result if isinstance(run, Run) else run for run in opened]
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def _until_done(active: list[Run], progress: bool) -> None:
    total = sum(run.total - run.iteration for run in active)
    shown = tqdm(total=total, unit="it", desc="train", disable=None if progress else True)
    with shown as bar, stopping.deferred():
        while active:
            last = min(run.iteration for run in active)
            behind = [run for run in active if run.iteration == last]
            until = min((run.iteration for run in active if run.iteration > last), default=None)
            forward = EnsembleForward([run.model for run in behind if isinstance(run.model, WCRNN)])
            while all(run.result is None for run in behind) and behind[0].iteration != until:
                save_and_stop_if_requested(active)
                done = sum(run.iteration for run in behind)
                _step(behind, forward)
                bar.update(sum(run.iteration for run in behind) - done)
            active = [run for run in active if run.result is None]


def _step(active: Sequence[Run], forward: EnsembleForward) -> None:
    """Run one iteration of every run; read numbers from the device for all runs at once, since each read waits."""
    drawn = {run.task: run for run in active}  # networks that share a task see the same batch
    of_task = {task: run.batch() for task, run in drawn.items()}
    batches = [of_task[run.task] for run in active]
    outputs = forward([inputs for inputs, _ in batches])
    losses = [run.loss(output, targets) for run, output, (_, targets) in zip(active, outputs, batches, strict=True)]
    values = torch.stack([loss.detach() for loss in losses]).tolist()
    sound = {run: (loss, value) for run, loss, value in zip(active, losses, values, strict=True) if run.is_sound(value)}
    if sound:
        for run in sound:
            run.drop_gradient()
        # the losses do not share a parameter, so the gradient of their sum is that of each
        torch.autograd.backward([loss for loss, _ in sound.values()])
        norms = dict(zip(sound, gradient_norms([run.parameters for run in sound]).tolist(), strict=True))
        learning = [run for run in sound if math.isfinite(norms[run])]
        for run in learning:
            run.clip_gradient(norms[run])
        descend([run.optimizer for run in learning])
        metrics = _test_metrics(learning, forward) if learning == list(active) else {}
        for run in learning:
            run.advance(sound[run][1], norms[run], metrics.get(run))
    for run in active:
        if run not in sound or not math.isfinite(norms[run]):
            run.diverge()


def _test_metrics(runs: Sequence[Run], forward: EnsembleForward) -> dict[Run, float]:
    """Return the test metrics of runs that all measure them now, on equally many samples; otherwise, none."""
    if not all(run.evaluates_next for run in runs) or len({run.task.test_count for run in runs}) > 1:
        return {}
    kept: dict[Run, list[Batch]] = {run: [] for run in runs}
    with torch.no_grad():
        for batches in zip(*(run.task.test_batches() for run in runs), strict=True):
            outputs = forward([inputs.to(run.device) for run, (inputs, _) in zip(runs, batches, strict=True)])
            for run, output, (_, targets) in zip(runs, outputs, batches, strict=True):
                kept[run].append((output, targets))
    return {run: run.task.metric(*(torch.cat(parts).cpu() for parts in zip(*kept[run], strict=True))) for run in runs}


def _refuse_different(runs: Sequence[Run]) -> None:
    if not runs:
        return
    if not can_train_together([run.model for run in runs]):
        raise UserError(
            "only WCRNNs of one size, form, nonlinearity and type, with a loss on the last step, can be trained "
            "together; train the others one by one."
        )
    shapes = {
        (run.task.name, run.task.sequence_length, run.config.batch_size, run.task.iterations_per_epoch) for run in runs
    }
    if len(shapes) > 1:
        raise UserError(
            "networks that are trained together need the same task, length, batch_size and iterations per epoch, got "
            f"{', '.join(map(str, sorted(shapes)))}; train the others one by one."
        )
