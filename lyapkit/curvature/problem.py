"""What all analyses of curvature start from: a loss over batches, checked, and the products of one of its operators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lyapkit.adapters import as_map
from lyapkit.adapters.unfused import unfused
from lyapkit.arguments import check_flag, check_integer, inference_tensors_explained, refuse_contexts
from lyapkit.curvature.batches import Batch, batch_pairs, batch_weights
from lyapkit.curvature.differences import check_products
from lyapkit.curvature.gradient_check import measure_gradient
from lyapkit.curvature.loss_check import check_loss
from lyapkit.curvature.operators import BlockProduct, WeightedLoss
from lyapkit.curvature.prepared import PreparedProducts
from lyapkit.curvature.recurrent_products import MEMORY_BUDGET, recurrent_products
from lyapkit.hooks import refuse_tensor_hooks
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.scalar_loss import check_loss_callable
from lyapkit.unrolled import UnrolledNetwork, resolve_readout

Operator = Literal["hessian", "ggn", "residual"]
OPERATORS = ("hessian", "ggn", "residual")


@dataclass
class CurvatureProblem:
    """One operator of one loss, ready to be multiplied with.

    Attributes:
        objective: the loss over all batches.
        operator: which of its operators.
        settings: the arguments that made it, as provenance.
        gradient_seconds: time of one gradient.
        derivative_error: relative deviation of a product from finite differences, -1 where none was measured.
        preparation_seconds: time of what all products share, such as the Jacobian of the outputs.
        products: columns multiplied so far.
        product_seconds: time they took.
    """

    objective: WeightedLoss
    operator: Operator
    settings: dict[str, object]
    gradient_seconds: float
    derivative_error: float
    preparation_seconds: float
    _multiply: BlockProduct = field(repr=False)
    _context: Callable[[], AbstractContextManager[None]] = field(repr=False)
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
        """The operator's product with the columns of a block, (P, b) -> (P, b), float64."""
        start = _now(self.device)
        with self._context():
            images = self._multiply(block)
        self.products += block.shape[1]
        self.product_seconds += _now(self.device) - start
        return images

    def cost(self) -> dict[str, object]:
        """Attributes of a result: the number of products, and the gradients that could have been had in their time.

        What all products share is counted with them.
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
    parameters: Sequence[str] | None,
    reduction: Literal["mean", "sum"],
    batch_weight: Callable[[Any], float] | None,
    columns: int,
    memory_budget: int = MEMORY_BUDGET,
    check: bool,
) -> CurvatureProblem:
    """Take what `lyapkit.hessian_spectrum` takes, and refuse what it cannot be computed for.

    Args:
        model: see `lyapkit.hessian_spectrum`, as the others.
        batches: likewise.
        loss: likewise.
        operator: likewise.
        readout: likewise.
        parameters: likewise.
        reduction: likewise.
        batch_weight: likewise.
        columns: how many columns of a block are differentiated together where there is no recursion through time.
        memory_budget: bytes that a recursion through time may keep.
        check: compare gradients with each other and products with finite differences of gradients.

    Raises:
        TypeError: see `lyapkit.hessian_spectrum`.
        ValueError: likewise.
        FloatingPointError: likewise.
    """
    if operator not in OPERATORS:
        raise ValueError(f"operator must be one of {', '.join(OPERATORS)}, got {operator!r}.")
    memory_budget = check_integer("memory_budget", memory_budget)
    if memory_budget < 0:
        raise ValueError(f"memory_budget must be a number of bytes of at least 0, got {memory_budget}.")
    columns = check_integer("block_size", columns)
    if columns < 1:
        raise ValueError(f"block_size must be at least 1, got {columns}.")
    check_flag("check", check)
    check_loss_callable(loss)
    network, available = network_and_parameters(model, readout)
    chosen = choose_parameters(available, parameters)
    refuse_unusable(chosen, check)
    pairs = batch_pairs(batches)
    weights = batch_weights(pairs, reduction, batch_weight)
    objective = WeightedLoss(network, chosen, pairs, weights, loss, columns)
    first = objective.tensors[0]

    def context() -> AbstractContextManager[None]:
        is_plain = isinstance(model, nn.Module) and not isinstance(model, RecurrentMap)
        return unfused(cast(nn.Module, model)) if is_plain else nullcontext()

    with context():
        check_loss(objective, check)
        derivatives = measured_gradient(objective, check)
        recurrent = recurrent_products(objective, memory_budget=memory_budget, check=check)
        products = PreparedProducts(recurrent or objective, lambda: _now(first.device))
        error = check_products(objective, products, operator) if check else -1.0
        start = _now(first.device)
        objective.gradient()
        seconds = _now(first.device) - start
        multiply = {"hessian": products.hessian, "ggn": products.ggn, "residual": products.residual}[operator]()
    settings: dict[str, object] = {
        "operator": operator,
        "reduction": reduction,
        "parameters": names_and_shapes(chosen),
        "batches": len(pairs),
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "derivative_error": error,
        "derivatives": derivatives,
        "by_recursion": recurrent is not None,
    }
    prepared = products.seconds[operator]
    return CurvatureProblem(objective, operator, settings, seconds, error, prepared, multiply, context)


def parameter_count(
    model: object, readout: Callable[[Tensor], Tensor] | None, parameters: Sequence[str] | None = None
) -> int:
    """Number of parameters whose curvature is taken.

    Args:
        model: as `lyapkit.hessian_spectrum` takes it.
        readout: likewise.
        parameters: likewise.
    """
    chosen = choose_parameters(network_and_parameters(model, readout)[1], parameters)
    return sum(tensor.numel() for tensor in chosen.values())


def network_and_parameters(
    model: object, readout: Callable[[Tensor], Tensor] | None
) -> tuple[Callable[[Any], Any], dict[str, nn.Parameter]]:
    """From inputs to what the loss reads, and the parameters on the way, by name."""
    if readout is None and isinstance(model, nn.Module):
        return model, dict(model.named_parameters())
    map = as_map(model)
    unrolled = UnrolledNetwork(map, resolve_readout(map, readout))
    return unrolled, dict(unrolled.named_parameters())


def choose_parameters(available: Mapping[str, nn.Parameter], names: Sequence[str] | None) -> dict[str, nn.Parameter]:
    """The named parameters, or all that require gradients.

    Raises:
        TypeError: something else than a sequence of names.
        ValueError: unknown or frozen parameters, or none at all, or of a type that has no curvature here.
    """
    if isinstance(names, str):
        raise TypeError(f"parameters must be a sequence of names, got the text {names!r}; write [{names!r}].")
    if names is None:
        chosen = {name: tensor for name, tensor in available.items() if tensor.requires_grad}
    else:
        _check_names(names)
        unknown = [name for name in names if name not in available]
        if unknown:
            raise ValueError(f"unknown parameters {unknown}; the model has {sorted(available)}.")
        frozen = [name for name in names if not available[name].requires_grad]
        if frozen:
            raise ValueError(f"parameters {frozen} do not require gradients; call .requires_grad_() on them.")
        chosen = {name: available[name] for name in names}
    if not chosen:
        raise ValueError("the model has no parameters that require gradients, so it has no Hessian.")
    for name, tensor in chosen.items():
        if tensor.is_complex():
            raise ValueError(
                f"parameters must be real (float32 or float64) to have a Hessian, got {name!r} of {tensor.dtype}; keep "
                "its real and imaginary part as parameters (torch.view_as_real) and join them with torch.complex."
            )
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"parameters must be float32 or float64, got {name!r} of {tensor.dtype}, too coarse for second "
                "derivatives; convert model and inputs with .double()."
            )
    return chosen


def _check_names(names: Any) -> None:
    if isinstance(names, Tensor | Iterator) or not isinstance(names, Iterable):
        raise TypeError(f"parameters must be a sequence of names, got {type(names).__name__}.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"parameters must be names, got {type(name).__name__} among them; write [name for name, _ in "
                "model.named_parameters()] for all of a module."
            )
    if not list(names):
        raise ValueError("parameters must name at least one, got none; leave it out for all that require gradients.")


def measured_gradient(objective: WeightedLoss, check: bool) -> str:
    """Return what differences say about the gradient: "checked", "surrogate" or "unchecked".

    Raises:
        ValueError: If it is wrong; only with ``check``.
    """
    try:
        found = measure_gradient(objective)
    except Exception:
        if check:
            raise
        return "unchecked"  # whatever a model does that nobody has looked at
    if check:
        found.refuse_wrong()
    return str(found.provenance()["derivatives"])


def refuse_unusable(parameters: Mapping[str, nn.Parameter], check: bool) -> None:
    """Refuse contexts and parameters in which a loss has no right second derivatives.

    Args:
        parameters: those that the curvature is taken with respect to.
        check: refuse tensor hooks, too.

    Raises:
        RuntimeError: If inference mode or autocast is on.
        ValueError: If a parameter has a hook.
    """
    first = next(iter(parameters.values()))
    refuse_contexts(first.dtype, first.device)
    if check:
        refuse_tensor_hooks(parameters)


def names_and_shapes(parameters: Mapping[str, Tensor]) -> list[list[object]]:
    """Which parameters, in the order in which the entries of vectors belong to them; as JSON has it."""
    return [[name, list(tensor.shape)] for name, tensor in parameters.items()]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
