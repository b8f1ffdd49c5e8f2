"""One look at a loss before its curvature is taken: a scalar, finite, deterministic, and twice differentiable."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lyapkit.curvature.operators import WeightedLoss
from lyapkit.purity import ModuleWatch
from lyapkit.scalar_loss import scalar_loss
from lyapkit.unrolled import UnrolledNetwork

TRAPS = {
    "CudnnRnn": "a cuDNN recurrent layer, which has no second derivatives; only torch.nn.RNN, GRU, LSTM and their "
    "cells themselves are replaced by elementary operations, so write subclasses out, or run the model under "
    "torch.backends.cudnn.flags(enabled=False)",
    "MiopenRnn": "a MIOpen recurrent layer, which has no second derivatives; write the layer out in elementary "
    "operations",
    "Scan": "torch's scan operator, whose second derivatives are wrong; write the recursion as a loop over time",
    "ScaledDotProduct": "a fused attention kernel, which has no second derivatives; call the analysis under "
    "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)",
}
"""What is known to lack right second derivatives, by a part of the name of its node in the graph."""


def check_loss(objective: WeightedLoss, check: bool) -> None:
    """Refuse what is not a scalar, differentiable and, with ``check``, deterministic loss.

    Args:
        objective: the loss; its first batch is looked at, and with ``check`` the gradient over all of them.
        check: compute the gradient twice.

    Raises:
        TypeError: outputs or loss are of the wrong kind.
        ValueError: the message says what is wrong and what to do.
        FloatingPointError: the gradient is not finite.
    """
    inputs, targets = objective.batches[0]
    random_state = torch.get_rng_state()
    with torch.enable_grad():
        outputs = _outputs(objective.network, inputs, objective.tensors[0].dtype, check)
        if isinstance(outputs, tuple):
            raise TypeError(
                "the model returns a tuple, as built-in recurrent layers do; give readout=, from the output of the "
                "last step to what the loss reads."
            )
        value = scalar_loss(objective.loss, outputs, targets)
    if not value.requires_grad:
        raise ValueError("the loss does not depend differentiably on the parameters; check loss and model.")
    _refuse_traps(value)
    if check:
        once, twice = objective.gradient(), objective.gradient()
        if not bool(torch.isfinite(once).all()):
            raise FloatingPointError(
                "the gradient of the loss is not finite; check the loss (a root-mean-square loss has no derivative "
                "where it is zero)."
            )
        same = torch.allclose(once, twice, rtol=1e-4, atol=1e-4 * float(once.abs().max()))
        if not same or not torch.equal(torch.get_rng_state(), random_state):
            raise ValueError(
                "the loss is not deterministic: its gradient differs between two calls, or it draws random numbers; "
                "call .eval() on the model (dropout, batch norm), and draw no random numbers in model and loss."
            )


def _outputs(network: Any, inputs: Any, dtype: torch.dtype, check: bool) -> Any:
    """What the network returns; where it refuses inputs of another type than its parameters', both are named."""
    with ModuleWatch(network) if check else nullcontext() as watch:
        try:
            outputs = network(inputs)
        except (AttributeError, TypeError) as error:
            if isinstance(inputs, Tensor) or isinstance(network, UnrolledNetwork):
                raise
            raise TypeError(
                f"the model cannot take inputs that are a {type(inputs).__name__} ({error}); they are handed over as "
                "one argument, so give a module whose forward takes it as one."
            ) from error
        except RuntimeError as error:
            if not isinstance(inputs, Tensor) or inputs.dtype == dtype or "dtype" not in str(error):
                raise
            raise ValueError(
                f"the model cannot take inputs of {inputs.dtype} ({error}); its parameters are {dtype}, so convert "
                "inputs or model with .to()."
            ) from error
    if watch is not None:
        watch.refuse_changes()
    return outputs


def _refuse_traps(value: Tensor) -> None:
    """Walk the graph of a loss.

    Raises:
        ValueError: names what has no right second derivatives, and what to do instead.
    """
    seen = set()
    pending = [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for part, message in TRAPS.items():
            if part in node.name():
                raise ValueError(f"the loss goes through {message}.")
        pending += [earlier for earlier, _ in node.next_functions]
