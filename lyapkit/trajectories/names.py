"""Names of trajectories, such as those of the conditions of an experiment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLE = 'trajectory_names=["left", "right"]'


def check_trajectory_names(names: Any, count: int, argument: str = "trajectory_names") -> NDArray[Any]:
    """Return the labels of trajectories as an array that a result file holds unchanged, shape (B,).

    Args:
        names: The argument as given: texts or numbers, one for each trajectory.
        count: The number of trajectories, B.
        argument: What messages call them.

    Raises:
        TypeError: If they are not a sequence, or not all texts or all numbers.
        ValueError: If there is not one for each trajectory, two are equal, or one is empty or not finite.
    """
    if hasattr(names, "__array__"):  # of tensors and columns of tables, too
        names = list(np.atleast_1d(names))
    if isinstance(names, str | bytes | set | frozenset | Mapping) or not isinstance(names, Collection):
        raise TypeError(
            f"trajectory_names must be a list with a text or number for each trajectory, got {type(names).__name__}; "
            f"write {EXAMPLE}."
        )
    given = list(names)
    if len(given) != count:
        raise ValueError(f"trajectory_names must name each of the {count} trajectories, got {len(given)} names.")
    are_texts = [isinstance(each, str) for each in given]
    for each, is_text in zip(given, are_texts, strict=True):
        if not is_text and (isinstance(each, bool | np.bool_) or not isinstance(each, Real)):
            raise TypeError(
                f"{argument} must be texts or numbers, which a result file can hold, got {each!r} "
                f"({type(each).__name__}); write str(name)."
            )
        if (is_text and (not each or "\0" in each)) or not (is_text or math.isfinite(each)):
            raise ValueError(f"{argument} must be texts that are not empty, or finite numbers, got {each!r}.")
    if len(set(are_texts)) > 1:
        raise TypeError(f"{argument} must be all texts or all numbers, got some of each; write str(name).")
    labels = np.array([str.__str__(each) if isinstance(each, str) else each for each in given])
    if labels.dtype.kind not in "Uiuf" or any(a != b for a, b in zip(labels.tolist(), given, strict=True)):
        raise TypeError(f"{argument} holds numbers that float64 or int64 cannot hold; write str(name).")
    (name, often), *_ = Counter(labels.tolist()).most_common(1)
    if often > 1:
        raise ValueError(f"{argument} must differ from each other, got {name!r} {often} times.")
    return labels
