"""The loss that analyses need: a callable that returns one finite real number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lyapkit.checks.clause import clause
from lyapkit.losses.standard_losses import standard_loss


def check_loss_callable(loss: object) -> None:
    """Refuse a loss that cannot be called, such as its name.

    Raises:
        TypeError: If it cannot be called.
    """
    if not callable(loss):
        found = repr(loss) if loss is None or isinstance(loss, str) else type(loss).__name__
        is_known = isinstance(loss, str) and callable(getattr(functional, loss, None))
        example = loss if is_known else "mse_loss"
        raise TypeError(
            f"loss must be callable, loss(outputs, targets), such as torch.nn.functional.{example}; got {found}."
        )


def scalar_loss(loss: Callable[[Any, Any], Tensor], outputs: Any, targets: Any) -> Tensor:
    """Compute the loss of outputs and targets in the graph; on failure, name their shapes.

    Args:
        loss: The callable ``loss(outputs, targets)``.
        outputs: Outputs for the loss.
        targets: Targets for the loss.

    Raises:
        TypeError: If the loss cannot take outputs and targets of these kinds.
        ValueError: If it cannot take their shapes or types, or returns anything but one finite real number; or if one
            of PyTorch's own losses would broadcast them against each other.
    """
    known = standard_loss(loss)
    if known is not None:
        known.check_shapes(outputs, targets)
    try:
        value = loss(outputs, targets)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, AttributeError | TypeError) else ValueError
        remedy = "give a readout with the outputs that the loss expects, or other targets"
        if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
            remedy = "convert the targets with torch.as_tensor"
        elif "target dtype to be Long" in str(error):
            remedy = "convert the targets with .long() if they are class numbers; probabilities need the outputs' shape"
        elif isinstance(loss, type):
            remedy = f"the loss is a class; make an instance of it, {loss.__name__}()"
        raise kind(
            f"the loss cannot be taken of outputs {_described(outputs)} and targets {_described(targets)} "
            f"({clause(error)}); {remedy}."
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return a scalar tensor, got {found}. Reduce it over the batch.")
    if value.is_complex():
        raise ValueError(f"loss must return a real number, got {value.dtype}. Take its .real or .abs().")
    if not bool(torch.isfinite(value)):
        raise ValueError(f"the loss is {value.item()}. Check weights, inputs and targets.")
    return value


def _described(part: Any) -> str:
    return str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__
