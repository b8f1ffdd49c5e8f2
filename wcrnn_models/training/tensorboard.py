"""Curves for TensorBoard, which is imported only when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wcrnn_models.errors import UserError
from wcrnn_models.training.resume import Progress

TENSORBOARD_FOLDER = "tensorboard"


class Board:
    """Writes what a run measures to ``tensorboard/`` in its directory.

    Args:
        directory: The directory of the run; the folder is made with the first curve.

    Raises:
        UserError: If TensorBoard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed; run `pip install tensorboard`, or train without it"
            ) from error
        self._make: Any = SummaryWriter
        self._folder = directory / TENSORBOARD_FOLDER
        self._writer: Any = None

    def show(self, measured: Progress, metric_name: str) -> None:
        """Add the last evaluation; those of an earlier process after it are taken back."""
        iteration = measured.iteration
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=iteration)
        for name, value in (
            ("train loss", measured.train_losses[-1]),
            ("gradient norm", measured.gradient_norms[-1]),
            (f"test {metric_name}", measured.test_metrics[-1]),
        ):
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()
