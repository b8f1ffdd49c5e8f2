"""Angles between chosen covariant vectors, or between the spans of chosen sets of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lyapkit.checks.arguments import check_integer
from lyapkit.lyapunov.angles import principal_angles

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Two sets of vectors by their ranks, from 1."""


def chosen_angles(coordinates: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Compute the principal angles between the spans of chosen vectors, ascending: radians in [0, pi/2].

    Args:
        coordinates: Vectors in columns, shape (..., k, k).
        pairs: P pairs of sets of columns.

    Returns:
        Angles, shape (..., P, D) with the size D of the largest of the smaller sets; NaN behind those of smaller ones.
    """
    most = max(min(len(first), len(second)) for first, second in pairs)
    angles = coordinates.new_full((*coordinates.shape[:-2], len(pairs), most), math.nan)
    for place, (first, second) in enumerate(pairs):
        found = principal_angles(*(coordinates[..., [rank - 1 for rank in ranks]] for ranks in (first, second)))
        angles[..., place, : found.shape[-1]] = found
    return angles


def named_pair(pair: Pair) -> str:
    """Name a pair by its ranks, such as ``1,2 | 3``."""
    return " | ".join(",".join(str(rank) for rank in ranks) for ranks in pair)


def check_pairs(given: Any, k: int) -> list[Pair]:
    """Return pairs of sets of ranks; a single rank is a set of one.

    Args:
        given: The argument ``angles``; None for no pairs.
        k: Number of vectors.

    Raises:
        TypeError: If they are not pairs of integers, or of sequences of integers.
        ValueError: If a rank is outside 1..k, is twice in a pair, a set is empty, or a pair is there twice.
    """
    if given is None:
        return []
    if not _is_sequence(given) or not all(_is_sequence(pair) and len(pair) == 2 for pair in given):
        raise TypeError(f"angles must be a sequence of pairs, such as [(1, 3)] or [((1, 2), (3, 4))], got {given!r}.")
    pairs = [(_check_set(first), _check_set(second)) for first, second in given]
    for pair in pairs:
        ranks = pair[0] + pair[1]
        if not all(1 <= rank <= k for rank in ranks):
            raise ValueError(f"angles must name ranks between 1 and k = {k}, got {named_pair(pair)!r}.")
        if len(set(ranks)) < len(ranks) or not all(pair):
            raise ValueError(
                f"each pair of angles= must be two sets of vectors that have none in common, got {named_pair(pair)!r}."
            )
    names = [named_pair(pair) for pair in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"angles must name each pair once, got {names}.")
    return pairs


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _check_set(value: Any) -> tuple[int, ...]:
    return tuple(check_integer("each rank of angles=", rank) for rank in (value if _is_sequence(value) else (value,)))
