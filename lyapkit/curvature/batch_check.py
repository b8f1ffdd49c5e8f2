"""A check of the weights of batches: the loss of two joined batches must be the weighted sum of their losses."""

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
"""Relative deviation up to which two losses or slopes count as equal: at most the default tolerance of eigenvalues."""


class _Slopes(NamedTuple):
    """A loss, its derivatives with respect to the leaves of the outputs, and the size of terms that may cancel."""

    value: float
    slopes: list[Tensor]
    size: float


def check_weights(objective: WeightedLoss, data: WeightedBatches, check: bool) -> str:
    """Refuse batches if the weighted sum of their losses is not the loss of all data together.

    The first batch is joined with each of the others: targets and outputs (without derivatives) are concatenated. The
    loss of the joined batches, and its derivatives with respect to the outputs, are compared with the weighted sum of
    the two losses. Weights from the user, and those of PyTorch's own losses, are not checked. A warning says if outputs
    depend on the other samples of their batch.

    Args:
        objective: The loss, which has been checked on its first batch.
        data: Its batches.
        check: False to skip the check.

    Returns:
        The source of the weights, for the provenance: ``"one batch"``, ``"batch_weight"``, ``"standard loss"``,
        ``"checked"``, or ``"not checked: "`` with the reason.

    Raises:
        ValueError: If the losses differ, or if a layer normalises over the batch.
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
    """Warn that two batches could not be joined, so that their weights remain an assumption."""
    remedy = (
        "Each batch is weighted by its number of targets. This is wrong for sums, and for losses that leave out some "
        "targets (padding, masks). Give the weight of a batch as batch_weight=, a function of its targets, such as "
        'batch_weight=lambda targets: float((targets != padding).sum()), or pass reduction="sum"'
    )
    if reduction == "sum":
        remedy = "The losses of batches are added. This is wrong for means. Give batches whose outputs have one length"
    warnings.warn(
        f"the weights of batches could not be checked against the loss of all data ({obstacle}). {remedy}, or pass "
        "check=False if the weights are right.",
        stacklevel=2,
    )


def _compare_all(objective: WeightedLoss, data: WeightedBatches) -> str | None:
    """Compare the first batch with all others; return the reason if one of them could not be compared.

    Raises:
        ValueError: If the weighted sum of two losses is not the loss of both batches together.
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
        ValueError: If the weighted sum of their losses is not the loss of both together.
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
        raise UnjoinedError("the loss cannot be computed for two batches together")
    whole, dims = wrong[0]
    if data.reduction == "mean":
        remedy = "Give the weight of a batch as batch_weight=, a function of its targets, or give all data as one batch"
        if _agree(whole, one, two, (1.0, 1.0), dims):
            remedy = 'The loss is a sum, so pass reduction="sum"'
        what = "mean, weighted by the numbers of targets,"
    else:
        remedy = (
            'For the mean of the losses of batches, pass reduction="mean" and batch_weight=lambda targets: 1.0; or '
            "give all data as one batch"
        )
        counts = [targets_of.numel() if isinstance(targets_of, Tensor) else 1 for targets_of in targets]
        if _agree(whole, one, two, (counts[0] / sum(counts), counts[1] / sum(counts)), dims):
            remedy = 'The loss is a mean, so pass reduction="mean"'
        what = "sum"
    found = weights[0] * one.value + weights[1] * two.value
    raise ValueError(
        f"the loss of batches 1 and {number + 1} together is {whole.value:.6g}, and their {what} is {found:.6g}: the "
        "values differ, or their derivatives with respect to the outputs. The loss averages over something else "
        "(weights, masks, ignored targets), or depends on its batch as a whole, so the curvature would belong to no "
        f"common loss. {remedy}."
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
    """Tell whether value and slopes of the joined batches are the weighted sums of those of the two."""
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
    """Refuse batch norm without running statistics: it normalises over the batch even in evaluation mode.

    Raises:
        ValueError: If there is such a layer.
    """
    module = network.readout if isinstance(network, UnrolledNetwork) else network
    if not isinstance(module, nn.Module):
        return
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{type(part).__name__} ({name}) has no running statistics and normalises over each batch, so the loss "
                "of all data is not that of the batches. Give all data as one batch, or the weight of a batch as "
                "batch_weight=, a function of its targets."
            )


def _warn_of_coupled_samples(network: Any, data: WeightedBatches) -> None:
    """Warn if the model's outputs for a sample change with the batch that holds it."""
    if couples_samples(network, data.pairs[0][0]):
        warnings.warn(
            "the model's outputs for a sample depend on the other samples of its batch (by a mean over the batch, "
            "say). The curvature is that of the weighted sum of the losses of batches, not that of all data as one "
            "batch. Give all data as one batch, or pass batch_weight= if the weighted sum is meant.",
            stacklevel=2,
        )
