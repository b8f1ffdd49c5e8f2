"""The batches of a loss: recognise them, and read them once."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

Batch = tuple[Any, Any]


def batch_pairs(batches: Batch | Iterable[Batch]) -> list[Batch]:
    """Read all batches once, so that a loader that shuffles or augments gives every product the same data.

    A batch is a pair ``(inputs, targets)``: a tuple or a list of two parts. They may be anything that model and loss
    take, including tuples and mappings. A tuple or list of two parts that are pairs themselves counts as

    - two batches if it is a list, and their inputs are of one kind (type, dtype, number of dims), as are their targets;
    - one batch if it is a tuple, and the parts are of different kinds.

    Anything else could be either, and is refused. ``[(inputs, targets)]`` is always one batch.

    Args:
        batches: One pair, or an iterable of pairs.

    Returns:
        The pairs as tuples, at least one.

    Raises:
        TypeError: If they are not pairs.
        ValueError: If there are none, if one is empty, or if they could be one batch or two.
    """
    pairs = [batches] if _is_one_batch(batches) else list(_iterate(batches))
    if not pairs:
        raise ValueError("there are no batches; a loader can be read once only, so pass a list to use it again.")
    for pair in pairs:
        if not _is_pair(pair):
            raise TypeError(
                f"batches must be an (inputs, targets) pair or an iterable of pairs, got {_described(pair)} in it; "
                f"{_remedy(pair)}."
            )
    for number, (inputs, targets) in enumerate(pairs, start=1):
        counted = targets if isinstance(targets, Tensor) else inputs
        if isinstance(counted, Tensor) and counted.numel() == 0:
            raise ValueError(
                f"batch {number} of {len(pairs)} is empty, with a tensor of shape {tuple(counted.shape)}; leave it out."
            )
    return [(inputs, targets) for inputs, targets in pairs]


def _is_one_batch(batches: Any) -> bool:
    """Tell one pair from an iterable of pairs.

    Raises:
        ValueError: If it could be either.
    """
    if not _is_pair(batches):
        return False
    if hasattr(batches, "_fields"):
        return True  # a named tuple, whose parts have names
    first, second = batches
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        raise ValueError(
            f"two mappings with the same keys {list(first)} could be inputs and targets of one batch, or two batches. "
            "For one batch, write [(inputs, targets)]. For two, write each of them as a pair."
        )
    if not (_is_collection(first) and _is_collection(second)):
        return True
    if not (_is_pair(first) and _is_pair(second)):
        return isinstance(batches, tuple)  # a list of tuples holds batches, with too many parts or too few
    alike = _alike(first, second)
    if isinstance(batches, tuple) is alike:
        raise ValueError(
            f"a {type(batches).__name__} of two pairs could be one batch, whose inputs and targets have two parts, or "
            "two batches. For one batch, write [(inputs, targets)]. For two, write a list of two pairs, whose inputs "
            "share a type and a number of dims, and whose targets do, too."
        )
    return not alike


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2


def _is_collection(part: Any) -> bool:
    """Tell tuples and lists from all else. A packed sequence does not count, although it is a tuple."""
    return isinstance(part, tuple | list) and not isinstance(part, PackedSequence)


def _alike(one: Any, other: Any) -> bool:
    """Tell if two parts are of one kind, as the inputs (or the targets) of two batches are."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.ndim == other.ndim
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys()
    named = hasattr(one, "_fields") or hasattr(other, "_fields")
    if _is_collection(one) and _is_collection(other) and (not named or type(one) is type(other)):
        return len(one) == len(other) and all(map(_alike, one, other))
    return type(one) is type(other)


def _iterate(batches: Any) -> Iterator[Any]:
    wanted = "batches must be an (inputs, targets) pair or an iterable of pairs"
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        raise TypeError(
            f"{wanted}, got the dataset {type(batches).__name__}, whose items are samples; pass "
            "torch.utils.data.DataLoader(dataset, batch_size=...), with batch_size=None where its items are batches."
        )
    if isinstance(batches, DataLoader):
        _warn_of_dropped_samples(batches)
    if isinstance(batches, itertools.cycle):
        raise TypeError(f"{wanted} that ends, got itertools.cycle; pass what it repeats.")
    if isinstance(batches, Tensor | np.ndarray | Mapping | str) or not isinstance(batches, Iterable):
        raise TypeError(f"{wanted}, got {_described(batches)}; {_remedy(batches)}.")
    return iter(batches)


def _warn_of_dropped_samples(loader: DataLoader[Any]) -> None:
    """Warn of a loader that leaves out samples of its data set, as loaders for training often do."""
    if not loader.drop_last or loader.batch_size is None or not isinstance(loader.sampler, Sized):
        return
    total = len(loader.sampler)
    if total % loader.batch_size:
        warnings.warn(
            f"the loader leaves out {total % loader.batch_size} of its {total} samples (drop_last=True), so the "
            "curvature is not that of the whole data set. Pass a loader with drop_last=False.",
            stacklevel=2,
        )


def _described(part: Any) -> str:
    name = type(part).__name__
    return f"{name} of {len(part)}" if isinstance(part, tuple | list) else name


def _remedy(part: Any) -> str:
    if isinstance(part, Mapping):
        return 'name the parts, as in [(batch["inputs"], batch["targets"]) for batch in batches]'
    if _is_collection(part) and len(part) > 2:
        return "join what the model takes, as in [((first, second), targets) for first, second, targets in batches]"
    if _is_collection(part):
        return "write [(inputs, None) for ... in batches] where the loss takes no targets"
    return "for one batch, write (inputs, targets)"
