"""The interface between a task and its trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from wcrnn_models.names import LossOn

Batch = tuple[Tensor, Tensor]
"""Inputs, shape (T, B, M), and targets, whose first dimension is B; (T, B, ...) with a loss on every step."""

MetricName = Literal["mse", "rms", "accuracy"]


class Task(ABC):
    """Sequences to read and targets to hit, with a loss to train on and a metric to report.

    `train_batch` is a pure function of the seed and the iteration, so an interrupted training resumes with
    the same batches that it would have seen.

    Attributes:
        name: As in `TrainConfig.task`.
        input_size: Components M of an input.
        output_size: Components O of an output.
        sequence_length: Steps T.
        loss_on: Steps whose outputs have targets: ``"last"`` or ``"every"``.
        iterations_per_epoch: Mini-batches that make one epoch.
        test_count: Number of test samples.
        metric_name: What `metric` measures.
        higher_is_better: Whether a larger metric is a better one.
        minimal_performance: The metric that counts as having learnt something (section 4.1); None where nobody
            has said which.
    """

    name: ClassVar[str]
    input_size: int
    output_size: int
    metric_name: MetricName
    higher_is_better: bool
    minimal_performance: float | None
    sequence_length: int
    iterations_per_epoch: int
    test_count: int
    loss_on: LossOn = "last"

    def to(self, device: torch.device | str) -> Self:
        """Move the samples that are kept to a device, where training then finds them; return the task itself.

        Batches are on the device of their samples, those that are drawn afresh on the processor.
        """
        return self

    @abstractmethod
    def train_batch(self, iteration: int) -> Batch:
        """Return the mini-batch of the given iteration, counted from 0: inputs (T, B, M) and targets."""

    @abstractmethod
    def test_samples(self, chosen: Tensor) -> Batch:
        """Return the test samples of the given numbers, int64, shape (B,): inputs (T, B, M) and targets."""

    @abstractmethod
    def test_batches(self) -> Iterator[Batch]:
        """Yield the test samples in a fixed order, each once; the last batch may be smaller."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of a batch, shape ()."""

    @abstractmethod
    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the reported performance over all given samples."""

    def reaches(self, metric: float) -> bool:
        """Tell whether the metric meets `minimal_performance`; False if there is none."""
        if self.minimal_performance is None:
            return False
        return self.is_better(metric, self.minimal_performance) or metric == self.minimal_performance

    def is_better(self, metric: float, other: float) -> bool:
        """Tell whether the first metric is better than the second."""
        return metric > other if self.higher_is_better else metric < other

    def test_metric(self, model: Callable[[Tensor], Tensor], device: torch.device | str = "cpu") -> float:
        """Return the metric over the whole test set; all samples weigh the same whatever the batch sizes are.

        Args:
            model: Maps inputs (T, B, M) to outputs (B, O), or (T, B, O) with a loss on every step.
            device: Where the model lives.
        """
        outputs, targets = [], []
        with torch.no_grad():
            for batch_inputs, batch_targets in self.test_batches():
                outputs.append(model(batch_inputs.to(device)).cpu())
                targets.append(batch_targets.cpu())
        samples = 1 if self.loss_on == "every" else 0
        return self.metric(torch.cat(outputs, samples), torch.cat(targets, samples))
