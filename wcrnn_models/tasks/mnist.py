"""MNIST digits read pixel by pixel: sMNIST, and psMNIST with one fixed permutation of the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wcrnn_models.errors import UserError
from wcrnn_models.tasks.download import find_mnist_file
from wcrnn_models.tasks.idx import read_idx
from wcrnn_models.tasks.task import Batch, Task

PERMUTATION_SEED = 0
"""Seed of the pixel permutation of psMNIST; the paper does not publish its permutation."""


def pixel_permutation(seed: int = PERMUTATION_SEED) -> Tensor:
    """The order in which psMNIST presents the 784 pixels, int64, shape (784,).

    It sorts raw numbers of the PCG64 generator, whose stream NumPy keeps the same in all versions, so a seed
    means the same task everywhere.
    """
    return torch.from_numpy(np.argsort(np.random.PCG64(seed).random_raw(784)))


class SequentialMNIST(Task):
    """Classify a digit whose 784 pixels are presented one at a time, top left to bottom right (section 4).

    Pixels are divided by 255. An epoch is one pass through the training images in an order determined by the
    seed and the epoch; its last batch may be smaller. The files are found by `tasks.download`.

    Args:
        batch_size: Samples in a training batch.
        train_size: Use only the first so many training images; None uses all 60,000.
        test_size: Use only the first so many test images; None uses all 10,000.
        seed: Determines the order of the training images.
        dtype: Floating-point type of the inputs.

    Raises:
        UserError: If a file is missing or damaged, or a size does not fit.
    """

    name = "smnist"
    input_size = 1
    output_size = 10
    metric_name: ClassVar[Literal["accuracy"]] = "accuracy"
    higher_is_better = True
    minimal_performance = 0.5  # section 4.1
    sequence_length = 784

    def __init__(
        self,
        *,
        batch_size: int = 128,
        train_size: int | None = None,
        test_size: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise UserError(f"seed must be >= 0, got {seed}")
        self.batch_size, self.seed, self.dtype = batch_size, seed, dtype
        self.train_pixels, self.train_labels = _digits("train", "train_size", train_size)
        self.test_pixels, self.test_labels = _digits("t10k", "test_size", test_size)
        self.iterations_per_epoch = -(-len(self.train_labels) // batch_size)
        self._order: tuple[int, Tensor] | None = None  # the epoch and its permutation

    def train_batch(self, iteration: int) -> Batch:
        """Inputs (784, B, 1) and labels (B,), determined by the seed and the iteration."""
        epoch, position = divmod(iteration, self.iterations_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.train_labels))
            self._order = epoch, torch.from_numpy(order)
        chosen = self._order[1][position * self.batch_size : (position + 1) * self.batch_size]
        return self._sequences(self.train_pixels[chosen]), self.train_labels[chosen]

    def test_batches(self) -> Iterator[Batch]:
        """The test images in the order of the file, in batches of 500."""
        for pixels, labels in zip(torch.split(self.test_pixels, 500), torch.split(self.test_labels, 500), strict=True):
            yield self._sequences(pixels), labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of a batch, shape ()."""
        return functional.cross_entropy(outputs, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """The fraction of samples whose largest output is that of the label."""
        return float((outputs.argmax(dim=-1) == targets).double().mean())

    def _sequences(self, pixels: Tensor) -> Tensor:
        """Scaled pixels with time first: (B, 784) to (784, B, 1)."""
        return pixels.t().to(self.dtype).div(255).contiguous().unsqueeze(-1)


class PermutedSequentialMNIST(SequentialMNIST):
    """`SequentialMNIST` with the pixels of every image in one fixed random order, `pixel_permutation`."""

    name = "psmnist"

    def _sequences(self, pixels: Tensor) -> Tensor:
        return super()._sequences(pixels)[pixel_permutation()]


def _digits(part: str, argument: str, size: int | None) -> tuple[Tensor, Tensor]:
    """The first ``size`` images as uint8, shape (size, 784), and their labels as int64."""
    image_file = find_mnist_file(f"{part}-images-idx3-ubyte.gz")
    label_file = find_mnist_file(f"{part}-labels-idx1-ubyte.gz")
    images = torch.from_numpy(read_idx(image_file, 3))
    labels = torch.from_numpy(read_idx(label_file, 1)).to(torch.int64)
    if images.shape != (len(labels), 28, 28) or int(labels.max()) > 9:
        raise UserError(
            f"{image_file} and {label_file} do not belong together: images {tuple(images.shape)}, "
            f"{len(labels)} labels up to {int(labels.max())}; fetch both again"
        )
    if size is not None and not 1 <= size <= len(labels):
        raise UserError(f"{argument} must be between 1 and {len(labels)}, got {size}")
    return images.flatten(1)[:size], labels[:size]
