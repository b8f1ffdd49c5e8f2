"""Losses to train on and metrics to report: of classes, cross-entropy and accuracy; of numbers, square errors.

All of them average over samples and, with targets at every step, over steps alike. Outputs and targets of shapes that
do not belong together are refused, since comparing them would pair samples with steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from wcrnn_models.names import LossName


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of a batch with softmax (section 2.2), shape ().

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Labels, int64, shape (B,) or (T, B).
    """
    _check_shapes(outputs.shape[:-1], targets)
    return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the fraction of samples whose largest output is that of the label.

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Labels, int64, shape (B,) or (T, B).
    """
    _check_shapes(outputs.shape[:-1], targets)
    return float((outputs.argmax(dim=-1) == targets).double().mean())


def mean_square_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean square error over the batch, shape ().

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Of the same shape.
    """
    _check_shapes(outputs.shape, targets)
    return functional.mse_loss(outputs, targets)


def mean_square(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean square error over all samples, computed in float64.

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Of the same shape.
    """
    _check_shapes(outputs.shape, targets)
    return float((outputs.double() - targets.double()).square().mean())


def root_mean_square_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the root mean square error over the batch, shape (); its gradient is 0 where the error is 0.

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Of the same shape.
    """
    _check_shapes(outputs.shape, targets)
    error = outputs - targets
    loss: Tensor = torch.linalg.vector_norm(error) / math.sqrt(error.numel())
    return loss


def root_mean_square(outputs: Tensor, targets: Tensor) -> float:
    """Return the root mean square error over all samples, computed in float64.

    Args:
        outputs: Shape (B, O), or (T, B, O) for the outputs of all steps.
        targets: Of the same shape.
    """
    _check_shapes(outputs.shape, targets)
    return float((outputs.double() - targets.double()).square().mean().sqrt())


def _check_shapes(expected: tuple[int, ...], targets: Tensor) -> None:
    """Refuse targets that would be broadcast against the outputs."""
    if targets.shape != expected:
        raise ValueError(
            f"targets must have the shape {tuple(expected)} of the outputs, got {tuple(targets.shape)}; where one has "
            "a dimension of steps more, read the network out at the steps of the targets, by its outputs_at."
        )


@dataclass(frozen=True)
class ErrorMeasure:
    """A loss of numbers to train on, and the metric that reports it on a test set.

    Attributes:
        loss: Of outputs and targets, shape (B, O) or (T, B, O), to shape ().
        metric: Of all outputs and targets, in float64.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], float]


ERRORS: Mapping[LossName, ErrorMeasure] = MappingProxyType(
    {
        "mse": ErrorMeasure(mean_square_loss, mean_square),
        "rms": ErrorMeasure(root_mean_square_loss, root_mean_square),
    }
)
"""Measures by the name of the loss, which is also that of the metric."""

DEFAULT_ERROR: LossName = "rms"
"""Default loss of tasks whose targets are numbers."""
