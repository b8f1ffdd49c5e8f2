"""The adding problem of Hochreiter & Schmidhuber (1997), as section 4 states it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from wcrnn_models.errors import UserError
from wcrnn_models.names import LossName
from wcrnn_models.tasks.measures import DEFAULT_ERROR, ERRORS
from wcrnn_models.tasks.task import Batch, Task

_TRAIN, _TEST, _VALIDATION = 0, 1, 2  # streams of random numbers


class AddingProblem(Task):
    """Add the two numbers of a sequence that are marked.

    Input component 0 is uniform in [0, 1]; component 1 is 1 at one position drawn from the first half (steps
    0 to floor(T/2) - 1) and at one from the second half, else 0. The target is the sum of the two marked
    numbers. Always answering the mean 1 gives an RMS of sqrt(1/6) = 0.408.

    Training batches are generated afresh, so no sample is seen twice, and an epoch is a number of iterations
    by definition. The paper states 150 epochs but not how many samples an epoch has; its Table 1 reports
    4.1e5 iterations on length 800, so its epochs had at least 2734 of them.

    Args:
        length: Steps T >= 2.
        batch_size: Samples in a training batch.
        iterations_per_epoch: Training batches in an epoch. Default 1000, our choice.
        test_size: Samples of the fixed test set. Default 2000, our choice: an RMS over Gaussian errors is
            then known to 1.6 % (standard error 1/sqrt(2 test_size)).
        validation_size: Judge by so many samples that are neither those of the training nor those of the test set.
        loss: The error to train on and to report: mean square, or its root. See `minimal_performance`.
        seed: Determines training batches and test set.
        dtype: Floating-point type of inputs and targets.

    Raises:
        UserError: If a size is too small or the seed is negative.
    """

    name = "adding"
    input_size = 2
    output_size = 1
    higher_is_better = False
    minimal_performance = 0.05  # section 4.1, of the error that the loss names

    def __init__(
        self,
        length: int,
        *,
        batch_size: int = 128,
        iterations_per_epoch: int = 1000,
        test_size: int = 2000,
        validation_size: int | None = None,
        loss: LossName = DEFAULT_ERROR,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if length < 2:
            raise UserError(f"the adding problem needs a length of at least 2, one step per half, got {length}.")
        sizes = {
            "batch_size": batch_size,
            "iterations_per_epoch": iterations_per_epoch,
            "test_size": test_size,
        }
        if validation_size is not None:
            sizes["validation_size"] = validation_size
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"{name} must be at least 1, got {size}.")
        if seed < 0:
            raise UserError(f"seed must be >= 0, got {seed}.")
        self.sequence_length = length
        self.iterations_per_epoch = iterations_per_epoch
        self.batch_size, self.seed, self.dtype = batch_size, seed, dtype
        self.test_count = test_size if validation_size is None else validation_size
        self._judging = _TEST if validation_size is None else _VALIDATION
        self.metric_name = loss
        self._error = ERRORS[loss]

    def train_batch(self, iteration: int) -> Batch:
        """Return inputs (T, B, 2) and targets (B, 1), determined by the seed and the iteration."""
        return self._samples(self.batch_size, (self.seed, _TRAIN, iteration))

    def test_samples(self, chosen: Tensor) -> Batch:
        """Return inputs (T, B, 2) and targets (B, 1) of the given test samples."""
        inputs, targets = self._judged()
        return inputs[:, chosen], targets[chosen]

    def test_batches(self) -> Iterator[Batch]:
        """Yield the test samples, determined by the seed alone, in batches of 500."""
        inputs, targets = self._judged()
        return zip(torch.split(inputs, 500, dim=1), torch.split(targets, 500), strict=True)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the error of a batch, shape (); the gradient of its root is 0 where the error is 0."""
        return self._error.loss(outputs, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the error over all samples."""
        return self._error.metric(outputs, targets)

    def _judged(self) -> Batch:
        return self._samples(self.test_count, (self.seed, self._judging))

    def _samples(self, count: int, stream: tuple[int, ...]) -> Batch:
        random = np.random.default_rng(stream)
        length, half = self.sequence_length, self.sequence_length // 2
        values = random.random((length, count))
        first = random.integers(0, half, count)
        second = random.integers(half, length, count)
        sample = np.arange(count)
        inputs = np.zeros((length, count, 2))
        inputs[:, :, 0] = values
        inputs[first, sample, 1] = 1.0
        inputs[second, sample, 1] = 1.0
        targets = values[first, sample] + values[second, sample]
        return torch.from_numpy(inputs).to(self.dtype), torch.from_numpy(targets).to(self.dtype).unsqueeze(-1)
