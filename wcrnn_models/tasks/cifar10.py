"""CIFAR-10 in grey, read pixel by pixel (section 4): the task Image of the Long Range Arena."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from wcrnn_models.errors import UserError, clause
from wcrnn_models.tasks.download import find_file
from wcrnn_models.tasks.images import Images, ImageTask
from wcrnn_models.tasks.inert_pickle import read_inert_pickle

_PIXELS = 32 * 32
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # 0.299, 0.587 and 0.114, times 2^16


class SequentialCIFAR10(ImageTask):
    """Classify a picture whose 1024 grey values are presented one at a time, top left to bottom right (section 4).

    The paper says grey but not how; this is the luma of ITU-R 601, 0.299 R + 0.587 G + 0.114 B rounded to 8 bits, as
    Pillow's mode "L" gives it. Values are divided by 255, as those of sMNIST; an epoch is one pass through the training
    images in an order determined by the seed and the epoch. The paper names no minimal performance.

    Args:
        batch_size: Samples in a training batch.
        train_size: Use a random choice of so many training images; None uses all 50,000.
        test_size: Use a random choice of so many test images; None uses all 10,000.
        validation_size: Hold out a random choice of so many training images and judge by them, not by test images.
        seed: Determines the order of the training images.
        dtype: Floating-point type of the inputs.

    Raises:
        UserError: If a file is missing or damaged, or a size does not fit.
    """

    name = "scifar10"
    minimal_performance = None

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
        parts = [_pictures(name) for name in _TRAIN]
        super().__init__(
            (torch.cat([pixels for pixels, _ in parts]), torch.cat([labels for _, labels in parts])),
            _pictures("test_batch"),
            batch_size=batch_size,
            train_size=train_size,
            test_size=test_size,
            validation_size=validation_size,
            seed=seed,
            dtype=dtype,
        )


def grey(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute luma of ITU-R 601 in the integer arithmetic of Pillow: (19595 R + 38470 G + 7471 B + 2^15) / 2^16.

    Args:
        planes: Red, green and blue values one plane after the other, shape (count, 3 P).

    Returns:
        Grey values, shape (count, P).

    Example:
        >>> grey(np.array([[255, 0, 255, 0, 255, 0]], dtype=np.uint8))  # two pixels, white and black
        array([[255,   0]], dtype=uint8)
    """
    red, green, blue = np.split(planes.astype(np.uint32), 3, axis=1)
    return ((_RED * red + _GREEN * green + _BLUE * blue + 0x8000) >> 16).astype(np.uint8)


def _pictures(name: str) -> Images:
    """Return the grey values and labels of one of the original files."""
    path = find_file("cifar10", name)
    try:
        values = read_inert_pickle(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path} is not a CIFAR-10 batch: {clause(error)}; fetch it again.") from error
    planes, labels = (values.get(key) if isinstance(values, dict) else None for key in (b"data", b"labels"))
    if not isinstance(planes, np.ndarray) or not isinstance(labels, list) or planes.shape != (len(labels), 3 * _PIXELS):
        raise UserError(f"{path} is not a CIFAR-10 batch: it lacks images or their labels; fetch it again.")
    if not all(isinstance(label, int) and 0 <= label <= 9 for label in labels):
        raise UserError(f"{path} is not a CIFAR-10 batch: its labels are not integers from 0 to 9; fetch it again.")
    return torch.from_numpy(grey(planes)), torch.tensor(labels, dtype=torch.int64)
