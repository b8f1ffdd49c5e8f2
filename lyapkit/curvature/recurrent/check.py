"""Check of a network before its curvature is computed by recursion through time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.adapters import as_map
from lyapkit.curvature.products.operators import BlockProduct, WeightedLoss
from lyapkit.losses.unrolled import UnrolledNetwork

STEPS, SEQUENCES = 4, 4
"""Sizes of the part of a batch that is checked: enough steps for states, weights and layers to affect one another."""


def unrolled_form(network: Callable[[Any], Any], inputs: Any) -> UnrolledNetwork | None:
    """Return the map and the readout that a network consists of.

    Args:
        network: An `UnrolledNetwork`, or a module that runs its registered map from the initial state and applies its
            own readout to the last output. Outputs for the first inputs are compared, to refuse any other module.
        inputs: Inputs of the network.

    Returns:
        Map and readout, or None if the network does not have this form.
    """
    if isinstance(network, UnrolledNetwork):
        return network
    if not (isinstance(network, nn.Module) and isinstance(inputs, Tensor) and inputs.ndim == 3):
        return None
    try:
        map = as_map(network)
    except (TypeError, ValueError):
        return None
    if map.readout is None or map.input_size != inputs.shape[-1]:
        return None
    unrolled = UnrolledNetwork(map, map.readout)
    with torch.no_grad():
        own, found = network(inputs[:STEPS, :SEQUENCES]), unrolled(inputs[:STEPS, :SEQUENCES])
    same = isinstance(own, Tensor) and own.shape == found.shape and torch.allclose(own, found, rtol=1e-4, atol=1e-6)
    return unrolled if same else None


def short_objective(network: UnrolledNetwork, inputs: Tensor, parameters: Mapping[str, nn.Parameter]) -> WeightedLoss:
    """Return a loss with non-zero curvature on the first steps of a few sequences."""
    return WeightedLoss(network, parameters, [(inputs[:STEPS, :SEQUENCES], None)], [1.0], _square)


def check_against_autodiff(objective: WeightedLoss, product: BlockProduct) -> None:
    """Compare a Hessian product by recursion with double backward.

    Args:
        objective: The loss from `short_objective`.
        product: Product with the Hessian of the same loss, by recursion.

    Raises:
        ValueError: If they differ.
    """
    generator = torch.Generator().manual_seed(0)
    first = objective.tensors[0]
    block = torch.randn(objective.size, 1, generator=generator, dtype=torch.float64, device="cpu").to(first.device)
    expected, found = objective.product("hessian")(block), product(block)
    error, size = float((expected - found).norm()), float(expected.norm())
    # if the curvature is zero, both are rounding
    noise = 10 * torch.finfo(first.dtype).eps * float(objective.gradient().norm()) * float(block.norm())
    if not error <= (1e-8 if first.dtype == torch.float64 else 1e-3) * size + noise:
        raise ValueError(
            "the map's cell_derivatives disagree with its step: a Hessian product differs from automatic "
            f"differentiation by {error:.3g}, and has the size {size:.3g}. Correct them, or let cell_derivatives "
            "return None."
        )


def _square(outputs: Tensor, targets: Any) -> Tensor:
    return 0.5 * (outputs * outputs).sum()
