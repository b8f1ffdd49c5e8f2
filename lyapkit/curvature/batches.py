"""The data of a loss: pairs of inputs and targets, and what each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

Batch = tuple[Any, Any]


def batch_pairs(batches: Batch | Iterable[Batch]) -> list[Batch]:
    """All batches, read once, so that a loader that shuffles or augments gives every product the same data.

    Raises:
        TypeError: they are not pairs.
        ValueError: there are none.
    """
    if isinstance(batches, tuple) and len(batches) == 2 and _is_inputs(batches[0]):
        return [batches]
    pairs = list(_iterate(batches))
    if not pairs:
        raise ValueError("there are no batches; a loader can be read once only, so pass a list to use it again.")
    for pair in pairs:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise TypeError(
                f"batches must be an (inputs, targets) pair or an iterable of pairs, got {type(pair).__name__} in it."
            )
    return [(inputs, targets) for inputs, targets in pairs]


def _is_inputs(first: Any) -> bool:
    """Whether the first of two parts is inputs rather than a pair; a PackedSequence is a tuple, too."""
    return isinstance(first, PackedSequence) or not isinstance(first, tuple | list)


def _iterate(batches: Any) -> Iterator[Any]:
    try:
        return iter(batches)
    except TypeError:
        raise TypeError(
            f"batches must be an (inputs, targets) pair or an iterable of pairs, got {type(batches).__name__}."
        ) from None


def batch_weights(pairs: Sequence[Batch], reduction: str, batch_weight: Callable[[Any], float] | None) -> list[float]:
    """What each batch counts, so that the sum of their losses is the loss over all data.

    Raises:
        TypeError: weights where there are none, or targets whose weight is not known.
        ValueError: an unknown reduction, a weight that is not positive and finite, or several batches with negative
            integer targets, which a loss may ignore.
    """
    if reduction == "sum":
        if batch_weight is not None:
            raise TypeError("batch_weight is for losses that average; a sum over batches has no weights.")
        return [1.0] * len(pairs)
    if reduction != "mean":
        raise ValueError(f'reduction must be "mean" or "sum", got {reduction!r}.')
    if batch_weight is None and len(pairs) > 1:
        _refuse_ignored([targets for _, targets in pairs])
    weights = [_weight(targets, batch_weight) for _, targets in pairs]
    return [weight / sum(weights) for weight in weights]


def _refuse_ignored(targets: Sequence[Any]) -> None:
    """Refuse to count targets that losses with an ``ignore_index`` leave out of their mean."""
    for each in targets:
        if isinstance(each, Tensor) and not (each.is_floating_point() or each.is_complex()) and bool((each < 0).any()):
            raise ValueError(
                f"targets hold the negative integer {int(each.min())}, which losses with ignore_index leave out of "
                "their mean, so that batches do not weigh targets.numel(); say what a batch weighs, as in "
                "batch_weight=lambda targets: float((targets >= 0).sum())."
            )


def _weight(targets: Any, batch_weight: Callable[[Any], float] | None) -> float:
    if batch_weight is not None:
        weight = float(batch_weight(targets))
    elif isinstance(targets, Tensor):
        weight = float(targets.numel())
    else:
        raise TypeError(
            f"targets are {type(targets).__name__}, not a tensor; say what a batch weighs with batch_weight=."
        )
    if not (weight > 0 and np.isfinite(weight)):
        raise ValueError(f"the weight of a batch must be positive and finite, got {weight}.")
    return weight
