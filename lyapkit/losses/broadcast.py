"""Notice losses that broadcast outputs against targets, and so compare an output with targets of other samples."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from lyapkit.losses.scalar_loss import scalar_loss


def warn_of_broadcast(loss: Any, outputs: Any, targets: Any, value: Tensor) -> None:
    """Warn if the value of the loss changes once outputs and targets both have the shape of one of them.

    Args:
        loss: The loss.
        outputs: Outputs for the loss.
        targets: Targets for the loss.
        value: The loss of both.
    """
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return
    if outputs.shape == targets.shape:
        return
    if outputs.numel() != targets.numel():
        _warn_of_misaligned(loss, outputs, targets, value)
        return
    try:
        with torch.no_grad():
            paired = scalar_loss(loss, outputs, targets.reshape(outputs.shape))
            same = scalar_loss(loss, outputs.reshape(targets.shape), targets)
    except (TypeError, ValueError):
        return  # the loss needs these shapes, as losses of classes do
    if torch.allclose(paired, same, rtol=1e-5, atol=0.0) and not torch.allclose(paired, value, rtol=1e-5, atol=0.0):
        warnings.warn(
            f"the loss of outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} is {value.item():.6g}, but "
            f"{paired.item():.6g} if both have one shape. It may broadcast them against each other, and compare each "
            "output with targets of other samples. Give both one shape, as with targets.reshape(outputs.shape).",
            stacklevel=2,
        )


def _warn_of_misaligned(loss: Any, outputs: Tensor, targets: Tensor, value: Tensor) -> None:
    """Warn if targets, one for each sample, are compared along another dim of the outputs, as can happen for B = C."""
    if outputs.ndim <= targets.ndim or not targets.ndim or outputs.shape[: targets.ndim] != targets.shape:
        return
    if outputs.shape[outputs.ndim - targets.ndim :] != targets.shape or targets.numel() == 1:
        return
    by_sample = targets.reshape(*targets.shape, *[1] * (outputs.ndim - targets.ndim)).expand_as(outputs)
    try:
        with torch.no_grad():
            found, wanted, turned = (
                scalar_loss(loss, outputs, targets.expand_as(outputs)),
                scalar_loss(loss, outputs, by_sample),
                scalar_loss(loss, outputs.roll(1, dims=0), targets.roll(1, dims=0)),
            )
    except (TypeError, ValueError):
        return  # the loss needs these shapes, as losses of classes do
    # a loss that compares each sample with its own target, as losses of classes do, does not depend on their order
    same, by_samples, in_any_order = (
        torch.allclose(one, value, rtol=1e-5, atol=0.0) for one in (found, wanted, turned)
    )
    if same and not by_samples and not in_any_order:
        warnings.warn(
            f"the loss broadcasts targets {tuple(targets.shape)} along the last dims of outputs "
            f"{tuple(outputs.shape)}, and so compares outputs with targets of other samples. Give both one shape: "
            "targets.unsqueeze(-1).expand_as(outputs) if each sample has one target, or targets.expand_as(outputs) "
            "if the broadcast is meant.",
            stacklevel=2,
        )
