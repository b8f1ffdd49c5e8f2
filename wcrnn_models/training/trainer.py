"""Train a network by backpropagation through time, in a directory from which the run can be resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from lyapkit.checks.threads import threads_for, with_threads
from lyapkit_command import stopping
from wcrnn_models.errors import UserError, clause
from wcrnn_models.files import LOCK_FILE, Hold, InUseError, exclusive, open_own, read_regular, write_atomically
from wcrnn_models.run_files import CHECKPOINT_FOLDER, CONFIG_FILE, HISTORY_FILE, RESUME_FILE
from wcrnn_models.training.build import Tasks
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult, ended_result
from wcrnn_models.training.run import Run
from wcrnn_models.training.tensorboard import Board


def train(
    config: TrainConfig,
    directory: str | Path,
    *,
    progress: bool = False,
    device: torch.device | str = "cpu",
    tensorboard: str | Path | None = None,
    threads: int | None = None,
) -> TrainResult:
    """Train the network of a configuration with SGD on mini-batches (section 4).

    The directory gets ``config.json``, ``history.json`` (a `TrainResult`), ``checkpoints/`` with the untrained, the
    best and the last evaluated network and those of ``save_at``, and ``resume.pt``. Called again on the directory of an
    interrupted run, it resumes from the last evaluation. On the CPU, with the same number of threads, weights and
    metrics then equal those of an uninterrupted run, bit for bit. The result of a completed run is returned at once. A
    run that fails before its first evaluation leaves nothing behind.

    If `wcrnn_models.training.adjoint` has a kernel for the network, the kernel computes the gradients.

    Args:
        config: Configuration of the network and its training.
        directory: Directory of the run; made if missing.
        progress: True to show a progress bar on a terminal.
        device: Device to train on.
        tensorboard: Log directory of this run alone, for curves of loss, gradient norm and test metric. Without it, no
            curves are written. TensorBoard must be installed.
        threads: Number of threads of PyTorch on the CPU. The default is one if the matrix products of a step are small
            (``batch_size`` times ``hidden_size`` squared below `lyapkit.checks.threads.WORTH_THREADS`); otherwise the
            present number stays. Two threads train 100 units in batches of 128 a third faster on an idle machine, and
            several times slower beside another busy process.

    Returns:
        The course of training. Its status is ``"diverged"`` if the loss, the gradient, the weights or the test metric
        stopped being finite, or the loss exceeded ``divergence_loss``; training ends there.

    Raises:
        UserError: If the directory belongs to another configuration or to a running process, or cannot be written; if a
            file in it is damaged or missing; if the data of the task are missing; if threads are below 1; if the device
            cannot be used; or if TensorBoard is not installed or is given a file.
    """
    directory = Path(directory)
    board = None if tensorboard is None else Board(Path(tensorboard))
    with _threads(config, device, threads), open_run(config, directory, usable(device)) as run:
        if isinstance(run, TrainResult):
            return run
        shown = len(run.measured.iterations)
        run.start()
        bar = tqdm(total=run.total, initial=run.iteration, unit="it", desc="train", disable=None if progress else True)
        with bar, stopping.deferred():
            while True:
                bar.update(run.iteration - bar.n)
                if len(run.measured.iterations) > shown:
                    shown = len(run.measured.iterations)
                    bar.set_postfix_str(f"{run.task.metric_name} {run.measured.test_metrics[-1]:.4g}")
                    if board is not None:
                        board.show(run.measured, run.task.metric_name)
                if run.result is not None:
                    return run.result
                save_and_stop_if_requested([run])
                run.step()


def _threads(config: TrainConfig, device: torch.device | str, threads: int | None) -> AbstractContextManager[None]:
    """Return a context with the threads of a training."""
    if threads is None:
        if not str(device).startswith("cpu"):
            return nullcontext()
        return threads_for(config.batch_size * config.hidden_size**2)
    if threads < 1:
        raise UserError(f"threads must be at least 1, got {threads}; leave it out to have it chosen by the network.")
    return with_threads(threads)


def save_and_stop_if_requested(runs: Sequence[Run]) -> None:
    """Save runs that are between two iterations, and stop, if the command has received SIGTERM.

    Raises:
        Terminated: If it has received SIGTERM.
    """
    if stopping.requested():
        for run in runs:
            run.save()
        at = ", ".join(str(run.iteration) for run in runs)
        raise stopping.Terminated(f"saved after {at} iterations, and the same command resumes.")


@contextmanager
def open_run(
    config: TrainConfig, directory: Path, device: torch.device, tasks: Tasks | None = None
) -> Iterator[Run | TrainResult]:
    """Hold a directory for a run; if it fails before its first evaluation, leave nothing behind.

    Args:
        config: Configuration of the network and its training.
        directory: Directory of the run; made if missing.
        device: Device to train on.
        tasks: Tasks that are shared with other runs on the device; by default, the run has one of its own.

    Yields:
        The run, or the result if it is complete already.

    Raises:
        UserError: If the directory belongs to another configuration or to a running process, or cannot be written; if a
            file in it is damaged or missing; or for a reason that `Run` names.
    """
    ours = (directory / LOCK_FILE, directory / CHECKPOINT_FOLDER, directory, *directory.parents)
    missing = [path for path in ours if not path.exists()]
    hold = None
    with stopping.orderly(), ExitStack() as stack:
        try:
            _make_writable(directory)
            hold = stack.enter_context(exclusive(directory))
            yield from _opened(config, directory, device, hold, missing, tasks)
        except InUseError:
            raise
        except BaseException:
            if hold is None or hold.lasts():
                _remove_empty(directory, missing)
            raise


def _opened(
    config: TrainConfig,
    directory: Path,
    device: torch.device,
    hold: Hold,
    missing: Sequence[Path],
    tasks: Tasks | None,
) -> Iterator[Run | TrainResult]:
    """Open a run as `open_run` does, in a directory that is held."""
    claimed = (directory / CONFIG_FILE).exists()
    if claimed:
        _refuse_other_configuration(directory, config)
    else:
        _refuse_lost_configuration(directory)
    if (result := ended_result(directory)) is not None:
        yield result
        return
    try:
        run = Run(config, directory, device, hold, tasks)
        write_atomically(directory / CONFIG_FILE, config.to_json().encode())
        yield run
    except BaseException:
        has_begun = any((directory / name).exists() for name in (RESUME_FILE, HISTORY_FILE))
        if hold.lasts() and not claimed and not has_begun:
            _undo(directory, missing)
        raise


def known_device(device: torch.device | str) -> torch.device:
    """Return the device that a name stands for, without using it.

    Raises:
        UserError: If PyTorch knows no such device, or has none here.
    """
    try:
        known = torch.device(device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"the device {str(device)!r} cannot be used here ({reason}); use 'cpu'.") from error
    if known.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"the device {str(device)!r} cannot be used here (there is no CUDA device); use 'cpu'.")
    return known


def usable(device: torch.device | str) -> torch.device:
    """Return the device if a number can be put there and read back, which "meta" cannot do.

    Raises:
        UserError: If this fails.
    """
    try:
        number = torch.zeros(1, device=device)
        number.item()
    except (RuntimeError, AssertionError, ImportError) as error:  # an unknown name, or PyTorch was built without it
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"the device {str(device)!r} cannot be used here ({reason}); use 'cpu'.") from error
    return number.device


def _make_writable(directory: Path) -> None:
    """Make a directory and the file of its lock, to check that files can be written there."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; name a directory for the run.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        os.close(open_own(directory / LOCK_FILE))
    except OSError as error:
        raise UserError(
            f"the directory {directory} cannot be made or written ({error.strerror}); name another for the run."
        ) from error


def _undo(directory: Path, made: Sequence[Path]) -> None:
    """Free the directory of a run without an evaluation, and delete its folder of checkpoints if it is new."""
    checkpoints = directory / CHECKPOINT_FOLDER
    for weights in checkpoints.glob("*.safetensors"):  # weights first: without a configuration, they count as damage
        weights.with_suffix(".json").unlink(missing_ok=True)
        weights.unlink()
    (directory / CONFIG_FILE).unlink(missing_ok=True)
    if checkpoints in made:
        shutil.rmtree(checkpoints, ignore_errors=True)


def _remove_empty(directory: Path, made: Sequence[Path]) -> None:
    """Delete the lock and new directories, if they are empty; keep what cannot be deleted."""
    lock = directory / LOCK_FILE
    with suppress(OSError):
        if lock in made and not any((directory / name).exists() for name in (CONFIG_FILE, CHECKPOINT_FOLDER)):
            lock.unlink(missing_ok=True)
        for path in made:
            if path not in (lock, directory / CHECKPOINT_FOLDER):
                path.rmdir()


def _refuse_other_configuration(directory: Path, config: TrainConfig) -> None:
    """Refuse a directory that belongs to another configuration."""
    path = directory / CONFIG_FILE
    try:
        present = asdict(TrainConfig.from_json(read_regular(path)))
    except UserError as error:
        raise UserError(f"{path}: {clause(error)}; restore the file, or train into another directory.") from error
    wanted = asdict(config)
    if differences := [
        f"{name} is {present[name]!r} there and {wanted[name]!r} here"
        for name in wanted
        if present[name] != wanted[name]
    ]:
        raise UserError(
            f"{directory} holds a run with another configuration: {', '.join(differences)}; train into "
            "another directory, or give the same options to continue that run."
        )


def _refuse_lost_configuration(directory: Path) -> None:
    """Refuse a directory with the files of a run, but without its configuration."""
    found = [name for name in (HISTORY_FILE, RESUME_FILE) if (directory / name).exists()]
    if any((directory / CHECKPOINT_FOLDER).glob("*.safetensors")):
        found.append(f"{CHECKPOINT_FOLDER}/")
    if found:
        raise UserError(
            f"{directory} is damaged: it holds {', '.join(found)} of a run, but not its configuration {CONFIG_FILE}; "
            "restore that file, train into another directory, or delete this one."
        )
