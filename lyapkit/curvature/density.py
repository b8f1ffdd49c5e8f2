"""The analysis `spectral_density`: the distribution of all eigenvalues of a curvature operator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.checks.arguments import check_integer
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.checks.progress import shown_products
from lyapkit.checks.randomness import make_generator
from lyapkit.curvature.earlier_eigenvectors import eigenpairs_of, strangers
from lyapkit.curvature.krylov.distribution import axis, cumulative_band, gaussian, probe_error, smoothed
from lyapkit.curvature.krylov.eigenpairs import (
    BLOCK_SIZE,
    RESOLUTION,
    TOLERANCE,
    default_basis_size,
    leading_eigenpairs,
)
from lyapkit.curvature.krylov.quadrature import Quadrature, lanczos_quadrature
from lyapkit.curvature.parameters import ParameterChoice
from lyapkit.curvature.problem import CurvatureProblem, curvature_problem
from lyapkit.curvature.products.operators import Operator
from lyapkit.curvature.recurrent.products import MEMORY_BUDGET
from lyapkit.losses.batch_weights import Reduction
from lyapkit.losses.batches import Batch
from lyapkit.results import make_dataset, provenance

Scale = Literal["linear", "log"]
MOST_PRODUCTS = 2000
"""Largest number of products for computing the eigenvectors that are taken out, besides two for each."""
DECADES = 0.1
"""Default kernel width on the logarithmic scale."""


@named_arguments()
def spectral_density(
    model: object,
    batches: Batch | Iterable[Batch],
    loss: Callable[[Any, Any], Tensor],
    *,
    operator: Operator = "hessian",
    probes: int = 8,
    order: int = 80,
    deflate: int | xr.Dataset = 0,
    scale: Scale = "linear",
    kernel_width: float | None = None,
    linear_threshold: float | None = None,
    points: int | None = None,
    confidence: float = 0.95,
    readout: Callable[[Tensor], Tensor] | None = None,
    parameters: ParameterChoice | None = None,
    reduction: Reduction | None = None,
    batch_weight: Callable[[Any], float] | None = None,
    lengths: Any = None,
    batch_first: bool | None = None,
    block_size: int = 8,
    rng: torch.Generator | int | None = None,
    memory_budget: int = MEMORY_BUDGET,
    check: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Estimate the distribution of the eigenvalues of the Hessian of a loss, or of its two parts in eq. (7).

    The method is stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; Ghorbani, Krishnan & Xiao 2019). From a random
    unit vector v, m Lanczos steps with full reorthogonalisation give m nodes with weights. They reproduce the first
    2m - 1 moments of the distribution under v exactly. Their averages over v are the moments of the spectrum. This
    takes ``probes`` x ``order`` products.

    The cumulative distribution comes with a band that covers two errors: that of the quadrature, by the inequalities
    of Chebyshev, Markov and Stieltjes, and that of the probes. Let F be the fraction of eigenvalues below a value. For
    v uniform on the unit sphere of P dimensions, the weight of v below this value has the mean F and the variance
    2 F (1 - F) / (P + 2). The mean over the probes gives a Wilson interval. If there are many parameters, few probes
    are therefore enough. The error of the smoothed density covers the probes only. The density itself also depends on
    the kernel.

    Args:
        model: As for `lyapkit.hessian_spectrum`.
        batches: As for `lyapkit.hessian_spectrum`.
        loss: As for `lyapkit.hessian_spectrum`.
        operator: As for `lyapkit.hessian_spectrum`.
        probes: Number of random vectors v.
        order: Number of Lanczos steps m for each.
        deflate: Number of leading eigenvectors to take out first, or a result of `lyapkit.hessian_spectrum` for the
            same operator with eigenvectors. The rest of the spectrum is then resolved better, and the eigenvalues that
            were taken out are counted exactly.
        scale: Either ``"linear"``, or ``"log"`` for the signed logarithmic axis u = asinh(lambda / 2t) / ln 10. This
            resolves eigenvalues near zero: it counts decades beyond the threshold t, and is linear within it.
        kernel_width: Standard deviation of the Gaussian kernel. On the linear scale it is in units of the eigenvalues,
            by default the range of the spectrum / ``order``; on the logarithmic scale in decades, by default 0.1.
        linear_threshold: The threshold t of ``scale="log"``; 1e-4 of the largest magnitude by default.
        points: Number of grid points, from four kernel widths below the spectrum to four above it. By default it is
            1,000, or five for each kernel width if that is more, but at most 100,000.
        confidence: Confidence level of the band of the cumulative distribution, at each point separately.
        readout: As for `lyapkit.hessian_spectrum`.
        parameters: As for `lyapkit.hessian_spectrum`.
        reduction: As for `lyapkit.hessian_spectrum`.
        batch_weight: As for `lyapkit.hessian_spectrum`.
        lengths: As for `lyapkit.hessian_spectrum`.
        batch_first: As for `lyapkit.hessian_spectrum`.
        block_size: Number of probes that run at once. They need ``block_size`` x ``order`` vectors of the length of all
            parameters in float64, besides the memory of a product with as many columns.
        rng: Generator or seed of the probes.
        memory_budget: As for `lyapkit.hessian_spectrum`.
        check: As for `lyapkit.hessian_spectrum`.
        progress: True to show a progress bar (of products).

    Returns:
        A Dataset with

        - ``quadrature_node``, ``quadrature_weight`` (probe, node): nodes and weights of the spectrum without the
          deflated part. The weights of a probe sum to 1. Nodes of weight zero fill up the rest if a probe ended early;
        - ``density`` and ``density_standard_error`` over ``value``, per unit of the eigenvalue; with ``scale="log"``
          ``density_per_decade`` and ``density_per_decade_standard_error`` instead;
        - ``cumulative_distribution`` over ``value``, the fraction of eigenvalues up to each value, and its band,
          ``cumulative_distribution_low`` and ``cumulative_distribution_high``;
        - ``trace`` and ``trace_standard_error``, from the first moment;
        - ``deflated_eigenvalue`` (rank), if any were taken out.

        Attributes: ``kernel_width``, ``scale``, ``linear_threshold`` (0 on a linear scale), ``confidence``,
        ``parameter_count``, ``products`` and ``gradient_equivalents``.

    Raises:
        TypeError: If an argument is of the wrong kind; see `lyapkit.hessian_spectrum`.
        ValueError: If an argument is out of range, or eigenvectors belong to another operator; see
            `lyapkit.hessian_spectrum`.
        FloatingPointError: If a product is not finite.
        RuntimeError: If the model cannot be differentiated twice.

    Example:
        >>> import lyapkit, torch
        >>> x = torch.diag(torch.tensor([3.0, 2.0, 1.0])).double()
        >>> model = torch.nn.Linear(3, 1, bias=False).double()
        >>> ds = lyapkit.spectral_density(model, (x, torch.zeros(3, 1).double()), torch.nn.functional.mse_loss, rng=0)
        >>> ds.quadrature_node.isel(probe=0)[ds.quadrature_weight[0] > 0].values.round(6).tolist()  # of 2 X'X / n
        [0.666667, 2.666667, 6.0]
    """
    probes, order = _at_least("probes", probes, 1), _at_least("order", order, 1)
    if points is not None:
        points = _at_least("points", points, 2)
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}.')
    if linear_threshold is not None and scale == "linear":
        raise TypeError('linear_threshold belongs to scale="log".')
    for name, width in (("kernel_width", kernel_width), ("linear_threshold", linear_threshold)):
        if width is not None and not (isinstance(width, int | float) and 0 < width < math.inf):
            raise ValueError(f"{name} must be a positive number or None, got {width!r}.")
    if not (isinstance(confidence, int | float) and 0 < confidence < 1):
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}.")
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
    with shown_products(problem.product, f"{operator} products", progress) as product:
        known, atoms = _deflated(deflate, problem, product, generator)
        size, room = problem.size, problem.size - atoms.numel()
        quadrature = _quadrature(product, probes, min(order, room), known, generator, block_size)
    exact = (quadrature.steps < quadrature.nodes.shape[1]) | (quadrature.nodes.shape[1] == room)
    everything = torch.cat((quadrature.nodes.reshape(-1), atoms))
    largest = float(everything.abs().max()) or 1.0
    threshold = 0.0
    if scale == "log":
        threshold = 1e-4 * largest if linear_threshold is None else float(linear_threshold)
    to_position, to_value = axis(threshold)
    positions = to_position(everything)
    low, high = float(positions.min()), float(positions.max())
    if kernel_width is None:
        kernel_width = DECADES if scale == "log" else ((high - low) or largest) / quadrature.nodes.shape[1]
    width = float(kernel_width)
    if points is None:
        points = min(max(1000, math.ceil(5 * ((high - low) / width + 8))), 100_000)
    grid = torch.linspace(low - 4 * width, high + 4 * width, points, dtype=torch.float64, device="cpu")
    first, second = smoothed(quadrature, grid, to_position, width)
    share = room / size
    density = share * first + gaussian(grid[:, None] - to_position(atoms), width).sum(dim=1) / size
    spread = (second - first**2).clamp(min=0)
    values_there = to_value(grid)
    band = cumulative_band(quadrature, values_there, exact, atoms, size, confidence)
    mean = (quadrature.weights * quadrature.nodes).sum(dim=1).mean()
    variance = ((quadrature.weights * quadrature.nodes**2).sum(dim=1).mean() - mean**2).clamp(min=0)
    name = "density_per_decade" if scale == "log" else "density"
    values = {
        "quadrature_node": quadrature.nodes.numpy(),
        "quadrature_weight": quadrature.weights.numpy(),
        name: density.numpy(),
        f"{name}_standard_error": (share * probe_error(spread, room, probes)).numpy(),
        "cumulative_distribution_low": band[0].numpy(),
        "cumulative_distribution": band[1].numpy(),
        "cumulative_distribution_high": band[2].numpy(),
        "trace": (room * mean + atoms.sum()).numpy(),
        "trace_standard_error": (room * probe_error(variance, room, probes)).numpy(),
    }
    coordinates: dict[str, Any] = {
        "probe": np.arange(probes),
        "node": np.arange(1, quadrature.nodes.shape[1] + 1),
        "value": values_there.numpy(),
    }
    if atoms.numel():
        values["deflated_eigenvalue"] = atoms.numpy()
        coordinates["rank"] = np.arange(1, atoms.numel() + 1)
    config: dict[str, object] = {
        **problem.settings,
        "probes": probes,
        "order": order,
        "points": points,
        "block_size": block_size,
        "deflated": atoms.numel(),
        "rng_seed": generator.initial_seed(),
    }
    attributes = provenance(config, dtype=problem.dtype, device=problem.device)
    attributes |= {"kernel_width": width, "scale": scale, "linear_threshold": threshold, "confidence": confidence}
    attributes["parameter_count"] = size
    attributes |= problem.cost()
    return make_dataset("spectral_density", values, coordinates, attributes)


def _at_least(name: str, value: int, least: int) -> int:
    value = check_integer(name, value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return value


def _deflated(
    deflate: int | xr.Dataset,
    problem: CurvatureProblem,
    product: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows to take out, and their eigenvalues, ordered by magnitude."""
    if isinstance(deflate, xr.Dataset):
        columns, values = eigenpairs_of(deflate, problem, "deflate")
        k = values.numel()
        if strange := strangers(columns, deflate, product, problem.dtype):
            raise ValueError(f"deflate has {strange}")
    else:
        k = check_integer("deflate", deflate, "an integer or a result of hessian_spectrum")
    if not 0 <= k < problem.size:
        raise ValueError(
            f"deflate must leave at least one of {problem.size} dimensions, so it must be between 0 and "
            f"{problem.size - 1}, got {k}."
        )
    if k == 0:
        empty = torch.empty(0, problem.size, dtype=torch.float64, device=problem.device)
        return empty, torch.empty(0, dtype=torch.float64, device="cpu")
    if not isinstance(deflate, xr.Dataset):
        pairs = leading_eigenpairs(
            product,
            problem.size,
            k,
            which="LM",
            tolerance=TOLERANCE[problem.dtype],
            resolution=RESOLUTION[problem.dtype],
            max_products=MOST_PRODUCTS + 2 * k,
            block_size=BLOCK_SIZE,
            basis_size=default_basis_size(problem.size, k, BLOCK_SIZE),
            generator=generator,
            device=problem.device,
        )
        if not pairs.complete:
            warnings.warn(
                f"the {k} leading eigenvectors did not converge within {MOST_PRODUCTS + 2 * k} products. Compute them "
                "with hessian_spectrum and more max_products, and pass the result as deflate=.",
                stacklevel=4,
            )
        columns, values = pairs.vectors, pairs.values
    return columns.T.contiguous(), values


def _quadrature(
    product: Callable[[Tensor], Tensor],
    probes: int,
    order: int,
    known: Tensor,
    generator: torch.Generator,
    block_size: int,
) -> Quadrature:
    """Run Lanczos from all probes, a block of them at a time."""
    starts = torch.randn(probes, known.shape[1], generator=generator, dtype=torch.float64, device="cpu").to(known)
    for _ in range(2):
        starts = starts - (starts @ known.T) @ known
    starts = starts / torch.linalg.vector_norm(starts, dim=1, keepdim=True)
    parts = [lanczos_quadrature(product, some, order, known) for some in torch.split(starts, block_size)]
    return Quadrature(
        *(torch.cat(pieces) for pieces in zip(*((p.nodes, p.weights, p.steps) for p in parts), strict=True))
    )
