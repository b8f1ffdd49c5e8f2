"""A loss whose parameters can be moved unseen: that of a copy of the network."""

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
"""PyTorch copies structures of states in a way that it has deprecated itself."""


def aside(objective: WeightedLoss) -> WeightedLoss:
    """Return the same loss of a copy of the network, with equal parameters of its own.

    Finite differences move parameters. Moving those of the user would be seen by whoever uses the model meanwhile, in
    another thread.

    Args:
        objective: The loss; its first batch is run once.

    Returns:
        The loss of the copy. It is the given one where the network cannot be copied, or where its copy reaches
        parameters of the original, as by a function that the model keeps: then those are moved, and put back.
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
    except Exception:  # whatever a model does when it is copied
        return objective
    own = {id(tensor) for tensor in objective.tensors}
    return objective if any(id(leaf) in own for leaf in graph_leaves(value)) else copied


def graph_nodes(value: Tensor) -> Iterator[Any]:
    """Yield the nodes of the graph that a value was computed by, each once."""
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
    """Return the tensors that the graph of a value begins with."""
    found = (getattr(node, "variable", None) for node in graph_nodes(value))
    return [leaf for leaf in found if isinstance(leaf, Tensor)]
