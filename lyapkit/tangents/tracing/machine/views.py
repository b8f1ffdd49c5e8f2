"""Apply PyTorch's views to the strides of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lyapkit.tangents.tracing.machine.program import Array


def _expand(x: Array, shape: Sequence[int], *_: Any, **__: Any) -> Array:
    before = len(shape) - x.ndim
    return np.broadcast_to(x, [x.shape[d - before] if n == -1 else n for d, n in enumerate(shape)])


def _broadcast_in_dim(x: Array, shape: Sequence[int], places: Sequence[int]) -> Array:
    spread = [x.shape[places.index(dim)] if dim in places else 1 for dim in range(len(shape))]
    return np.broadcast_to(x.reshape(spread), shape)


def part_along(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    """Return a slice along one dimension."""
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


def _split(x: Array, sizes: int | Sequence[int], dim: int = 0) -> list[Array]:
    if isinstance(sizes, int):
        return np.split(x, range(sizes, x.shape[dim], sizes), axis=dim)
    return np.split(x, np.cumsum(sizes)[:-1], axis=dim)


def _squeeze(x: Array, dims: int | Sequence[int] | None = None) -> Array:
    chosen = range(x.ndim) if dims is None else (dims,) if isinstance(dims, int) else dims
    return np.squeeze(x, tuple(dim % x.ndim for dim in chosen if x.shape[dim] == 1))


def _same(x: Array, *_: Any, **__: Any) -> Array:
    return x


VIEWS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("alias", "clone", "contiguous", "detach", "lift_fresh", "lift_fresh_copy", "_to_copy", "positive"), _same
    ),
    "broadcast_in_dim": _broadcast_in_dim,
    "chunk": lambda x, count, dim=0: _split(x, -(-x.shape[dim] // count), dim),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
    "expand": _expand,
    "flip": lambda x, dims: np.flip(x, dims),
    "movedim": np.moveaxis,
    "permute": lambda x, dims: np.transpose(x, dims),
    "select": lambda x, dim, index: x[(slice(None),) * (dim % x.ndim) + (index, ...)],
    "slice": part_along,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "squeeze_": _squeeze,
    "t": lambda x: x.T,
    "t_": lambda x: x.T,
    "transpose": lambda x, one, other: np.swapaxes(x, one, other),
    "transpose_": lambda x, one, other: np.swapaxes(x, one, other),
    "unbind": lambda x, dim=0: [np.moveaxis(x, dim, 0)[place, ...] for place in range(x.shape[dim])],
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "unsqueeze_": lambda x, dim: np.expand_dims(x, dim),
}
"""Operations of PyTorch that return views. NumPy's operations of the same name change strides in the same way."""
