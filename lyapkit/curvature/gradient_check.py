"""Comparison of a loss's gradient with differences of the loss, before second derivatives are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lyapkit.checks.double import in_double
from lyapkit.checks.finite_differences import PRECISION, Precision, compare
from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.curvature.recurrent.check import SEQUENCES, unrolled_form
from lyapkit.tangents.derivative_check import COARSE_ROUNDING, SAME_STEP, Derivatives

GROUPS = 4
"""Number of groups of parameters, which are moved one group at a time."""

PARAMETER_PRECISION = {
    torch.float64: Precision((1e-5, 1e-6, 1e-7, 1e-8), 1e-4),
    torch.float32: PRECISION[torch.float32],
}


def measure_gradient(objective: WeightedLoss) -> Derivatives:
    """Compare the gradient of the first batch's loss with differences of the loss, in double precision where possible.

    A recurrent network is run for all steps, but on a few sequences only. The mean square of their outputs takes the
    place of the loss, whose targets are those of the whole batch. The loss is checked separately, as a function of the
    outputs.

    Args:
        objective: The loss.
    """
    inputs, targets = objective.batches[0]
    unrolled = unrolled_form(objective.network, inputs)
    if unrolled is None:
        return _measured(lambda x, y: objective.loss(objective.network(x), y), inputs, targets, objective.tensors)
    few = inputs[:, :SEQUENCES]
    of_network = _measured(lambda x, _: unrolled(x).square().mean(), few, None, objective.tensors)
    with torch.no_grad():
        outputs = objective.network(inputs).detach().clone().requires_grad_()
    of_loss = _measured(lambda _, y: objective.loss(outputs, y), None, targets, [outputs])
    return max(of_network, of_loss, key=lambda found: (bool(found.refusal), found.error))


def _measured(
    loss: Callable[[Any, Any], Tensor], inputs: Any, targets: Any, parameters: Sequence[Tensor]
) -> Derivatives:
    with torch.no_grad():
        own = float(loss(inputs, targets))
        try:
            with in_double() as mode:
                value = float(loss(inputs, targets))
        except Exception:  # a model may raise anything when its inputs have another type than usual
            return _compared(lambda: loss(inputs, targets), parameters)
    if mode.coarse and abs(value - own) > COARSE_ROUNDING * abs(own):
        return Derivatives(-1.0, 0, _coarse(mode.coarse, abs(value - own) / abs(own)), unsaid=False)
    if abs(value - own) <= SAME_STEP * abs(own):
        with _widened(parameters):
            for x, y in ((_wide(inputs), _wide(targets)), (inputs, targets)):
                with suppress(Exception):  # some models need inputs of their parameters' type, others of a fixed type
                    return _compared(lambda x=x, y=y: loss(x, y), parameters, in_double)  # type: ignore[misc]
    return _compared(lambda: loss(inputs, targets), parameters)


def _compared(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Derivatives:
    with torch.enable_grad(), context():
        gradient = torch.autograd.grad(loss(), list(parameters), materialize_grads=True)
    generator = torch.Generator(device="cpu").manual_seed(0)
    groups = [list(range(first, len(parameters), GROUPS)) for first in range(min(GROUPS, len(parameters)))]
    directions = []
    for parameter in parameters:
        size = parameter.detach().square().mean().sqrt()
        size = torch.where(size > 0, size, torch.ones_like(size))
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64, device="cpu")
        directions.append(noise.to(parameter) * size)
    slopes = torch.stack(
        [sum((gradient[index] * directions[index]).sum() for index in group) for group in groups]  # type: ignore[misc]
    )

    @torch.no_grad()
    def along(at: Tensor) -> Tensor:
        """Return the loss (..., G, 1) with each group alone moved by (..., G, 1) along its direction."""
        found = torch.empty_like(at)
        for place, (group, length) in enumerate(
            zip(groups * (at.numel() // len(groups)), at.flatten().tolist(), strict=True)
        ):
            with _moved([parameters[index] for index in group], [length * directions[index] for index in group]):
                with context():
                    value = loss()
                found.view(-1)[place] = value
        return found

    dtype = slopes.dtype
    start = torch.zeros(len(groups), 1, dtype=dtype, device=slopes.device)
    seen = compare(
        along, lambda _, frame: frame * slopes[:, None, None], start, torch.ones_like(start)[None],
        PARAMETER_PRECISION[dtype],
    )  # fmt: skip
    judged = seen.right | seen.wrong
    if not bool(judged.any()):
        return Derivatives(-1.0, 0, "", unsaid=True)
    place = int(torch.where(seen.wrong if bool(seen.wrong.any()) else judged, seen.deviation, -1.0).argmax())
    error, refusal = float(seen.deviation.flatten()[place]), ""
    if bool(seen.wrong.any()):
        exact, difference = float(seen.exact.flatten()[place]), float(seen.difference.flatten()[place])
        refusal = (
            f"the gradient of the loss disagrees with a finite difference by {abs(exact - difference):.3g} (derivative "
            f"{exact:.3g}): model or loss has a custom backward, a detach, a surrogate gradient, a backward hook of a "
            "module, or a jump. Write it out in differentiable operations. If it is meant to be so, pass check=False, "
            "and the result says so."
        )
    return Derivatives(error, 0, refusal, unsaid=False)


def _coarse(types: set[torch.dtype], deviation: float) -> str:
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
    return (
        f"model or loss compute in {names} internally, which changes the loss by a relative {deviation:.1g}, so its "
        "second derivatives mean nothing. Convert weights and activations to float32 or float64, and leave "
        "torch.autocast out of the model. If this is intended, pass check=False."
    )


def _wide(value: Any) -> Any:
    """Convert floating-point tensors to float64, and leave anything else as it is."""
    return pytree.tree_map_only(Tensor, lambda part: part.double() if part.is_floating_point() else part, value)


@contextmanager
def _widened(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Hold parameters in float64 while the context is open."""
    before = [parameter.data for parameter in parameters]
    try:
        for parameter, data in zip(parameters, before, strict=True):
            parameter.data = data.double()
        yield
    finally:
        for parameter, data in zip(parameters, before, strict=True):
            parameter.data = data


@contextmanager
def _moved(parameters: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[None]:
    """Move parameters while the context is open."""
    before = [parameter.data for parameter in parameters]
    try:
        for parameter, data, change in zip(parameters, before, by, strict=True):
            parameter.data = data + change
        yield
    finally:
        for parameter, data in zip(parameters, before, strict=True):
            parameter.data = data
