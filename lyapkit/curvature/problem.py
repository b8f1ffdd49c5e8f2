"""The common beginning of all analyses of curvature: a checked loss over batches, and products with an operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from lyapkit.adapters import as_single_map
from lyapkit.adapters.unfused import unfused
from lyapkit.checks.arguments import check_flag, check_integer, inference_tensors_explained, refuse_contexts
from lyapkit.checks.compiled import compiled_parts_named, uncompiled
from lyapkit.checks.hooks import refuse_tensor_hooks
from lyapkit.curvature.aside import aside
from lyapkit.curvature.batch_check import check_weights
from lyapkit.curvature.gradient_check import measure_gradient
from lyapkit.curvature.layout import laid_out
from lyapkit.curvature.loss_check import check_loss
from lyapkit.curvature.parameters import ParameterChoice, choose_parameters, names_and_shapes
from lyapkit.curvature.products.difference_check import check_products
from lyapkit.curvature.products.operators import OPERATORS, BlockProduct, Operator, WeightedLoss
from lyapkit.curvature.products.prepared import PreparedProducts
from lyapkit.curvature.recurrent.products import MEMORY_BUDGET, recurrent_products
from lyapkit.losses.batch_weights import Reduction, weighted_batches
from lyapkit.losses.batches import Batch
from lyapkit.losses.scalar_loss import check_loss_callable
from lyapkit.losses.unrolled import UnrolledNetwork, resolve_readout
from lyapkit.recurrent_map import RecurrentMap


@dataclass
class CurvatureProblem:
    """One operator of one loss, ready for products.

    Attributes:
        objective: The loss over all batches.
        operator: The curvature operator.
        settings: The arguments that the problem was made with, as provenance.
        gradient_seconds: Time of one gradient.
        derivative_error: Relative deviation of a product from finite differences, -1 if none was measured.
        preparation_seconds: Time of work that all products share, such as the Jacobian of the outputs.
        products: Number of columns multiplied so far.
        product_seconds: Time of these products.
    """

    objective: WeightedLoss
    operator: Operator
    settings: dict[str, object]
    gradient_seconds: float
    derivative_error: float
    preparation_seconds: float
    _multiply: BlockProduct = field(repr=False)
    _context: Callable[[], AbstractContextManager[object]] = field(repr=False)
    products: int = 0
    product_seconds: float = 0.0

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return self.objective.size

    @property
    def dtype(self) -> torch.dtype:
        """Type the model computes in."""
        return self.objective.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """Device the model computes on."""
        return self.objective.tensors[0].device

    def product(self, block: Tensor) -> Tensor:
        """Return the operator's product with the columns of a block, (P, b) -> (P, b), float64."""
        start = _now(self.device)
        with self._context(), compiled_parts_named():
            images = self._multiply(block)
        self.products += block.shape[1]
        self.product_seconds += _now(self.device) - start
        return images

    def cost(self) -> dict[str, object]:
        """Return the cost as attributes: the number of products, and of gradients that take the same time.

        The time includes the work that all products share.
        """
        equivalents = (self.preparation_seconds + self.product_seconds) / max(self.gradient_seconds, 1e-9)
        return {"products": self.products, "gradient_equivalents": equivalents}


@inference_tensors_explained()
def curvature_problem(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    operator: Operator,
    readout: Callable[[Tensor], Tensor] | None,
    parameters: ParameterChoice | None,
    reduction: Reduction | None,
    batch_weight: Callable[[Any], float] | None,
    lengths: Any = None,
    batch_first: bool | None = None,
    columns: int,
    memory_budget: int = MEMORY_BUDGET,
    check: bool,
) -> CurvatureProblem:
    """Prepare the curvature of a loss from arguments of `lyapkit.hessian_spectrum`, after all checks.

    Args:
        model: As for `lyapkit.hessian_spectrum`.
        batches: As for `lyapkit.hessian_spectrum`.
        loss: As for `lyapkit.hessian_spectrum`.
        operator: As for `lyapkit.hessian_spectrum`.
        readout: As for `lyapkit.hessian_spectrum`.
        parameters: As for `lyapkit.hessian_spectrum`.
        reduction: As for `lyapkit.hessian_spectrum`.
        batch_weight: As for `lyapkit.hessian_spectrum`.
        lengths: As for `lyapkit.hessian_spectrum`.
        batch_first: As for `lyapkit.hessian_spectrum`.
        columns: Number of columns of a block that are differentiated together if there is no recursion through time.
        memory_budget: Bytes that a recursion through time may keep.
        check: True to compare gradients with each other, and products with finite differences of gradients.

    Raises:
        TypeError: If an argument is of the wrong kind; see `lyapkit.hessian_spectrum`.
        ValueError: If an argument is out of range; see `lyapkit.hessian_spectrum`.
        FloatingPointError: If the gradient or a product is not finite.
    """
    check_operator(operator)
    memory_budget = check_integer("memory_budget", memory_budget)
    if memory_budget < 0:
        raise ValueError(f"memory_budget must be a number of bytes of at least 0, got {memory_budget}.")
    columns = check_integer("block_size", columns)
    if columns < 1:
        raise ValueError(f"block_size must be at least 1, got {columns}.")
    check_flag("check", check)
    check_loss_callable(loss)
    model, loss = uncompiled(model), uncompiled(loss)
    network, available = network_and_parameters(model, readout)
    refuse_unusable(choose_parameters(available, parameters), check)
    data = weighted_batches(batches, loss, reduction, batch_weight)
    network, pairs = laid_out(network, data.pairs, lengths, batch_first)
    if isinstance(network, UnrolledNetwork):
        network = encoding_known(network, readout)
        available = dict(network.named_parameters())
    chosen = choose_parameters(available, parameters)
    data = replace(data, pairs=pairs)
    objective = WeightedLoss(network, chosen, data.pairs, data.weights, data.loss, columns)
    first = objective.tensors[0]

    def context() -> AbstractContextManager[object]:
        is_plain = isinstance(model, nn.Module) and not isinstance(model, RecurrentMap)
        return unfused(cast(nn.Module, model)) if is_plain else nullcontext()

    with context(), compiled_parts_named():
        check_loss(objective, check, available.values() if parameters is None else None)
        weights = check_weights(objective, data, check)
        moved = aside(objective)
        derivatives = measured_gradient(moved, check)
        recurrent = recurrent_products(objective, memory_budget=memory_budget, check=check)
        products = PreparedProducts(recurrent or objective, lambda: _now(first.device))
        error = check_products(moved, products, operator) if check else -1.0
        start = _now(first.device)
        objective.gradient()
        seconds = _now(first.device) - start
        multiply = products.product(operator)
    settings: dict[str, object] = {
        "operator": operator,
        "reduction": data.reduction,
        "parameters": names_and_shapes(chosen),
        "batches": len(data.pairs),
        "batch_weights": weights,
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "derivative_error": error,
        "derivatives": derivatives,
        "by_recursion": recurrent is not None,
    }
    prepared = products.seconds[operator]
    return CurvatureProblem(objective, operator, settings, seconds, error, prepared, multiply, context)


def check_operator(operator: object) -> None:
    """Refuse anything but the name of an operator.

    Raises:
        ValueError: If it is not one of `OPERATORS`.
    """
    if operator not in OPERATORS:
        raise ValueError(f"operator must be one of {', '.join(OPERATORS)}, got {operator!r}.")


def parameter_count(
    model: object, readout: Callable[[Tensor], Tensor] | None, parameters: ParameterChoice | None = None
) -> int:
    """Count the parameters whose curvature is taken.

    Args:
        model: Model, as for `lyapkit.hessian_spectrum`.
        readout: As for `lyapkit.hessian_spectrum`.
        parameters: As for `lyapkit.hessian_spectrum`.
    """
    chosen = choose_parameters(network_and_parameters(model, readout)[1], parameters)
    return sum(tensor.numel() for tensor in chosen.values())


def network_and_parameters(
    model: object, readout: Callable[[Tensor], Tensor] | None
) -> tuple[Callable[[Any], Any], dict[str, nn.Parameter]]:
    """Return the network from inputs to what the loss reads, and its parameters by all their names."""
    model = uncompiled(model)
    if readout is None and isinstance(model, nn.Module):
        return model, dict(model.named_parameters(remove_duplicate=False))
    map = as_single_map(model, "an analysis of curvature")
    unrolled = UnrolledNetwork(map, resolve_readout(map, readout))
    return unrolled, dict(unrolled.named_parameters())


def encoding_known(network: UnrolledNetwork, readout: Callable[[Tensor], Tensor] | None) -> UnrolledNetwork:
    """Return the network of a whole model without the parameters that its encoder shares, once these are known.

    Args:
        network: The network, whose map has encoded inputs before.
        readout: As for `lyapkit.hessian_spectrum`.
    """
    return UnrolledNetwork(network.map, resolve_readout(network.map, readout))


def measured_gradient(objective: WeightedLoss, check: bool) -> str:
    """Return the verdict of finite differences on the gradient: "checked", "surrogate" or "unchecked".

    Raises:
        ValueError: If the gradient is wrong; only with ``check``.
    """
    try:
        found = measure_gradient(objective)
    except Exception:
        if check:
            raise
        return "unchecked"  # without check, a model may raise anything here
    if check:
        found.refuse_wrong()
    return str(found.provenance()["derivatives"])


def refuse_unusable(parameters: Mapping[str, nn.Parameter], check: bool) -> None:
    """Refuse contexts and parameters with which second derivatives of a loss fail or are wrong.

    Args:
        parameters: The parameters of the curvature.
        check: True to refuse tensor hooks, too.

    Raises:
        RuntimeError: If inference mode or autocast is on.
        ValueError: If a parameter has a hook.
    """
    first = next(iter(parameters.values()))
    refuse_contexts(first.dtype, first.device)
    if check:
        refuse_tensor_hooks(parameters)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
