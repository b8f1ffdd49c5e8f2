"""Check of a loss before its curvature is taken: it must be a finite, deterministic, twice differentiable scalar."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lyapkit.checks.clause import clause
from lyapkit.checks.draws import has_drawn
from lyapkit.checks.purity import ModuleWatch
from lyapkit.curvature.aside import graph_leaves, graph_nodes
from lyapkit.curvature.products.operators import WeightedLoss
from lyapkit.losses.broadcast import warn_of_broadcast
from lyapkit.losses.scalar_loss import scalar_loss
from lyapkit.losses.unrolled import UnrolledNetwork

TRAPS = {
    "CudnnRnn": "a cuDNN recurrent layer called by itself, which has no second derivatives; call torch.nn.RNN, GRU, "
    "LSTM or a subclass, which are stepped by elementary operations, or run the model under "
    "torch.backends.cudnn.flags(enabled=False)",
    "MiopenRnn": "a MIOpen recurrent layer, which has no second derivatives; write the layer out in elementary "
    "operations",
    "Scan": "torch's scan operator, whose second derivatives are wrong; write the recursion as a loop over time",
    "ScaledDotProduct": "a fused attention kernel, which has no second derivatives; call the analysis under "
    "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)",
}
"""Operations known to lack correct second derivatives. A key is a part of the name of their node in the graph."""


def check_loss(objective: WeightedLoss, check: bool, known: Collection[Tensor] | None) -> None:
    """Refuse a loss that is not a scalar, not differentiable or, with ``check``, not deterministic.

    Args:
        objective: The loss. Its first batch is checked, and with ``check`` the gradient over all batches.
        check: Whether to compute the gradient twice.
        known: All parameters of the model. A warning names other tensors that the loss depends on. None if the user
            has named parameters, and thereby left out the others.

    Raises:
        TypeError: If outputs or loss are of the wrong kind.
        ValueError: If the loss cannot be used; the message says what is wrong and what to do.
        FloatingPointError: If the gradient is not finite.
    """
    inputs, targets = objective.batches[0]
    random_state = torch.get_rng_state()
    with torch.enable_grad():
        outputs = _outputs(objective.network, inputs, objective.tensors[0].dtype, check)
        value = _value(objective.loss, outputs, targets)
    if not value.requires_grad:
        raise ValueError("the loss does not depend differentiably on the parameters; check loss and model.")
    _refuse_traps(value)
    if known is not None:
        _warn_of_hidden(graph_leaves(value), known, (inputs, targets))
    if check:
        once, twice = objective.gradient(), objective.gradient()
        if not bool(torch.isfinite(once).all()):
            raise FloatingPointError(
                "the gradient of the loss is not finite. Check inputs and targets of all batches, and the loss (a "
                "root-mean-square loss has no derivative where it is zero)."
            )
        same = torch.allclose(once, twice, rtol=1e-4, atol=1e-4 * float(once.abs().max()))
        if not same or has_drawn(random_state, objective.gradient):
            raise ValueError(
                "the loss is not deterministic: its gradient differs between two calls, or it draws random numbers. "
                "Call .eval() on the model (dropout, batch norm), and draw no random numbers in model and loss."
            )


def _value(loss: Any, outputs: Any, targets: Any) -> Tensor:
    """Return the loss, and warn if outputs and targets may have been broadcast against each other.

    Raises:
        TypeError: If the loss cannot take the tuple that built-in recurrent layers return.
        ValueError: If `scalar_loss` refuses the value.
    """
    try:
        value = scalar_loss(loss, outputs, targets)
    except (TypeError, ValueError) as error:
        if not isinstance(outputs, tuple):
            raise
        raise TypeError(
            "the model returns a tuple, as built-in recurrent layers do, which the loss cannot take. Give readout=, a "
            "callable from the output of the last step to what the loss reads."
        ) from error
    warn_of_broadcast(loss, outputs, targets, value)
    return value


def _outputs(network: Any, inputs: Any, dtype: torch.dtype, check: bool) -> Any:
    """Return the outputs of the network; if it refuses the type of the inputs, name this and that of its parameters."""
    with ModuleWatch(network) if check else nullcontext() as watch:
        try:
            outputs = network(inputs)
        except (AttributeError, TypeError) as error:
            if isinstance(inputs, Tensor) or isinstance(network, UnrolledNetwork):
                raise
            if hasattr(inputs, "__array__"):
                raise TypeError(
                    f"the model cannot take inputs that are a {type(inputs).__name__} ({clause(error)}). Convert "
                    "inputs and targets with torch.as_tensor."
                ) from error
            raise TypeError(
                f"the model cannot take inputs that are a {type(inputs).__name__} ({clause(error)}). They are passed "
                "as one argument, so give a module whose forward takes one argument and unpacks it."
            ) from error
        except RuntimeError as error:
            if not isinstance(inputs, Tensor) or inputs.dtype == dtype or "dtype" not in str(error):
                raise
            raise ValueError(
                f"the model cannot take inputs of {inputs.dtype} ({clause(error)}); its parameters are {dtype}. "
                "Convert inputs or model with .to()."
            ) from error
    if watch is not None:
        watch.refuse_changes()
    return outputs


def _refuse_traps(value: Tensor) -> None:
    """Refuse a loss whose graph contains an operation without correct second derivatives.

    Raises:
        ValueError: If there is one; the message says what to do.
    """
    for node in graph_nodes(value):
        for part, message in TRAPS.items():
            if part in node.name():
                raise ValueError(f"the loss goes through {message}.")


def _warn_of_hidden(leaves: Sequence[Tensor], known: Collection[Tensor], data: Any) -> None:
    """Warn of tensors that require gradients but are no parameters of the model, such as those inside a function."""
    expected = {id(tensor) for tensor in [*known, *tree_leaves(data)]}
    hidden = [leaf for leaf in leaves if id(leaf) not in expected]
    if hidden:
        warnings.warn(
            f"the loss depends on {len(hidden)} more tensors that require gradients but are no parameters of the "
            f"model, the largest of shape {tuple(max(hidden, key=Tensor.numel).shape)}. The curvature leaves them out. "
            "A function hides the parameters of the modules that it calls, so give readout= as a module. To leave "
            "them out without this warning, call .requires_grad_(False) on them, or name the others with parameters=.",
            stacklevel=2,
        )
