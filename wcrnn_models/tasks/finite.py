"""Tasks with a given set of training samples: an epoch shows each of them once, in a new order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from wcrnn_models.errors import UserError
from wcrnn_models.tasks.task import Batch, Task

_TEST_BATCH = 500
_TRAIN_STREAM, _TEST_STREAM = 1, 2  # of random numbers that choose subsets; the permutation of psMNIST has 0


class FiniteTask(Task):
    """Mini-batches from given samples, in an order determined by the seed and the epoch.

    An epoch is one pass through the training samples; its last batch may be smaller. A subclass holds the samples and
    hands out the chosen ones.

    Args:
        train_count: Number of training samples.
        test_count: Number of test samples.
        batch_size: Samples in a training batch.
        seed: Determines the order of the training samples.

    Raises:
        UserError: If the batch size is not positive or the seed is negative.
    """

    def __init__(self, train_count: int, test_count: int, *, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}.")
        if seed < 0:
            raise UserError(f"seed must be >= 0, got {seed}.")
        self.batch_size, self.seed = batch_size, seed
        self.train_count, self.test_count = train_count, test_count
        self.iterations_per_epoch = -(-train_count // batch_size)
        self._order: tuple[int, Tensor] | None = None  # the epoch and its permutation

    @abstractmethod
    def train_samples(self, chosen: Tensor) -> Batch:
        """Return the training samples of the given numbers, int64, shape (B,): inputs (T, B, M) and targets."""

    def train_batch(self, iteration: int) -> Batch:
        """Return inputs (T, B, M) and targets, determined by the seed and the iteration."""
        epoch, position = divmod(iteration, self.iterations_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.train_count)
            self._order = epoch, torch.from_numpy(order)
        return self.train_samples(self._order[1][position * self.batch_size : (position + 1) * self.batch_size])

    def test_batches(self) -> Iterator[Batch]:
        """Yield the test samples in their own order, in batches of 500."""
        for chosen in torch.split(torch.arange(self.test_count), _TEST_BATCH):
            yield self.test_samples(chosen)


def choose_samples(
    train_count: int, test_count: int, *, train_size: int | None, test_size: int | None, validation_size: int | None
) -> tuple[Tensor, Tensor]:
    """Choose the samples to train on and those to judge by.

    Subsets are random, never the first ones, and depend on nothing but the counts and sizes: networks of all seeds see
    the same ones, and a larger subset contains a smaller one. They are drawn as `mnist.pixel_permutation` is.

    Args:
        train_count: Training samples that there are.
        test_count: Test samples that there are.
        train_size: Training samples to use; None uses all that are not held out.
        test_size: Test samples to use; None uses all.
        validation_size: Training samples to hold out and to judge by, in place of the test samples; None for none.

    Returns:
        Sorted numbers, int64, of the training samples to train on, and of the samples to judge by: numbers of training
        samples where ``validation_size`` is given, of test samples otherwise.

    Raises:
        UserError: If there are not so many.
    """
    held_out = 0
    if validation_size is not None:
        check_count("validation_size", validation_size, train_count - 1)
        held_out = validation_size
    check_count("train_size", train_size, train_count - held_out)
    check_count("test_size", test_size, test_count)
    order = _random_order(train_count, _TRAIN_STREAM)
    last = None if train_size is None else held_out + train_size
    judged = order[:held_out] if held_out else _random_order(test_count, _TEST_STREAM)[:test_size]
    return order[held_out:last].sort().values, judged.sort().values


def _random_order(count: int, stream: int) -> Tensor:
    return torch.from_numpy(np.argsort(np.random.PCG64(stream).random_raw(count)))


def check_count(name: str, size: int | None, there: int) -> None:
    """Refuse to use more samples than there are.

    Args:
        name: The argument that limits them.
        size: Its value; None uses all.
        there: How many there are.

    Raises:
        UserError: If the limit is not between 1 and that number.
    """
    if size is not None and not 1 <= size <= there:
        raise UserError(f"{name} must be between 1 and {there}, got {size}.")
