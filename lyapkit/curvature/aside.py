"""The loss of a copy of a network, whose parameters finite differences may move."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.checks.one_at_a_time import WarningsHere
from lyapkit.curvature.products.operators import WeightedLoss

_DEPRECATED = WarningsHere("ignore", base=FutureWarning)
"""Filter for the warning that PyTorch gives when a structure of states is copied: it uses its own deprecated code."""


def aside(objective: WeightedLoss) -> WeightedLoss:
    """Return the same loss for a copy of the network, which has its own, equal parameters.

    Finite differences move the parameters. A thread that uses the model at the same time must not see this.

    Args:
        objective: The loss; its first batch is run once.

    Returns:
        The loss of the copy. The given loss is returned if the network cannot be copied, or if the copy still reaches
        parameters of the original, for example through a function that the model keeps. These are moved, and put back.
    """
    memo: dict[int, Any] = {}
    try:
        if isinstance(objective.network, nn.Module):
            memo.update((id(buffer), buffer) for buffer in objective.network.buffers())
        with _DEPRECATED.open():
            network = copy.deepcopy(objective.network, memo)
        parameters = {name: memo[id(tensor)] for name, tensor in objective.parameters.items()}
        copied = replace(objective, network=network, parameters=parameters)
        (inputs, targets), *_ = copied.batches
        with torch.enable_grad():
            value = copied.loss(network(inputs), targets)
    except Exception:  # copying a model may raise anything
        return objective
    own = {id(tensor) for tensor in objective.tensors}
    return objective if any(id(leaf) in own for leaf in graph_leaves(value)) else copied


def graph_nodes(value: Tensor) -> Iterator[Any]:
    """Yield each node of the graph that computed a value, once."""
    seen = set()
    pending = [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        pending += [earlier for earlier, _ in node.next_functions]


def graph_leaves(value: Tensor) -> list[Tensor]:
    """Return the leaf tensors of the graph that computed a value."""
    found = (getattr(node, "variable", None) for node in graph_nodes(value))
    return [leaf for leaf in found if isinstance(leaf, Tensor)]
