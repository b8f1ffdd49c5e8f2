"""Run a training: the network, its optimizer, the task, and the measurements so far."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from wcrnn_models.checkpoints import list_checkpoints
from wcrnn_models.errors import UserError
from wcrnn_models.files import Hold, remove_partial_files, write_atomically
from wcrnn_models.run_files import CHECKPOINT_FOLDER, HISTORY_FILE, RESUME_FILE
from wcrnn_models.tasks import Task
from wcrnn_models.tasks.task import Batch
from wcrnn_models.training.adjoint import fast_forward
from wcrnn_models.training.build import Tasks, build_model, completed
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.descent import descend, gradient_norms
from wcrnn_models.training.result import Status, TrainResult, refuse_missing_checkpoints
from wcrnn_models.training.resume import Progress, RunIdentity, load_progress, save_progress
from wcrnn_models.training.saved import store_checkpoint


class Run:
    """Training of one network, step by step from its last evaluation on; it writes what `TrainResult` describes.

    Args:
        config: Configuration of the network and its training.
        directory: Directory of the run.
        device: Device to train on.
        hold: Hold on the directory.
        tasks: Tasks that are shared with other runs on the device; by default, the run has one of its own.

    Attributes:
        described: Configuration with all sizes. Checkpoints hold it, so they are read without the data.
        iteration: Number of training iterations done.
        total: Number of training iterations of the whole run.
        result: Result of the run when it has ended, None before.

    Raises:
        UserError: If the state to resume from is damaged, if a checkpoint or data are missing, or if ``save_at`` lies
            beyond the end.
    """

    def __init__(
        self, config: TrainConfig, directory: Path, device: torch.device, hold: Hold, tasks: Tasks | None = None
    ) -> None:
        self.config, self.directory, self.device, self.hold = config, directory, device, hold
        self.checkpoints = directory / CHECKPOINT_FOLDER
        self.checkpoints.mkdir(exist_ok=True)
        for folder in (directory, self.checkpoints):
            remove_partial_files(folder)
        _remove_orphans(self.checkpoints)
        self.task: Task = (Tasks(device) if tasks is None else tasks).of(config)
        self.described = completed(config, self.task)
        self.model = build_model(self.described).to(device)
        self.parameters = tuple(self.model.parameters())
        self.forward = fast_forward(self.model)
        self.optimizer = torch.optim.SGD(self.parameters, lr=config.learning_rate, momentum=config.momentum)
        self.total = config.epochs * self.task.iterations_per_epoch
        if config.save_at and max(config.save_at) > self.total:
            raise UserError(
                f"save_at must not exceed the iterations of the run, {self.total}, got {max(config.save_at)}; "
                "leave it out, or train for more epochs."
            )
        self.evaluate_every = config.evaluate_every or self.task.iterations_per_epoch
        self.identity = RunIdentity(config.fingerprint(), self.total)
        self.measured = Progress()
        if (resume := directory / RESUME_FILE).exists():
            self.measured = load_progress(resume, self.identity, self.model, self.optimizer)
        self.iteration = self.measured.done
        if self.measured.iterations:
            refuse_missing_checkpoints(directory, self._kept_files().values())
        self.result: TrainResult | None = None

    def start(self) -> None:
        """Keep and measure the untrained network, unless the run resumes from an evaluation."""
        if not self.measured.iterations:
            self._save_checkpoint(0, None)
            inputs, targets = self.batch()
            loss = self.loss(self.forward(inputs), targets)
            value = float(loss.detach())
            norm = math.nan
            if self.is_sound(value):
                torch.autograd.backward(loss)
                norm = float(gradient_norms([self.parameters]))
                self.drop_gradient()
            self.measured.losses, self.measured.norms = [value], [norm]
            if not math.isfinite(norm) or not self._evaluate():
                self.diverge()
                return
        if self.iteration == self.total:  # stopped between the last evaluation and its record
            self.result = self._write_history("finished")

    def step(self) -> None:
        """Run one iteration: a batch, its gradient, and a step of SGD."""
        inputs, targets = self.batch()
        loss = self.loss(self.forward(inputs), targets)
        value = float(loss.detach())
        if not self.is_sound(value):
            self.diverge()
            return
        self.drop_gradient()
        torch.autograd.backward(loss)
        norm = float(gradient_norms([self.parameters]))
        if not math.isfinite(norm):
            self.diverge()
            return
        self.clip_gradient(norm)
        descend([self.optimizer])
        self.advance(value, norm)

    def batch(self) -> Batch:
        """Return the batch of the present iteration."""
        inputs, targets = self.task.train_batch(self.iteration)
        return inputs.to(self.device), targets.to(self.device)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of a batch."""
        return self.task.loss(outputs, targets)

    def is_sound(self, loss: float) -> bool:
        """Tell if training can continue after a batch of this loss."""
        limit = self.config.divergence_loss
        return math.isfinite(loss) and (limit is None or loss <= limit)

    def drop_gradient(self) -> None:
        """Forget the gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip_gradient(self, norm: float) -> None:
        """Shorten the gradient to ``gradient_clip``, if it is given and the gradient is longer.

        Args:
            norm: Norm of the gradient.
        """
        if self.config.gradient_clip is not None:
            same = torch.tensor(norm, dtype=self.parameters[0].dtype, device=self.device)
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.gradient_clip, same)

    @property
    def evaluates_next(self) -> bool:
        """True if the test metric is measured after the present iteration."""
        return (self.iteration + 1) % self.evaluate_every == 0 or self.iteration + 1 == self.total

    def advance(self, loss: float, norm: float, metric: float | None = None) -> None:
        """Count an iteration whose step of SGD has been done, and do what is due after it.

        Args:
            loss: Loss of its batch.
            norm: Norm of its gradient before clipping.
            metric: Test metric after it if `evaluates_next`; measured here if not given.
        """
        evaluates = self.evaluates_next
        self.iteration += 1
        self.measured.done = self.iteration
        self.measured.losses.append(loss)
        self.measured.norms.append(norm)
        if evaluates:
            if not self._evaluate(metric):
                self.diverge()
                return
        elif self.iteration in self.config.save_at:
            self._save_checkpoint(self.iteration, None)
        self._probe()
        if self.iteration == self.total:
            self.result = self._write_history("finished")

    def save(self) -> None:
        """Write the state from which the run resumes, between two iterations."""
        self.hold.refuse_other()
        save_progress(self.directory / RESUME_FILE, self.identity, self.measured, self.model, self.optimizer)

    def diverge(self) -> None:
        """End the run because a number is not finite or the loss is too large."""
        self.result = self._write_history("diverged", self.iteration)

    def _probe(self) -> None:
        """Check whether minimal performance has been reached, if it is measured between evaluations."""
        every = self.config.probe_every
        if every is None or self.iteration % every:
            return
        if self.task.minimal_performance is None or self.measured.reached is not None:
            return
        if self.measured.iteration != self.iteration and self.task.reaches(self._test_metric()):
            self.measured.reached = self.iteration

    def _evaluate(self, metric: float | None = None) -> bool:
        """Measure on the test set, unless that is done, and save everything; return true if all is finite."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            return False
        if metric is None:
            metric = self._test_metric()
        if not math.isfinite(metric):
            return False
        measured = self.measured
        measured.iterations.append(self.iteration)
        measured.train_losses.append(math.fsum(measured.losses) / len(measured.losses))
        measured.gradient_norms.append(math.fsum(measured.norms) / len(measured.norms))
        measured.test_metrics.append(metric)
        if measured.reached is None and self.task.reaches(metric):
            measured.reached = self.iteration
        measured.losses, measured.norms = [], []
        self._save_checkpoint(self.iteration, metric)
        self.save()
        self._write_history("running")
        self._delete_superseded()
        return True

    def _test_metric(self) -> float:
        return self.task.test_metric(self.forward, self.device)

    def _save_checkpoint(self, iteration: int, metric: float | None) -> None:
        self.hold.refuse_other()
        store_checkpoint(
            self.checkpoints / _checkpoint_name(iteration),
            self.model,
            self.described,
            iteration=iteration,
            test_metric=metric,
            metric_name=self.task.metric_name,
        )

    def _delete_superseded(self) -> None:
        """Delete checkpoints, except those that the result names and earlier ones of ``save_at``."""
        kept = {*self._kept().values(), *map(_checkpoint_name, self.config.save_at)}
        for weights in list_checkpoints(self.checkpoints):
            if weights.stem not in kept:
                weights.with_suffix(".json").unlink(missing_ok=True)
                weights.unlink(missing_ok=True)

    def _best(self) -> int | None:
        """Return the index of the first evaluation with the best metric."""
        metrics = self.measured.test_metrics
        if not metrics:
            return None
        best = max(metrics) if self.task.higher_is_better else min(metrics)
        return metrics.index(best)

    def _kept(self) -> dict[str, str]:
        best = self._best()
        iterations = self.measured.iterations or [0]
        reached = sorted(iteration for iteration in set(self.config.save_at) if iteration <= self.iteration)
        saved = {str(iteration): _checkpoint_name(iteration) for iteration in reached}
        return {
            "initial": _checkpoint_name(0),
            "best": _checkpoint_name(iterations[best or 0]),
            "final": _checkpoint_name(iterations[-1]),
            **{role: name for role, name in saved.items() if (self.checkpoints / f"{name}.safetensors").is_file()},
        }

    def _kept_files(self) -> dict[str, str]:
        return {role: f"{CHECKPOINT_FOLDER}/{name}.safetensors" for role, name in self._kept().items()}

    def _write_history(self, status: Status, diverged_at: int | None = None) -> TrainResult:
        measured, best = self.measured, self._best()
        warning = None
        if status == "diverged":
            limit = self.config.divergence_loss
            warning = (
                "training diverged: loss, gradient, weights or test metric were not finite"
                f"{'' if limit is None else f', or the loss above {limit:g},'} after {diverged_at} iterations; use a "
                "smaller learning rate, clip the gradient, or weaken the residual or the coupling"
            )
        result = TrainResult(
            status=status,
            metric_name=self.task.metric_name,
            best_metric=None if best is None else measured.test_metrics[best],
            best_iteration=None if best is None else measured.iterations[best],
            iterations_to_minimal_performance=measured.reached,
            total_iterations=self.total,
            iterations=list(measured.iterations),
            train_losses=list(measured.train_losses),
            gradient_norms=list(measured.gradient_norms),
            test_metrics=list(measured.test_metrics),
            diverged_at=diverged_at,
            warning=warning,
            checkpoints=self._kept_files(),
        )
        self.hold.refuse_other()
        write_atomically(self.directory / HISTORY_FILE, result.to_json().encode())
        return result


def _remove_orphans(checkpoints: Path) -> None:
    """Delete weights without a description, left by a process that was killed."""
    for weights in checkpoints.glob("iteration-*.safetensors"):
        if not weights.with_suffix(".json").exists():
            weights.unlink()


def _checkpoint_name(iteration: int) -> str:
    return f"iteration-{iteration:08d}"
