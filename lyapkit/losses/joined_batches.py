"""Two batches joined to one: outputs and targets are concatenated along the dim of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from lyapkit.losses.unrolled import UnrolledNetwork


class UnjoinedError(Exception):
    """Error for two batches that cannot be joined to one."""


def joined_batches(
    first: Any, other: Any, targets: Any, other_targets: Any, dims_to_try: Sequence[int]
) -> Iterator[tuple[Any, list[int | None], Any]]:
    """Yield the outputs of both batches together, the dim of each of their floating leaves, and the targets of both.

    Args:
        first: Outputs of one batch.
        other: Outputs of another.
        targets: Targets of the first.
        other_targets: Targets of the other.
        dims_to_try: Dims that may be the batch's. If sizes differ along a dim, only this one is tried.

    Raises:
        UnjoinedError: If outputs differ in other dims, or have parts that cannot be joined.
    """
    pairs, _ = _matched(first, other)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim and b.ndim]
    if not tensors:
        raise UnjoinedError("outputs are not tensors with a batch dim")
    a, b = tensors[0]
    differing = [dim for dim, (m, n) in enumerate(zip(a.shape, b.shape, strict=False)) if m != n]
    if a.ndim != b.ndim or len(differing) > 1 or not set(differing) <= set(dims_to_try):
        raise UnjoinedError(f"outputs have the shapes {tuple(a.shape)} and {tuple(b.shape)}")
    for dim in differing or dims_to_try:
        sizes = a.shape[dim], b.shape[dim]
        outputs, dims = _together(first, other, sizes, dim)
        yield outputs, dims, _together(targets, other_targets, sizes, dim)[0]


def batch_dims(network: Any, inputs: Any, outputs: Any) -> tuple[int, ...]:
    """Find the dims along which outputs (B, T, ...) or (T, B, ...) may hold the samples of a batch.

    The last entry of the inputs along a dim is run alone. A sequence alone gives the same outputs as in the batch, and
    a step alone does not. If both dims pass this test, the first one counts. If neither does, as happens by rounding
    in chaotic networks, both are possible.

    Args:
        network: Function from inputs to outputs.
        inputs: Inputs of one batch.
        outputs: Outputs of the network for them.
    """
    if isinstance(network, UnrolledNetwork) or not (isinstance(inputs, Tensor) and isinstance(outputs, Tensor)):
        return (0,)
    if outputs.ndim < 3 or inputs.shape[:2] != outputs.shape[:2]:
        return (0,)
    for dim in (0, 1):
        try:
            with torch.no_grad():
                alone = network(inputs.narrow(dim, -1, 1))
        except (IndexError, RuntimeError, TypeError, ValueError):
            continue
        last = outputs.narrow(dim, -1, 1)
        if alone.shape == last.shape and torch.allclose(alone, last, rtol=1e-3, atol=1e-3 * float(last.abs().max())):
            return (dim,)
    return (0, 1)


@torch.no_grad()
def couples_samples(network: Any, inputs: Any) -> bool:
    """Tell if a network's outputs for the last half of a batch change when this half runs alone.

    All dims that may hold the samples are tried. A network whose outputs also change when the batch is reversed does
    not count as one that couples samples. A recurrent network along its steps does so, since it reads them in order,
    and a chaotic one by rounding.

    Args:
        network: Function from inputs to outputs.
        inputs: Inputs of one batch.
    """
    if isinstance(inputs, PackedSequence):
        return False
    leaves, structure = tree_flatten(inputs)
    sizes = next((leaf.shape for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), ())
    outputs = network(inputs)
    whole = tree_leaves(outputs)
    if not all(isinstance(leaf, Tensor) and leaf.ndim for leaf in whole):
        return False

    def again(change: Callable[[Tensor], Tensor], dim: int, size: int) -> list[Tensor]:
        changed = [
            change(leaf) if isinstance(leaf, Tensor) and leaf.shape[dim : dim + 1] == (size,) else leaf
            for leaf in leaves
        ]
        return tree_leaves(network(tree_unflatten(changed, structure)))

    def differs(found: list[Tensor], wanted: list[Tensor]) -> bool:
        return any(
            not torch.allclose(a, b, rtol=0.0, atol=1e-3 * float(b.abs().max()), equal_nan=True)
            for a, b in zip(found, wanted, strict=True)
        )

    coupled = False
    for dim, size in enumerate(sizes[:2]):
        for place in range(min(leaf.ndim for leaf in whole)):
            if size < 2 or any(leaf.shape[place] != size for leaf in whole):
                continue
            try:
                alone = again(partial(torch.narrow, dim=dim, start=size - size // 2, length=size // 2), dim, size)
                turned = again(partial(torch.flip, dims=(dim,)), dim, size)
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
                continue
            part = [leaf.narrow(place, size - size // 2, size // 2) for leaf in whole]
            if [leaf.shape for leaf in alone] != [leaf.shape for leaf in part]:
                continue
            if not differs(alone, part):
                return False
            coupled = coupled or not differs([leaf.flip(place) for leaf in turned], whole)
    return coupled


def _together(one: Any, other: Any, sizes: tuple[int, int], preferred: int) -> tuple[Any, list[int | None]]:
    """Join two trees leaf by leaf, along dims of the given sizes; return also the dims of their floating leaves."""
    pairs, structure = _matched(one, other)
    leaves, dims = [], list[int | None]()
    for a, b in pairs:
        dim = _dim_of(a, b, sizes, preferred)
        leaves.append(a if dim is None else torch.cat((a, b), dim))
        if isinstance(a, Tensor) and a.is_floating_point():
            dims.append(dim)
    return tree_unflatten(leaves, structure), dims


def _matched(one: Any, other: Any) -> tuple[list[tuple[Any, Any]], TreeSpec]:
    (leaves, structure), (others, same) = tree_flatten(one), tree_flatten(other)
    if structure != same or isinstance(one, PackedSequence):
        raise UnjoinedError(f"a {type(one).__name__} cannot be joined with a {type(other).__name__}")
    return list(zip(leaves, others, strict=True)), structure


def _dim_of(one: Any, other: Any, sizes: tuple[int, int], preferred: int) -> int | None:
    """Return the dim along which two leaves are joined; None if they are the same, as parts that batches share.

    Raises:
        UnjoinedError: If there is none.
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        possible = [
            dim
            for dim in range(min(one.ndim, other.ndim))
            if (one.shape[dim], other.shape[dim]) == sizes
            and one.shape[:dim] == other.shape[:dim]
            and one.shape[dim + 1 :] == other.shape[dim + 1 :]
        ]
        if possible:
            return preferred if preferred in possible else possible[0]
        if one.shape == other.shape and torch.equal(one, other):
            return None
        raise UnjoinedError(f"tensors of shape {tuple(one.shape)} and {tuple(other.shape)} have no common batch dim")
    if one is other or (type(one) is type(other) and isinstance(one, int | float | str) and one == other):
        return None
    raise UnjoinedError(f"parts are {type(one).__name__}, not tensors")
