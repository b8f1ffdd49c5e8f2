"""Classify images whose grey values are presented one at a time (section 4)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from wcrnn_models.tasks.finite import FiniteTask, choose_samples
from wcrnn_models.tasks.measures import accuracy, cross_entropy
from wcrnn_models.tasks.task import Batch

Images = tuple[Tensor, Tensor]
"""Grey values, uint8, shape (count, pixels) in scan-line order, and labels, int64, shape (count,)."""


class ImageTask(FiniteTask):
    """Ten classes of images as sequences of grey values divided by 255, top left to bottom right.

    Args:
        train: Training images.
        test: Test images.
        batch_size: Samples in a training batch.
        train_size: Use a random choice of so many training images, see `finite.choose_samples`; None uses all.
        test_size: Use a random choice of so many test images; None uses all.
        validation_size: Hold out a random choice of so many training images and judge by them, not by test images.
        seed: Determines the order of the training images.
        dtype: Floating-point type of the inputs.

    Raises:
        UserError: If a size does not fit.
    """

    input_size = 1
    output_size = 10
    metric_name = "accuracy"
    higher_is_better = True

    def __init__(
        self,
        train: Images,
        test: Images,
        *,
        batch_size: int = 128,
        train_size: int | None = None,
        test_size: int | None = None,
        validation_size: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        trained, judged = choose_samples(
            len(train[1]), len(test[1]), train_size=train_size, test_size=test_size, validation_size=validation_size
        )
        judges = test if validation_size is None else train
        self.train_pixels, self.train_labels = (part[trained] for part in train)
        self.test_pixels, self.test_labels = (part[judged] for part in judges)
        self.sequence_length = self.train_pixels.shape[1]
        self.dtype = dtype
        super().__init__(len(self.train_labels), len(self.test_labels), batch_size=batch_size, seed=seed)

    def to(self, device: torch.device | str) -> Self:
        """Move the images and labels to a device; return the task itself."""
        for name in ("train_pixels", "train_labels", "test_pixels", "test_labels"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def train_samples(self, chosen: Tensor) -> Batch:
        """Return inputs (T, B, 1) and labels (B,) of the given training images."""
        return self._sequences(self.train_pixels[chosen]), self.train_labels[chosen]

    def test_samples(self, chosen: Tensor) -> Batch:
        """Return inputs (T, B, 1) and labels (B,) of the given test images."""
        return self._sequences(self.test_pixels[chosen]), self.test_labels[chosen]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch, shape ()."""
        return cross_entropy(outputs, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the fraction of samples whose largest output is that of the label."""
        return accuracy(outputs, targets)

    def _sequences(self, pixels: Tensor) -> Tensor:
        """Scale pixels, and put time first: (B, T) to (T, B, 1)."""
        return pixels.t().to(self.dtype).div(255).contiguous().unsqueeze(-1)
