"""The analysis `hessian_spectrum`: leading curvature eigenvalues of a loss with respect to the parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.adapters import as_map
from lyapkit.adapters.unfused import unfused
from lyapkit.arguments import check_integer, refuse_inference_mode
from lyapkit.curvature.lanczos import Which, lanczos
from lyapkit.curvature.operators import WeightedLoss
from lyapkit.progress import progress_bar
from lyapkit.randomness import make_generator
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.results import make_dataset, provenance
from lyapkit.unrolled import UnrolledNetwork, resolve_readout

Operator = Literal["hessian", "ggn", "residual"]
Batch = tuple[Any, Any]


def hessian_spectrum(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    k: int = 20,
    operator: Operator = "hessian",
    which: Which = "LM",
    readout: Callable[[Tensor], Tensor] | None = None,
    parameters: Sequence[str] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    batch_weight: Callable[[Any], float] | None = None,
    learning_rate: float | None = None,
    tolerance: float | None = None,
    max_products: int = 2000,
    eigenvectors: bool = False,
    rng: torch.Generator | int | None = None,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Leading eigenvalues of the Hessian of a loss, or of its two parts in eq. (7).

    Products by double backward through elementary steps, Lanczos in float64 with full reorthogonalisation and locking:
    multiple eigenvalues appear as often as they should, ghosts never.

    Args:
        model: a module whose ``forward`` maps inputs to what ``loss`` reads; or, with ``readout``, anything
            `lyapkit.as_map` takes, which is then run over inputs (T, B, M) and read out at the last step.
        batches: one ``(inputs, targets)`` pair or an iterable of them, which is read once.
        loss: ``loss(outputs, targets)``, a scalar.
        k: number of eigenvalues.
        operator: ``"hessian"``, ``"ggn"`` (generalised Gauss-Newton) or ``"residual"`` (their difference).
        which: ``"LM"`` largest magnitude, ``"LA"`` largest, ``"SA"`` smallest.
        readout: see ``model``; its parameters, when it is a module, are analysed too, under ``readout.``.
        parameters: names of the parameters to include; all that require gradients by default.
        reduction: how ``loss`` reduces over its batch: the curvature is that of the mean or of the sum over all
            batches.
        batch_weight: with ``"mean"``, weight of a batch from its targets. By default ``targets.numel()``, over
            which PyTorch's mean losses average, so that unequal batches give the mean over the whole data. (A
            root-mean-square loss is not an average over samples: give all of its data as one batch.)
        learning_rate: eta, for the effective learning rates 1/(1 - eta lambda) of eq. (6); left out by default.
        tolerance: on the residual |H v - lambda v| relative to the largest |lambda|; 1e-6 for float64 and 1e-4 for
            float32 models by default, about ten times the rounding of a product.
        max_products: give up after so many products; the result is then flagged and a warning says so.
        eigenvectors: also return them.
        rng: generator or seed of the start vectors.
        check: compute the gradient twice first and refuse a loss that is not deterministic.
        progress: show a progress bar (products).

    Returns:
        A Dataset over ``rank`` (by magnitude) with ``eigenvalue``, ``residual`` (the recomputed |H v - lambda v|: a
        true eigenvalue lies within it), and on request ``effective_learning_rate`` and ``eigenvector`` (parameter,
        rank). The attribute ``converged`` is 1 when every residual met the tolerance.

    Raises:
        TypeError: no readout where one is needed, or batches that are not pairs.
        ValueError: k out of range, unknown names, a loss that is not a finite scalar or not deterministic.
        FloatingPointError: a product is not finite.

    Example:
        >>> import lyapkit, torch
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
        >>> ds = lyapkit.hessian_spectrum(model, (x, torch.zeros(2, 1).double()), torch.nn.functional.mse_loss, k=2)
        >>> ds.eigenvalue.values.round(6).tolist()  # of 2 X'X / n
        [4.0, 1.0]
    """
    refuse_inference_mode()
    network, available = _network(model, readout)
    chosen = _choose(available, parameters)
    pairs = _pairs(batches)
    objective = WeightedLoss(network, chosen, pairs, _weights(pairs, reduction, batch_weight), loss)
    operators = {"hessian": objective.hessian, "ggn": objective.ggn, "residual": objective.residual}
    if operator not in operators:
        raise ValueError(f"operator must be one of {', '.join(operators)}, got {operator!r}.")
    if which not in ("LM", "LA", "SA"):
        raise ValueError(f'which must be "LM", "LA" or "SA", got {which!r}.')
    k = check_integer("k", k)
    if not 1 <= k <= objective.size:
        raise ValueError(f"k must be between 1 and the number of parameters {objective.size}, got {k}.")
    first = objective.tensors[0]
    if tolerance is None:
        tolerance = 1e-6 if first.dtype == torch.float64 else 1e-4
    if not isinstance(tolerance, int | float) or not tolerance > 0:
        raise ValueError(f"tolerance must be a positive number, got {tolerance!r}.")
    max_products = check_integer("max_products", max_products)
    if max_products < 2 * k:
        raise ValueError(f"max_products must be at least 2 k = {2 * k}, got {max_products}.")
    if learning_rate is not None and not (isinstance(learning_rate, int | float) and np.isfinite(learning_rate)):
        raise ValueError(f"learning_rate must be a finite number or None, got {learning_rate!r}.")
    if first.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the model computes in {first.dtype}, too coarse for second derivatives; convert it with .double()."
        )
    generator = make_generator(rng)
    with _elementary(model), progress_bar(None, f"{operator} products", progress) as bar:
        _check_loss(objective, check)
        curvature = operators[operator]()

        def product(vector: Tensor) -> Tensor:
            bar.update()
            return curvature(vector)

        pairs_found = lanczos(
            product,
            objective.size,
            k,
            which=which,
            tolerance=tolerance,
            max_products=max_products,
            generator=generator,
            device=first.device,
        )
    if not pairs_found.converged:
        warnings.warn(
            f"the {k} eigenvalues did not all reach the tolerance {tolerance:g} within {max_products} products; see "
            "`residual` in the result, and raise max_products or tolerance.",
            stacklevel=2,
        )
    order = pairs_found.values.abs().argsort(descending=True, stable=True)
    eigenvalue = pairs_found.values[order].cpu().numpy()
    values = {"eigenvalue": eigenvalue, "residual": pairs_found.residuals[order].cpu().numpy()}
    coordinates: dict[str, Any] = {"rank": np.arange(1, eigenvalue.size + 1)}
    if learning_rate is not None:
        with np.errstate(divide="ignore"):
            values["effective_learning_rate"] = 1 / (1 - learning_rate * eigenvalue)
    if eigenvectors:
        values["eigenvector"] = pairs_found.vectors[:, order].cpu().numpy()
        coordinates["parameter"] = np.arange(objective.size)
    config: dict[str, object] = {
        "operator": operator,
        "reduction": reduction,
        "which": which,
        "k": k,
        "parameters": {name: list(tensor.shape) for name, tensor in chosen.items()},
        "batches": len(pairs),
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "learning_rate": learning_rate,
        "tolerance": tolerance,
        "products": pairs_found.products,
        "rng_seed": generator.initial_seed(),
    }
    attributes = provenance(config, dtype=first.dtype, device=first.device)
    attributes["converged"] = int(pairs_found.converged)
    return make_dataset("hessian_spectrum", values, coordinates, attributes)


def parameter_count(model: object, readout: Callable[[Tensor], Tensor] | None) -> int:
    """Number of parameters whose curvature `hessian_spectrum` takes by default.

    Args:
        model: as `hessian_spectrum` takes it.
        readout: likewise.
    """
    return sum(tensor.numel() for tensor in _choose(_network(model, readout)[1], None).values())


def _network(
    model: object, readout: Callable[[Tensor], Tensor] | None
) -> tuple[Callable[[Any], Any], dict[str, nn.Parameter]]:
    if readout is None and isinstance(model, nn.Module):
        return model, dict(model.named_parameters())
    map = as_map(model)
    unrolled = UnrolledNetwork(map, resolve_readout(map, readout))
    return unrolled, dict(unrolled.named_parameters())


def _elementary(model: object) -> AbstractContextManager[None]:
    is_plain = isinstance(model, nn.Module) and not isinstance(model, RecurrentMap)
    return unfused(cast(nn.Module, model)) if is_plain else nullcontext()


def _choose(available: Mapping[str, nn.Parameter], names: Sequence[str] | None) -> dict[str, nn.Parameter]:
    if isinstance(names, str):
        raise TypeError(f"parameters must be a sequence of names, got the text {names!r}; write [{names!r}].")
    if names is None:
        chosen = {name: tensor for name, tensor in available.items() if tensor.requires_grad}
    else:
        unknown = [name for name in names if name not in available]
        if unknown:
            raise ValueError(f"unknown parameters {unknown}; the model has {sorted(available)}.")
        frozen = [name for name in names if not available[name].requires_grad]
        if frozen:
            raise ValueError(f"parameters {frozen} do not require gradients; call .requires_grad_() on them.")
        chosen = {name: available[name] for name in names}
    if not chosen:
        raise ValueError("the model has no parameters that require gradients, so it has no Hessian.")
    return chosen


def _pairs(batches: Batch | Iterable[Batch]) -> list[Batch]:
    if isinstance(batches, tuple) and len(batches) == 2 and not isinstance(batches[0], tuple | list):
        return [batches]
    pairs = list(_iterate(batches))
    if not pairs:
        raise ValueError("there are no batches; a loader can be read once only, so pass a list to use it again.")
    for pair in pairs:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise TypeError(
                f"batches must be an (inputs, targets) pair or an iterable of pairs, got {type(pair).__name__} in it."
            )
    return [(inputs, targets) for inputs, targets in pairs]


def _iterate(batches: Any) -> Iterator[Any]:
    try:
        return iter(batches)
    except TypeError:
        raise TypeError(
            f"batches must be an (inputs, targets) pair or an iterable of pairs, got {type(batches).__name__}."
        ) from None


def _weights(pairs: Sequence[Batch], reduction: str, batch_weight: Callable[[Any], float] | None) -> list[float]:
    if reduction == "sum":
        if batch_weight is not None:
            raise TypeError("batch_weight is for losses that average; a sum over batches has no weights.")
        return [1.0] * len(pairs)
    if reduction != "mean":
        raise ValueError(f'reduction must be "mean" or "sum", got {reduction!r}.')
    weights = [_weight(targets, batch_weight) for _, targets in pairs]
    return [weight / sum(weights) for weight in weights]


def _weight(targets: Any, batch_weight: Callable[[Any], float] | None) -> float:
    if batch_weight is not None:
        weight = float(batch_weight(targets))
    elif isinstance(targets, Tensor):
        weight = float(targets.numel())
    else:
        raise TypeError(
            f"targets are {type(targets).__name__}, not a tensor; say what a batch weighs with batch_weight=."
        )
    if not (weight > 0 and np.isfinite(weight)):
        raise ValueError(f"the weight of a batch must be positive and finite, got {weight}.")
    return weight


def _check_loss(objective: WeightedLoss, check: bool) -> None:
    inputs, targets = objective.batches[0]
    with torch.enable_grad():
        outputs = objective.network(inputs)
        if isinstance(outputs, tuple):
            raise TypeError(
                "the model returns a tuple, as built-in recurrent layers do; give readout=, from the output of the "
                "last step to what the loss reads."
            )
        value = objective.loss(outputs, targets)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return a scalar tensor, got {found}; reduce it over the batch.")
    if not bool(torch.isfinite(value)):
        raise ValueError(f"the loss is {value.item()}; check weights, inputs and targets.")
    if not value.requires_grad:
        raise ValueError("the loss does not depend differentiably on the parameters; check loss and model.")
    if check:
        once, twice = objective.gradient(), objective.gradient()
        if not bool(torch.isfinite(once).all()):
            raise FloatingPointError(
                "the gradient of the loss is not finite; check the loss (a root-mean-square loss has no derivative "
                "where it is zero)."
            )
        if not torch.allclose(once, twice, rtol=1e-4, atol=1e-4 * float(once.abs().max())):
            raise ValueError(
                "the gradient differs between two calls, so the loss is not deterministic; call .eval() on the model "
                "(dropout, batch norm), and draw no random numbers in it."
            )
