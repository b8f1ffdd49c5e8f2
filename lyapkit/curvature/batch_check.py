"""A check of the weights of batches: the loss of two batches together must be the weighted sum of theirs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.utils._pytree import tree_flatten, tree_unflatten

from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.losses.batch_weights import WeightedBatches, refuse_ignored
from lyapkit.losses.joined_batches import UnjoinedError, batch_dims, couples_samples, joined_batches
from lyapkit.losses.scalar_loss import scalar_loss
from lyapkit.losses.unrolled import UnrolledNetwork

TOLERANCE = {torch.float64: 1e-6, torch.float32: 3e-4}
"""Relative deviation below which two losses, or their slopes, count as equal; eigenvalues converge to the same."""


class _Slopes(NamedTuple):
    """A loss, its derivatives by the leaves of the outputs, and the size of the terms that may cancel in it."""

    value: float
    slopes: list[Tensor]
    size: float


def check_weights(objective: WeightedLoss, data: WeightedBatches, check: bool) -> str:
    """Refuse several batches whose weighted sum of losses is not the loss of all of them.

    The first batch is joined with each of the others: their targets are concatenated, and so are their outputs, which
    are computed without derivatives. The loss of both together, and its derivatives by the outputs, are compared with
    the weighted sum of the two losses. Weights that the user gave, or that are known of PyTorch's own losses, are taken
    as they are. A warning says where outputs depend on the other samples of their batch.

    Args:
        objective: The loss, which has been checked on its first batch.
        data: Its batches.
        check: Whether to check at all.

    Returns:
        The source of the weights, for the provenance: ``"one batch"``, ``"batch_weight"``, ``"standard loss"``,
        ``"checked"``, or ``"not checked: "`` with the reason.

    Raises:
        ValueError: If they differ, or if a layer normalises over the batch.
    """
    if len(data.pairs) == 1 or data.source == "batch_weight":
        return data.source
    if check:
        _refuse_batch_statistics(objective.network)
        _warn_of_coupled_samples(objective.network, data)
    if data.source == "standard loss":
        return data.source
    obstacle: str | None = "check=False"
    if check:
        obstacle = _compare_all(objective, data)
    if obstacle is None:
        return "checked"
    if data.reduction == "mean":
        refuse_ignored(data.pairs)
    if check:
        _warn_of_unchecked(data.reduction, obstacle)
    return f"not checked: {obstacle}"


def _warn_of_unchecked(reduction: str, obstacle: str) -> None:
    """Warn that the curvature of several batches rests on an assumption, where two of them could not be joined."""
    remedy = (
        "each counts its number of targets, which is wrong for losses that leave some out (padding, masks), and for "
        "sums. Say what a batch counts with batch_weight=, from its targets, such as "
        'batch_weight=lambda targets: float((targets != padding).sum()), or give reduction="sum"'
    )
    if reduction == "sum":
        remedy = "their losses are added, which is wrong for means. Give batches whose outputs have one length"
    warnings.warn(
        f"it could not be checked that the batches, with these weights, have the loss of all data ({obstacle}): "
        f"{remedy}, or check=False where that is right.",
        stacklevel=2,
    )


def _compare_all(objective: WeightedLoss, data: WeightedBatches) -> str | None:
    """Compare the first batch with all others; return what hindered it, if anything did.

    Raises:
        ValueError: If a weighted sum is not the loss of both.
    """
    obstacle = None
    with torch.no_grad():
        first = objective.network(data.pairs[0][0])
        dims_to_try = batch_dims(objective.network, data.pairs[0][0], first)
    for number in range(1, len(data.pairs)):
        with torch.no_grad():
            other = objective.network(data.pairs[number][0])
        try:
            _compare(objective, data, number, first, other, dims_to_try)
        except UnjoinedError as error:
            obstacle = obstacle or str(error)
    return obstacle


def _compare(
    objective: WeightedLoss, data: WeightedBatches, number: int, first: Any, other: Any, dims_to_try: Sequence[int]
) -> None:
    """Compare the first batch with another one.

    Raises:
        UnjoinedError: If they cannot be joined.
        ValueError: If the weighted sum of their losses is not the loss of both.
    """
    weights = data.weights[0], data.weights[number]
    if data.reduction == "mean":
        weights = weights[0] / sum(weights), weights[1] / sum(weights)
    targets = data.pairs[0][1], data.pairs[number][1]
    one, two = (_slopes(objective.loss, *part) for part in zip((first, other), targets, strict=True))
    wrong: list[tuple[_Slopes, list[int | None]]] = []
    for outputs, dims, both_targets in joined_batches(first, other, *targets, dims_to_try):
        try:
            whole = _slopes(objective.loss, outputs, both_targets)
        except (TypeError, ValueError):
            continue
        if _agree(whole, one, two, weights, dims):
            return
        wrong.append((whole, dims))
    if not wrong:
        raise UnjoinedError("the loss cannot be taken of outputs or targets of two batches together")
    whole, dims = wrong[0]
    if data.reduction == "mean":
        remedy = "say what a batch counts with batch_weight=, from its targets, or give all data as one batch"
        if _agree(whole, one, two, (1.0, 1.0), dims):
            remedy = 'the loss is a sum, so pass reduction="sum"'
        what = "mean, weighted by the numbers of targets"
    else:
        remedy = (
            'for the mean of the losses of batches pass reduction="mean" and batch_weight=lambda targets: 1.0, or give '
            "all data as one batch"
        )
        counts = [targets_of.numel() if isinstance(targets_of, Tensor) else 1 for targets_of in targets]
        if _agree(whole, one, two, (counts[0] / sum(counts), counts[1] / sum(counts)), dims):
            remedy = 'the loss is a mean, so pass reduction="mean"'
        what = "sum"
    found = weights[0] * one.value + weights[1] * two.value
    raise ValueError(
        f"the loss of batches 1 and {number + 1} together, {whole.value:.6g}, is not their {what}, {found:.6g}, in "
        "value or in its derivatives with respect to the outputs: it averages over something else (weights, masks, "
        f"ignored targets), or depends on its batch as a whole. The curvature would belong to no common loss; {remedy}."
    )


def _slopes(loss: Any, outputs: Any, targets: Any) -> _Slopes:
    leaves, structure = tree_flatten(outputs)
    leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    seen = [leaf.requires_grad_() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    with torch.enable_grad():
        value = scalar_loss(loss, tree_unflatten(leaves, structure), targets)
        slopes = [torch.zeros_like(leaf) for leaf in seen]
        if seen and value.requires_grad:
            slopes = list(grad(value.reshape(()), seen, materialize_grads=True))
    terms = sum(float((leaf.detach() * slope).abs().sum()) for leaf, slope in zip(seen, slopes, strict=True))
    return _Slopes(value.item(), slopes, abs(value.item()) + terms)


def _agree(
    whole: _Slopes, one: _Slopes, two: _Slopes, weights: tuple[float, float], dims: Sequence[int | None]
) -> bool:
    """Tell whether value and slopes of both batches together are the weighted sums of theirs."""
    a, b = weights
    tolerance = max((TOLERANCE.get(slope.dtype, 3e-4) for slope in whole.slopes), default=1e-6)
    if not abs(whole.value - a * one.value - b * two.value) <= tolerance * max(whole.size, a * one.size + b * two.size):
        return False
    expected = [
        a * first + b * second if dim is None else torch.cat((a * first, b * second), dim)
        for first, second, dim in zip(one.slopes, two.slopes, dims, strict=True)
    ]
    largest = max((float(slope.abs().max()) for slope in expected if slope.numel()), default=0.0)
    return all(
        bool(((found - wanted).abs() <= tolerance * largest).all())
        for found, wanted in zip(whole.slopes, expected, strict=True)
    )


def _refuse_batch_statistics(network: Any) -> None:
    """Refuse batch norm without running statistics, which normalises over the batch in evaluation, too.

    Raises:
        ValueError: If there is such a layer.
    """
    module = network.readout if isinstance(network, UnrolledNetwork) else network
    if not isinstance(module, nn.Module):
        return
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{type(part).__name__} ({name}) has no running statistics and normalises over each batch, so that the "
                "loss of all data is not that of the batches; give all data as one batch, or say with batch_weight= "
                "what a batch counts."
            )


def _warn_of_coupled_samples(network: Any, data: WeightedBatches) -> None:
    """Warn of a model whose outputs for a sample change with the batch that holds it."""
    if couples_samples(network, data.pairs[0][0]):
        warnings.warn(
            "the model's outputs for a sample depend on the other samples of its batch (a mean over the batch, say), "
            "so that the curvature is that of the weighted sum of the losses of batches, and not that of all data as "
            "one batch; give all data as one batch, or batch_weight= where that is meant.",
            stacklevel=2,
        )
