"""Losses to train on and metrics to report: cross-entropy and accuracy of classes, root mean square of numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of a batch with softmax (section 2.2), shape ().

    Args:
        outputs: Shape (B, O).
        targets: Labels, int64, shape (B,).
    """
    return functional.cross_entropy(outputs, targets)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The fraction of samples whose largest output is that of the label.

    Args:
        outputs: Shape (B, O).
        targets: Labels, int64, shape (B,).
    """
    return float((outputs.argmax(dim=-1) == targets).double().mean())


def root_mean_square_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """The root mean square error over the batch, shape (); its gradient is 0 where the error is 0.

    Args:
        outputs: Shape (B, O).
        targets: Shape (B, O).
    """
    error = outputs - targets
    loss: Tensor = torch.linalg.vector_norm(error) / math.sqrt(error.numel())
    return loss


def root_mean_square(outputs: Tensor, targets: Tensor) -> float:
    """The root mean square error over all samples, computed in float64.

    Args:
        outputs: Shape (B, O).
        targets: Shape (B, O).
    """
    return float((outputs.double() - targets.double()).square().mean().sqrt())
