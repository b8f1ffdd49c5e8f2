"""The analysis `hessian_spectrum`: leading curvature eigenvalues of a loss with respect to the parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.checks.arguments import check_flag, check_integer, check_positive
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import shown_products
from lyapkit.checks.randomness import make_generator
from lyapkit.curvature.earlier_eigenvectors import start_vectors
from lyapkit.curvature.krylov.convergence import residual_limits
from lyapkit.curvature.krylov.eigenpairs import (
    BLOCK_SIZE,
    RESOLUTION,
    TOLERANCE,
    default_basis_size,
    leading_eigenpairs,
)
from lyapkit.curvature.krylov.selection import WHICH, Which
from lyapkit.curvature.learning_rate import check_momentum, effective_learning_rates, stable_learning_rate
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.problem import curvature_problem, parameter_count
from lyapkit.curvature.products.operators import Operator
from lyapkit.curvature.recurrent.products import MEMORY_BUDGET
from lyapkit.losses.batch_weights import Reduction
from lyapkit.losses.batches import Batch
from lyapkit.results import make_dataset, provenance


@named_arguments()
def hessian_spectrum(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    k: int = 20,
    operator: Operator = "hessian",
    which: Which = "LM",
    readout: Callable[[Tensor], Tensor] | None = None,
    parameters: ParameterChoice | None = None,
    reduction: Reduction | None = None,
    batch_weight: Callable[[Any], float] | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    learning_rate: float | None = None,
    momentum: float = 0.0,
    tolerance: float | None = None,
    max_products: int = 2000,
    block_size: int = BLOCK_SIZE,
    basis_size: int | None = None,
    start: xr.Dataset | Tensor | None = None,
    eigenvectors: bool = False,
    rng: torch.Generator | int | None = None,
    memory_budget: int = MEMORY_BUDGET,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compute leading eigenvalues of the Hessian of a loss, or of its two parts in eq. (7).

    The method is block Lanczos with thick restarts, in float64 with full reorthogonalisation. Multiple eigenvalues
    appear with their multiplicity, and spurious copies never. If ``k`` is at least half the number of parameters, the
    whole matrix is computed and diagonalised instead, which takes fewer products. Products are those of
    `lyapkit.curvature_operator`.

    Args:
        model: A module whose ``forward`` maps inputs to what ``loss`` reads. With ``readout``, anything that
            `lyapkit.as_map` takes; it is run over inputs (T, B, M), or (T, M) for one sequence, and read out at the
            last step. Of a whole model, as_map(model, core=...), the parameters of core and readout are analysed; the
            module itself also has those of its encoder, and so another Hessian.
        batches: One ``(inputs, targets)`` pair or an iterable of them, such as a data loader, which is read once.
            They are pairs because the curvature is that of all data, which may come in several batches. Inputs and
            targets may be tuples or mappings; each is passed on as one argument. A tuple of two pairs could be one
            batch or two. Write ``[(inputs, targets)]`` for one, and a list of pairs for two.
        loss: A callable ``loss(outputs, targets)``, a scalar.
        k: Number of eigenvalues.
        operator: One of ``"hessian"``, ``"ggn"`` (generalised Gauss-Newton) or ``"residual"`` (their difference, which
            includes terms that the loss itself computes from the parameters, such as a weight decay).
        which: One of ``"LM"`` (largest magnitude), ``"LA"`` (largest), ``"SA"`` (smallest) or ``"BE"`` (half from each
            end, the odd one from the upper end).
        readout: See ``model``. If it is a module, its parameters are analysed too, under ``readout.``.
        parameters: The parameters to include: a name, a glob such as ``"*weight_hh*"``, a list of these, or a predicate
            ``(name, tensor) -> bool``. Globs and predicates choose among those that require gradients, which are all
            included by default. The result names those that were chosen. A tensor with several names, such as weights
            tied between map and readout, is one parameter: any of its names chooses it, and it comes under the first.
            Tensors that the loss depends on and the model does not have are left out with a warning. Those of a module
            that is called by a function given as ``readout`` are an example.
        reduction: Reduction of ``loss`` over its batch, ``"mean"`` or ``"sum"``: the curvature is that of the mean or
            of the sum over all batches. By default it is the loss's own ``reduction``, or else ``"mean"``.
        batch_weight: For means, a function from the targets of a batch to its weight, so that unequal batches give the
            mean over all data. By default, a loss from ``torch.nn`` or ``torch.nn.functional``, also one with options
            by ``functools.partial``, has the divisor of its mean as weight, which respects ignored targets and class
            weights. Other losses have ``targets.numel()`` (that of the inputs if targets are None), and the loss of two
            batches together is compared with their weighted sum. A loss that fails this check, such as a
            root-mean-square or contrastive one, depends on its batch as a whole: give all data as one batch, or
            weights.
        lengths: With ``readout``, the steps of each of B sequences of unequal length, (B,) integers; for several
            batches, a list of these. Each sequence is read out at its own last step. Later inputs are padding (any
            numbers) and change nothing. PackedSequences have their own lengths.
        batch_first: True if inputs have shape (B, T, M) instead of (T, B, M). The default is the module's own
            ``batch_first``. A model without ``readout`` is called itself, with its inputs unchanged.
        learning_rate: Rate :math:`\eta` for the effective learning rates :math:`1 / (1 - \eta\lambda)` of eq. (6) and
            for the largest stable rate; both are left out by default.
        momentum: Momentum b of stochastic gradient descent, for the largest stable learning rate.
        tolerance: Limit of the residual |H v - lambda v| relative to |lambda|. By default it is 1e-6 for float64 models
            and 1e-3 for float32. No residual needs to be below 1e-10 (float32: 1e-5) of the largest |lambda|. The limit
            is at most 1e-3, because with a larger one nearly equal eigenvalues could change places.
        max_products: Number of products after which the search gives up; the result is then flagged, with a warning.
        block_size: Number of vectors multiplied at once. The memory of a product grows with it. So does its speed, if
            there is no recursion through time.
        basis_size: Largest number of vectors of the length of all parameters that are kept, in float64. By default it
            is 2 ``k`` + 8 ``block_size``, or as many as 128 MiB hold, which saves products if eigenvalues are close.
        start: Eigenvectors to start from, for spectra along a training: an earlier result with ``eigenvector`` for the
            same parameters in the same order, or columns (parameter, any). New directions are searched, too.
        eigenvectors: True to return the eigenvectors, too.
        rng: Generator or seed of the start vectors.
        memory_budget: Bytes that may hold intermediate results of a recursion through time; what does not fit is
            recomputed. Products are compared with gradients by automatic differentiation, one batch at a time. If a
            batch of long sequences needs too much memory for that, give it as several batches.
        check: True to refuse losses that are not deterministic or have wrong second derivatives. The gradient is
            computed twice, a product is compared with finite differences of the gradient, and the loss of two batches
            together is compared with the sum of their losses.
        progress: True to show a progress bar (of products).

    Returns:
        A Dataset over ``rank`` (by magnitude) with

        - ``eigenvalue``, and ``residual``, the recomputed |H v - lambda v|. A true eigenvalue lies within the residual
          of each;
        - ``error_bound`` on the eigenvalue. It is quadratic in the residual if all other eigenvalues are farther away
          than that. (Those that were left out may be close to the last one, so its bound is no better than its
          residual.) The bound is for the operator as it is computed, with its rounding, and holds if the search has
          missed no eigenvalue;
        - ``converged``, 1 if the residual met the tolerance and, with float32, the eigenvalue is above 1e-5 of the
          largest |lambda|: products in float32 do not tell smaller ones from 0;
        - with ``learning_rate``: ``effective_learning_rate``; its limits over the residual interval of the eigenvalue,
          ``effective_learning_rate_low`` and ``..._high``; and ``contains_pole``, 1 if that interval contains the
          pole at eta lambda = 1, where all three are infinite;
        - with ``learning_rate``: ``stable_learning_rate``, 2(1 + b)/lambda with the largest positive eigenvalue lambda
          of all, infinite if none is positive. At a larger rate, `torch.optim.SGD` with momentum b leaves a minimum of
          this curvature. (b is heavy-ball momentum; for Nesterov's, the limit is 2(1 + b)/((1 + 2b) lambda).)
          ``which="LA"`` always finds the largest eigenvalue, "LM" does unless all that it finds are negative, and "SA"
          does not. If it is not found, the rate is left out, and the attribute ``stable_learning_rate`` says why;
        - on request ``eigenvector`` (parameter, rank): the flattened parameters one after the other, in the order of
          ``parameters`` in ``config_json``, a list of names with shapes.

        Attributes: ``converged``, 1 if all eigenvalues converged and the search for multiple eigenvalues was finished;
        ``products``; and ``gradient_equivalents``, the number of gradients that take the time of all products,
        including shared work (such as the Jacobian of the outputs). ``config_json`` names the ``method``, "lanczos" or
        "dense". Its ``batch_weights`` is the source of the weights of batches, and says if they could be checked.

    Raises:
        TypeError: If a readout is missing, or batches are not pairs.
        ValueError: If an argument is out of range, a name is unknown, or start vectors belong to other parameters; or
            if the loss is not a finite scalar, is not deterministic, has wrong or missing second derivatives,
            broadcasts outputs against targets, or differs between several batches and all of them together.
        FloatingPointError: If a product is not finite.
        RuntimeError: If the model cannot be differentiated twice.

    Example:
        >>> import lyapkit, torch
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
        >>> ds = lyapkit.hessian_spectrum(model, (x, torch.zeros(2, 1).double()), torch.nn.functional.mse_loss, k=2)
        >>> ds.eigenvalue.values.round(6).tolist()  # of 2 X'X / n
        [4.0, 1.0]
    """
    k = check_integer("k", k)
    max_products = check_integer("max_products", max_products)
    if which not in WHICH:
        raise ValueError(f"which must be one of {', '.join(WHICH)}, got {which!r}.")
    size = parameter_count(model, readout, parameters)
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the number of parameters {size}, got {k}.")
    if max_products < 2 * k:
        raise ValueError(f"max_products must be at least 2 k = {2 * k}, got {max_products}.")
    if learning_rate is not None:
        learning_rate = check_positive("learning_rate", learning_rate)
    momentum = check_momentum(momentum, learning_rate)
    if tolerance is not None:
        tolerance = check_positive("tolerance", tolerance)
    check_flag("eigenvectors", eigenvectors)
    generator = make_generator(rng)
    problem = curvature_problem(
        model,
        batches,
        loss,
        operator=operator,
        readout=readout,
        parameters=parameters,
        reduction=reduction,
        batch_weight=batch_weight,
        lengths=lengths,
        batch_first=batch_first,
        columns=block_size,
        memory_budget=memory_budget,
        check=check,
    )
    if basis_size is None:
        basis_size = default_basis_size(problem.size, k, block_size)
    basis_size = check_integer("basis_size", basis_size)
    if basis_size < min(k + 2 * block_size, problem.size):
        raise ValueError(f"basis_size must be at least k + 2 block_size = {k + 2 * block_size}, got {basis_size}.")
    guess = None if start is None else start_vectors(start, problem)
    tolerance = TOLERANCE[problem.dtype] if tolerance is None else tolerance
    resolution = RESOLUTION[problem.dtype]
    with shown_products(problem.product, f"{operator} products", progress) as product:
        pairs = leading_eigenpairs(
            product,
            problem.size,
            k,
            which=which,
            tolerance=tolerance,
            resolution=resolution,
            max_products=max_products,
            block_size=block_size,
            basis_size=basis_size,
            generator=generator,
            device=problem.device,
            start=guess,
        )
    limits = residual_limits(pairs.values, pairs.largest, tolerance, resolution)
    reached = pairs.residuals <= limits
    # values below the resolution may come from the rounding of float32 products; that of float64 is far below it
    resolved = (pairs.values.abs() > resolution * pairs.largest) | (problem.dtype != torch.float32)
    converged = reached & resolved
    if not bool(reached.all()):
        warnings.warn(
            f"{int((~reached).sum())} of the {k} eigenvalues did not reach the tolerance {tolerance:g} within "
            f"{problem.products} products. See `residual` and `converged` in the result, and raise max_products or "
            "tolerance.",
            stacklevel=3,
        )
    elif not bool(resolved.all()):
        warnings.warn(
            f"{int((~resolved).sum())} of the {k} eigenvalues are below {resolution:g} of the largest, which products "
            "in float32 do not resolve. See `converged` in the result, and give the model, inputs and targets "
            "in .double(), or ask for fewer eigenvalues.",
            stacklevel=3,
        )
    elif not pairs.complete:
        warnings.warn(
            f"{problem.products} products did not suffice to rule out further copies of multiple eigenvalues. Raise "
            "max_products, or block_size above the multiplicity.",
            stacklevel=3,
        )
    config: dict[str, object] = {
        **problem.settings,
        "which": which,
        "k": k,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "tolerance": tolerance,
        "max_products": max_products,
        "block_size": block_size,
        "basis_size": basis_size,
        "method": pairs.method,
        "warm_start": start is not None,
        "rng_seed": generator.initial_seed(),
    }
    attributes = provenance(config, dtype=problem.dtype, device=problem.device)
    attributes["converged"] = int(pairs.complete and bool(converged.all()))
    attributes |= problem.cost()
    order = pairs.values.abs().argsort(descending=True, stable=True)
    values = {
        "eigenvalue": pairs.values[order].numpy(),
        "residual": pairs.residuals[order].numpy(),
        "error_bound": pairs.error_bounds[order].numpy(),
        "converged": converged[order].numpy().astype(np.int8),
    }
    coordinates: dict[str, Any] = {"rank": np.arange(1, k + 1)}
    if learning_rate is not None:
        values |= effective_learning_rates(values["eigenvalue"], values["residual"], learning_rate)
        found = values["eigenvalue"]
        # if one of those of largest magnitude is above 0, it is the largest of all; if one is 0, so are all
        by_magnitude = which == "LM" and (float(found.max()) > 0 or not found.any())
        if k == problem.size or which in ("LA", "BE") or by_magnitude:
            values["stable_learning_rate"] = np.array(stable_learning_rate(found, momentum))
        else:
            attributes["stable_learning_rate"] = (
                f'left out: the largest eigenvalue is not among the {k} that which="{which}" finds; which="LA" finds it'
            )
    if eigenvectors:
        values["eigenvector"] = pairs.vectors[:, order.to(pairs.vectors.device)].cpu().numpy()
        coordinates["parameter"] = np.arange(problem.size)
    return make_dataset("hessian_spectrum", values, coordinates, attributes)
