"""MNIST digits read pixel by pixel: sMNIST, and psMNIST with one fixed permutation of the pixels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wcrnn_models.errors import UserError
from wcrnn_models.tasks.download import find_file
from wcrnn_models.tasks.idx import read_idx
from wcrnn_models.tasks.images import Images, ImageTask

PERMUTATION_SEED = 0
"""Seed of the pixel permutation of psMNIST; the paper does not publish its permutation."""


def pixel_permutation(seed: int = PERMUTATION_SEED) -> Tensor:
    """Return the order in which psMNIST presents the 784 pixels, int64, shape (784,).

    It sorts raw numbers of the PCG64 generator, whose stream NumPy keeps the same in all versions, so a seed
    means the same task everywhere.
    """
    return torch.from_numpy(np.argsort(np.random.PCG64(seed).random_raw(784)))


class SequentialMNIST(ImageTask):
    """Classify a digit whose 784 pixels are presented one at a time, top left to bottom right (section 4).

    Pixels are divided by 255. An epoch is one pass through the training images in an order determined by the
    seed and the epoch; its last batch may be smaller. The files are found by `tasks.download`.

    Args:
        batch_size: Samples in a training batch.
        train_size: Use a random choice of so many training images; None uses all 60,000.
        test_size: Use a random choice of so many test images; None uses all 10,000.
        validation_size: Hold out a random choice of so many training images and judge by them, not by test images.
        seed: Determines the order of the training images.
        dtype: Floating-point type of the inputs.

    Raises:
        UserError: If a file is missing or damaged, or a size does not fit.
    """

    name = "smnist"
    minimal_performance = 0.5  # section 4.1

    def __init__(
        self,
        *,
        batch_size: int = 128,
        train_size: int | None = None,
        test_size: int | None = None,
        validation_size: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            _digits("train"),
            _digits("t10k"),
            batch_size=batch_size,
            train_size=train_size,
            test_size=test_size,
            validation_size=validation_size,
            seed=seed,
            dtype=dtype,
        )


class PermutedSequentialMNIST(SequentialMNIST):
    """`SequentialMNIST` with the pixels of every image in one fixed random order, `pixel_permutation`."""

    name = "psmnist"

    def _sequences(self, pixels: Tensor) -> Tensor:
        return super()._sequences(pixels)[pixel_permutation()]


def _digits(part: str) -> Images:
    paths = find_file("mnist", f"{part}-images-idx3-ubyte.gz"), find_file("mnist", f"{part}-labels-idx1-ubyte.gz")
    return _read(*((path, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=2)
def _read(images: tuple[Path, int], labels: tuple[Path, int]) -> Images:
    """Read two files, given with their times of change, once for all tasks of a process: it takes most of a second."""
    pixels = torch.from_numpy(read_idx(images[0], 3))
    digits = torch.from_numpy(read_idx(labels[0], 1)).to(torch.int64)
    if pixels.shape != (len(digits), 28, 28) or int(digits.max()) > 9:
        raise UserError(
            f"{images[0]} and {labels[0]} do not belong together: images {tuple(pixels.shape)}, "
            f"{len(digits)} labels up to {int(digits.max())}; fetch both again."
        )
    return pixels.flatten(1), digits
