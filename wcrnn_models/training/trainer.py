"""Train a WCRNN by backpropagation through time, in a directory from which the run can be resumed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from wcrnn_models.cells import WCRNN
from wcrnn_models.checkpoints import CHECKPOINT_FOLDER, list_checkpoints, save_checkpoint
from wcrnn_models.errors import UserError
from wcrnn_models.files import LOCK_FILE, exclusive, remove_partial_files, write_atomically
from wcrnn_models.tasks import Task
from wcrnn_models.training.build import build_model, build_task
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import Status, TrainResult
from wcrnn_models.training.resume import Progress, RunIdentity, load_progress, save_progress

CONFIG_FILE = "config.json"
HISTORY_FILE = "history.json"
RESUME_FILE = "resume.pt"


def train(
    config: TrainConfig, directory: str | Path, *, progress: bool = False, device: torch.device | str = "cpu"
) -> TrainResult:
    """Train the network of a configuration with SGD on mini-batches (section 4).

    The directory gets ``config.json``, ``history.json`` (a `TrainResult`), ``checkpoints/`` with the
    untrained, the best and the last evaluated network, and ``resume.pt``. Called again on the directory of an
    interrupted run, it goes on from the last evaluation; on the CPU, with the same number of threads, it then
    gives bit for bit the weights and metrics of an uninterrupted run. The result of a completed run is
    returned at once. A run that fails before its first evaluation leaves nothing behind.

    Args:
        config: What to train.
        directory: Where to; made if missing.
        progress: Whether to show a progress bar on a terminal.
        device: Where to train.

    Returns:
        The course of training. Its status is ``"diverged"`` if the loss, the weights or the test metric
        stopped being finite; training ends there.

    Raises:
        UserError: If the directory belongs to another configuration or to a running process, a file in it is
            damaged, the data of the task are missing, or the device cannot be used.
    """
    directory = Path(directory)
    device = _usable(device)
    missing = [path for path in (directory / CHECKPOINT_FOLDER, directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{directory} is a file; name a directory for the run") from None
    with exclusive(directory):
        _refuse_other_configuration(directory, config)
        history = directory / HISTORY_FILE
        if history.exists() and (result := TrainResult.read(history)).status != "running":
            return result
        claimed = (directory / CONFIG_FILE).exists()
        try:
            run = _Run(config, directory, device)
            write_atomically(directory / CONFIG_FILE, config.to_json().encode())
            return run.until_done(progress)
        except BaseException:
            if not claimed and not (directory / RESUME_FILE).exists():
                _undo(directory, missing)
            raise


def _undo(directory: Path, made: Sequence[Path]) -> None:
    """Free the directory of a run without an evaluation, and delete the given directories, innermost first."""
    (directory / CONFIG_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # what cannot be deleted, such as a directory with other files, stays
        if directory / CHECKPOINT_FOLDER in made:
            shutil.rmtree(directory / CHECKPOINT_FOLDER)
        if directory in made and [path.name for path in directory.iterdir()] == [LOCK_FILE]:
            (directory / LOCK_FILE).unlink()
            for path in made[1:]:
                path.rmdir()


def _usable(device: torch.device | str) -> torch.device:
    """The device, after a number has really been put there and read back, which "meta" cannot do."""
    try:
        number = torch.zeros(1, device=device)
        number.item()
    except (RuntimeError, AssertionError, ImportError) as error:  # an unknown name, or PyTorch was built without it
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"the device {str(device)!r} cannot be used here ({reason}); use 'cpu'") from error
    return number.device


def _refuse_other_configuration(directory: Path, config: TrainConfig) -> None:
    """A directory belongs to one configuration."""
    path = directory / CONFIG_FILE
    if not path.exists():
        return
    try:
        present = asdict(TrainConfig.from_json(path.read_bytes()))
    except UserError as error:
        raise UserError(f"{path}: {error}; restore the file, or train into another directory") from error
    wanted = asdict(config)
    if differences := [
        f"{name} is {present[name]!r} there and {wanted[name]!r} here"
        for name in wanted
        if present[name] != wanted[name]
    ]:
        raise UserError(
            f"{directory} holds a run with another configuration: {', '.join(differences)}; train into "
            "another directory, or give the same options to continue that run"
        )


class _Run:
    """One run: the network, its optimizer, the task, and what has been measured."""

    def __init__(self, config: TrainConfig, directory: Path, device: torch.device) -> None:
        self.config, self.directory, self.device = config, directory, device
        self.checkpoints = directory / CHECKPOINT_FOLDER
        self.checkpoints.mkdir(exist_ok=True)
        for folder in (directory, self.checkpoints):
            remove_partial_files(folder)
        self.task: Task = build_task(config)
        self.model: WCRNN = build_model(config).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config.learning_rate, momentum=config.momentum)
        self.total = config.epochs * self.task.iterations_per_epoch
        self.evaluate_every = config.evaluate_every or self.task.iterations_per_epoch
        self.identity = RunIdentity(config.fingerprint(), self.total)
        self.measured = Progress()
        if (resume := directory / RESUME_FILE).exists():
            self.measured = load_progress(resume, self.identity, self.model, self.optimizer)

    def until_done(self, progress: bool) -> TrainResult:
        """Train from the last evaluation, or from the start, to the end."""
        if not self.measured.iterations and not self._start():
            return self._diverged(0)
        bar = tqdm(
            total=self.total,
            initial=self.measured.iteration,
            unit="it",
            desc="train",
            disable=None if progress else True,
        )
        with bar:
            losses: list[float] = []
            for iteration in range(self.measured.iteration, self.total):
                loss = self._update(iteration)
                if not math.isfinite(loss):
                    return self._diverged(iteration)
                losses.append(loss)
                bar.update()
                done = iteration + 1
                if done % self.evaluate_every == 0 or done == self.total:
                    if not self._evaluate(done, math.fsum(losses) / len(losses)):
                        return self._diverged(done)
                    losses = []
                    bar.set_postfix_str(f"{self.task.metric_name} {self.measured.test_metrics[-1]:.4g}")
        return self._write_history("finished")

    def _start(self) -> bool:
        """Keep and evaluate the untrained network; whether everything was finite."""
        self._save_checkpoint(0, None)
        inputs, targets = self.task.train_batch(0)
        with torch.no_grad():
            outputs = self.model(inputs.to(self.device))
            loss = float(self.task.loss(outputs, targets.to(self.device)))
        return math.isfinite(loss) and self._evaluate(0, loss)

    def _update(self, iteration: int) -> float:
        """One step of SGD on the batch of an iteration, unless its loss is not finite; returns the loss."""
        inputs, targets = self.task.train_batch(iteration)
        self.optimizer.zero_grad()
        loss = self.task.loss(self.model(inputs.to(self.device)), targets.to(self.device))
        value = float(loss.detach())
        if math.isfinite(value):
            torch.autograd.backward(loss)
            if self.config.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
            self.optimizer.step()
        return value

    def _evaluate(self, iteration: int, train_loss: float) -> bool:
        """Measure on the test set and save everything; whether weights and metric were finite."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            return False
        metric = self.task.test_metric(self.model, self.device)
        if not math.isfinite(metric):
            return False
        self.measured.iterations.append(iteration)
        self.measured.train_losses.append(train_loss)
        self.measured.test_metrics.append(metric)
        self._save_checkpoint(iteration, metric)
        save_progress(self.directory / RESUME_FILE, self.identity, self.measured, self.model, self.optimizer)
        self._write_history("running")
        self._delete_superseded()
        return True

    def _save_checkpoint(self, iteration: int, metric: float | None) -> None:
        save_checkpoint(
            self.checkpoints / _checkpoint_name(iteration),
            self.model,
            self.config,
            iteration=iteration,
            test_metric=metric,
            metric_name=self.task.metric_name,
        )

    def _delete_superseded(self) -> None:
        """Keep the initial, the best and the last checkpoint."""
        kept = set(self._kept().values())
        for weights in list_checkpoints(self.checkpoints):
            if weights.stem not in kept:
                weights.with_suffix(".json").unlink()
                weights.unlink()

    def _best(self) -> int | None:
        """Index of the first evaluation with the best metric."""
        metrics = self.measured.test_metrics
        if not metrics:
            return None
        best = max(metrics) if self.task.higher_is_better else min(metrics)
        return metrics.index(best)

    def _kept(self) -> dict[str, str]:
        best = self._best()
        iterations = self.measured.iterations or [0]
        return {
            "initial": _checkpoint_name(0),
            "best": _checkpoint_name(iterations[best or 0]),
            "final": _checkpoint_name(iterations[-1]),
        }

    def _diverged(self, iteration: int) -> TrainResult:
        return self._write_history("diverged", iteration)

    def _write_history(self, status: Status, diverged_at: int | None = None) -> TrainResult:
        measured, best = self.measured, self._best()
        reached = [
            iteration
            for iteration, metric in zip(measured.iterations, measured.test_metrics, strict=True)
            if self.task.reaches(metric)
        ]
        warning = None
        if status == "diverged":
            warning = (
                f"training diverged: loss, weights or test metric were not finite after {diverged_at} "
                "iterations; use a smaller learning rate, clip the gradient, or weaken the residual or the "
                "coupling"
            )
        result = TrainResult(
            status=status,
            metric_name=self.task.metric_name,
            best_metric=None if best is None else measured.test_metrics[best],
            best_iteration=None if best is None else measured.iterations[best],
            iterations_to_minimal_performance=reached[0] if reached else None,
            iterations=list(measured.iterations),
            train_losses=list(measured.train_losses),
            test_metrics=list(measured.test_metrics),
            diverged_at=diverged_at,
            warning=warning,
            checkpoints={role: f"{CHECKPOINT_FOLDER}/{name}.safetensors" for role, name in self._kept().items()},
        )
        write_atomically(self.directory / HISTORY_FILE, result.to_json().encode())
        return result


def _checkpoint_name(iteration: int) -> str:
    return f"iteration-{iteration:08d}"
