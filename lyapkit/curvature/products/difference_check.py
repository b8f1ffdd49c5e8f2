"""A check of curvature products before a long run, by finite differences of first derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.autograd import grad

from lyapkit.checks.clause import clause
from lyapkit.curvature.products.operators import BlockProduct, Operator, WeightedLoss

_Found = TypeVar("_Found")

ACCEPTED = 1e-2
"""Relative deviation that the error of a difference may explain. Wrong derivatives deviate by far more."""
SURE = 0.05
"""Relative deviation up to which differences with neighbouring steps agree. They then count as right, and a product
that deviates by more than twice as much counts as wrong."""


class Products(Protocol):
    """Products with the three operators of eq. (7)."""

    def product(self, operator: Operator) -> BlockProduct:
        """Return the map V -> A V of an operator A, (P, b) -> (P, b)."""


def check_products(objective: WeightedLoss, products: Products, operator: Operator) -> float:
    """Compare products along one direction with central differences.

    H v is compared with differences of the gradient. If the Gauss-Newton matrix G is part of the operator, v'Gv is
    compared with differences of the outputs, and of the loss's gradient with respect to them. All of these are first
    derivatives. Several steps are tried, since one part of the error of a difference grows with the step, and another
    shrinks.

    Args:
        objective: The loss.
        products: Its products.
        operator: The operator to check.

    Returns:
        The relative deviation at the best step.

    Raises:
        ValueError: If the products are wrong.
        RuntimeError: If the model cannot be differentiated twice.
    """
    generator = torch.Generator().manual_seed(0)  # fixed directions make the check deterministic
    # two of them, so that blocks are checked and not only single columns
    pair = torch.randn(objective.size, 2, generator=generator, dtype=torch.float64, device="cpu").to(
        objective.tensors[0].device
    )
    pair = pair / torch.linalg.vector_norm(pair, dim=0)
    try:
        of = products.product
        found = []
        if operator != "hessian":
            found.append(_compare(objective, pair, _form(of("ggn")), _squared_change))
        if operator == "hessian":
            found.append(_compare(objective, pair, _first(of("hessian")), _slope_change))
        if operator == "residual":
            rest, ggn = _first(of("residual")), _first(of("ggn"))
            found.append(_compare(objective, pair, lambda block: rest(block) + ggn(block), _slope_change))
    except RuntimeError as error:
        if not any(part in str(error) for part in ("is not implemented", "once_differentiable")):
            raise
        raise RuntimeError(
            f"the model cannot be differentiated twice ({clause(error)}). Write it out in elementary operations."
        ) from error
    return max(found)


def _first(product: BlockProduct) -> BlockProduct:
    return lambda block: product(block)[:, 0]


def _form(product: BlockProduct) -> BlockProduct:
    return lambda block: (block[:, 0] @ product(block)[:, 0]).reshape(1)


def _compare(
    objective: WeightedLoss,
    pair: Tensor,
    product: BlockProduct,
    difference: Callable[[WeightedLoss, Tensor, float], tuple[Tensor, Tensor, float]],
) -> float:
    """Return the relative deviation of a product from the first difference that it agrees with."""
    epsilon = torch.finfo(objective.tensors[0].dtype).eps
    size = 1 + max(float(tensor.detach().abs().max()) for tensor in objective.tensors)
    length = (epsilon * size) ** (1 / 3)  # for one parameter; for all of them together, a longer one is tried first
    differences, errors = [], []
    for step in (length * objective.size**0.25, length, length / 10, length / 100):
        direction, found, noise = difference(objective, pair[:, 0], step)
        exact = product(torch.stack((direction, pair[:, 1]), dim=1))
        scale = max(float(exact.norm()), float(found.norm()))
        error = float((exact - found).norm())
        if error <= ACCEPTED * scale + noise:
            return error / scale if scale > 0 else 0.0
        differences.append(found)
        errors.append(error / scale)
    neighbours = pairwise(differences)
    if min(errors) > 2 * SURE and any(float((a - b).norm()) <= SURE * float(a.norm()) for a, b in neighbours):
        raise ValueError(
            f"curvature products differ from finite differences of the gradient by a relative {min(errors):.3g}. Model "
            "or loss has wrong second derivatives, as from a custom backward or a detach, or has its curvature in "
            "kinks. Write it out in elementary operations. If it is meant to be so, pass check=False."
        )
    warnings.warn(
        f"curvature products could not be checked: they differ by a relative {min(errors):.3g} from finite differences "
        "of the gradient, which also differ from one another (by rounding, by kinks, or because the loss is too "
        "sensitive to the parameters). Use float64 for a sharper check, or pass check=False to skip it.",
        stacklevel=2,
    )
    return min(errors)


def _slope_change(objective: WeightedLoss, direction: Tensor, step: float) -> tuple[Tensor, Tensor, float]:
    """Return the rounded direction, the difference of gradients along it, and the rounding error of the latter."""
    ahead, behind, rounded = _both_sides(objective, direction, step, objective.gradient)
    epsilon = torch.finfo(objective.tensors[0].dtype).eps
    return rounded, (ahead - behind) / (2 * step), 10 * epsilon * float(ahead.norm()) / step


def _squared_change(objective: WeightedLoss, direction: Tensor, step: float) -> tuple[Tensor, Tensor, float]:
    """Return the same for v'J^T H_L J v, with differences in place of s = J v and of H_L s."""
    epsilon = torch.finfo(objective.tensors[0].dtype).eps
    outputs = objective.outputs()
    ahead, behind, rounded = _both_sides(objective, direction, step, objective.outputs)
    total, noise = 0.0, 0.0
    for (_, targets), weight, here, high, low in zip(
        objective.batches, objective.weights, outputs, ahead, behind, strict=True
    ):
        change = (high.double() - low.double()) / (2 * step)
        largest = float(change.abs().max())
        if largest == 0:
            continue
        length = epsilon ** (1 / 3) * (1 + float(here.abs().max())) / largest
        slopes = []
        for sign in (1, -1):
            seen = (here + sign * length * change.to(here)).requires_grad_()
            with torch.enable_grad():
                (slope,) = grad(objective.loss(seen, targets), seen, materialize_grads=True)
            slopes.append(slope.double())
        bend = (slopes[0] - slopes[1]) / (2 * length)
        total += weight * float((change * bend).sum())
        noise += weight * float(here.double().norm() * bend.norm() / step + change.norm() * slopes[0].norm() / length)
    return rounded, torch.tensor([total], dtype=torch.float64, device="cpu").to(rounded), 10 * epsilon * noise


def _both_sides(
    objective: WeightedLoss, direction: Tensor, step: float, evaluate: Callable[[], _Found]
) -> tuple[_Found, _Found, Tensor]:
    """Evaluate a function one step ahead of the parameters and one behind; return the rounded direction, too."""
    here = [tensor.detach().clone() for tensor in objective.tensors]
    sizes = [tensor.numel() for tensor in here]
    found, points = [], []
    try:
        for sign in (1, -1):
            parts = torch.split(sign * step * direction, sizes)
            for tensor, centre, part in zip(objective.tensors, here, parts, strict=True):
                # through .data: autograd does not see the move, and graphs find the parameters as they were
                tensor.data.copy_(centre.double() + part.reshape(centre.shape))
            points.append(torch.cat([tensor.detach().reshape(-1).double() for tensor in objective.tensors]))
            found.append(evaluate())
    finally:
        for tensor, centre in zip(objective.tensors, here, strict=True):
            tensor.data.copy_(centre)
    return found[0], found[1], (points[0] - points[1]) / (2 * step)
