"""Weights for the losses of batches whose sum is the loss over all data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lyapkit.checks.clause import clause
from lyapkit.losses.batches import Batch, batch_pairs
from lyapkit.losses.standard_losses import StandardLoss, standard_loss

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class WeightedBatches:
    """Batches with their weights and their loss.

    Attributes:
        pairs: The (inputs, targets) pairs.
        weights: One weight per batch; they sum to 1 for means, and are 1 for sums.
        loss: The loss. If it is one of PyTorch's own, it refuses outputs and targets that would be broadcast.
        reduction: The loss's reduction over a batch.
        source: Source of the weights: ``"one batch"``, ``"batch_weight"``, ``"standard loss"``, or
            ``"number of targets"``, which must be checked by the caller.
    """

    pairs: list[Batch]
    weights: list[float]
    loss: Callable[[Any, Any], Tensor]
    reduction: Reduction
    source: str


def weighted_batches(
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    reduction: Reduction | None,
    batch_weight: Callable[[Any], float] | None,
) -> WeightedBatches:
    """Read batches and weigh them.

    For means, ``batch_weight`` gives the weights. Without it, they are the divisors of the mean for PyTorch's own
    losses, and the numbers of targets for all others (of inputs, if targets are None).

    Args:
        batches: One (inputs, targets) pair, or an iterable of pairs.
        loss: The callable ``loss(outputs, targets)``.
        reduction: Its reduction over a batch. None for the loss's own, or for a mean if it has none.
        batch_weight: Function from the targets of a batch to its weight.

    Raises:
        TypeError: If they are not pairs, a sum is given weights, or targets are of a kind whose number is not known.
        ValueError: If the reduction is unknown or not that of the loss, or a weight is not positive and finite.
    """
    known = standard_loss(loss)
    resolved = _resolve(loss, known, reduction, batch_weight)
    pairs = batch_pairs(batches)
    taken = loss if known is None else known
    if resolved == "sum":
        source = "one batch" if len(pairs) == 1 else "number of targets" if known is None else "standard loss"
        return WeightedBatches(pairs, [1.0] * len(pairs), taken, resolved, source)
    if batch_weight is not None:
        source, found = "batch_weight", [_weight(batch_weight, targets) for _, targets in pairs]
    elif len(pairs) == 1:
        source, found = "one batch", [1.0]
    elif known is not None and all(isinstance(targets, Tensor) for _, targets in pairs):
        source, found = "standard loss", [known.denominator(targets) for _, targets in pairs]
    else:
        source, found = "number of targets", [_count(*pair) for pair in pairs]
    for number, weight in enumerate(found, start=1):
        if not (weight > 0 and np.isfinite(weight)):
            hint = "; leave out batches in which no target counts" if weight == 0 and len(pairs) > 1 else ""
            raise ValueError(
                f"the weight of a batch must be positive and finite, got {weight} for batch {number} of "
                f"{len(pairs)}{hint}."
            )
    return WeightedBatches(pairs, [weight / sum(found) for weight in found], taken, resolved, source)


def _resolve(loss: Any, known: StandardLoss | None, reduction: Reduction | None, batch_weight: object) -> Reduction:
    """Return the reduction of a loss.

    Raises:
        TypeError: If a sum is given weights.
        ValueError: If the reduction is unknown or not that of the loss.
    """
    if reduction not in (None, "mean", "sum"):
        raise ValueError(f'reduction must be "mean" or "sum", got {reduction!r}; leave it out for that of the loss.')
    own = known.reduction if known is not None else getattr(loss, "reduction", None)
    if known is not None and own == "none":
        raise ValueError(f'{known.name} has reduction="none"; give it reduction="mean" or reduction="sum".')
    own = "mean" if own == "batchmean" else own
    if batch_weight is not None and (reduction or own) == "sum":
        raise TypeError("batch_weight is for losses that average; a sum over batches has no weights. Leave it out.")
    if known is not None and reduction is not None and reduction != own:
        raise ValueError(
            f'reduction="{reduction}" contradicts the loss: {known.name} has reduction="{known.reduction}". Leave '
            "reduction out, or change that of the loss."
        )
    if reduction is not None:
        return reduction
    return "sum" if own == "sum" else "mean"


def _weight(batch_weight: Any, targets: Any) -> float:
    """Return the weight of a batch by the user's function.

    Raises:
        TypeError: If it is not a function of one argument, or does not return one number.
    """
    if not callable(batch_weight):
        raise TypeError(
            f"batch_weight must be a function of the targets of a batch, got {batch_weight!r}. Write, for example, "
            "batch_weight=lambda targets: targets.numel(). Or leave it out: batches are then weighted by what the loss "
            "averages over."
        )
    try:
        inspect.signature(batch_weight).bind(targets)
    except TypeError as error:
        raise TypeError(
            f"batch_weight must take one argument, the targets of a batch, which it does not ({clause(error)}). Write, "
            "for example, batch_weight=lambda targets: targets.numel()."
        ) from error
    except ValueError:
        pass  # functions written in C may have no signature
    answer = batch_weight(targets)
    try:
        if isinstance(answer, bool | str):
            raise TypeError
        return float(answer)
    except (RuntimeError, TypeError, ValueError) as error:
        found = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else repr(answer)
        raise TypeError(
            f"batch_weight must return one number, got {found}. Sum over the batch, as in "
            "batch_weight=lambda targets: float((targets >= 0).sum())."
        ) from error


def _count(inputs: Any, targets: Any) -> float:
    counted = inputs if targets is None else targets
    if isinstance(counted, Tensor):
        return float(counted.numel())
    if hasattr(counted, "__array__"):
        raise TypeError(f"targets are {type(counted).__name__}, not a tensor; convert them with torch.as_tensor.")
    if targets is None:
        raise TypeError(
            f"targets are None and inputs are {type(inputs).__name__}, so the weights of batches are not known. Give "
            "targets that batch_weight= can count, such as the number of samples, and let the loss ignore them."
        )
    raise TypeError(
        f"targets are {type(targets).__name__}, not a tensor, so the weights of batches are not known. Give the weight "
        "of a batch as batch_weight=, a function of its targets."
    )


def refuse_ignored(pairs: list[Batch]) -> None:
    """Refuse weights that count targets which losses with an ``ignore_index`` leave out of their mean.

    Args:
        pairs: Batches whose weights are their numbers of targets, and could not be checked.

    Raises:
        ValueError: If targets are negative integers.
    """
    for _, targets in pairs:
        if not isinstance(targets, Tensor) or targets.dtype in (torch.bool, torch.uint8):
            continue
        if not (targets.is_floating_point() or targets.is_complex()) and bool((targets < 0).any()):
            raise ValueError(
                f"targets hold the negative integer {int(targets.min())}, which losses with ignore_index leave out of "
                "their mean, so targets.numel() may be the wrong weight of a batch. Give the right one, as in "
                "batch_weight=lambda targets: float((targets >= 0).sum())."
            )
