"""Write curves for TensorBoard, which is imported only when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wcrnn_models.errors import UserError
from wcrnn_models.training.resume import Progress


class Board:
    """Writer of the measurements of a run into a log directory of TensorBoard.

    Args:
        directory: Log directory of this run alone. It is made with the first curve.

    Raises:
        UserError: If TensorBoard is not installed, or the directory is a file.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed; run `pip install tensorboard`, or train without it."
            ) from error
        if directory.exists() and not directory.is_dir():
            raise UserError(f"{directory} is a file; name a directory for TensorBoard.")
        self._make: Any = SummaryWriter
        self._directory = directory
        self._writer: Any = None

    def show(self, measured: Progress, metric_name: str) -> None:
        """Add the last evaluation, and take back later ones of an earlier process."""
        iteration = measured.iteration
        if self._writer is None:
            self._writer = self._make(str(self._directory), purge_step=iteration)
        for name, value in (
            ("train loss", measured.train_losses[-1]),
            ("gradient norm", measured.gradient_norms[-1]),
            (f"test {metric_name}", measured.test_metrics[-1]),
        ):
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()
