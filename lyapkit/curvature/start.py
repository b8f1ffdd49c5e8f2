"""Eigenvectors of an earlier result, to begin with or to take out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lyapkit.curvature.operators import BlockProduct
from lyapkit.curvature.parameters import names_and_shapes
from lyapkit.curvature.problem import CurvatureProblem

STRANGE = 0.01
"""Residuals of this much of the largest eigenvalue are taken for those of another operator, not for rounding."""


def start_vectors(start: xr.Dataset | Tensor, problem: CurvatureProblem) -> Tensor:
    """Columns to begin with.

    Args:
        start: a result of `lyapkit.hessian_spectrum` with eigenvectors, of the same parameters, or columns
            (parameter, any).
        problem: what they are for.

    Returns:
        Shape (P, any), float64, without columns of zeros.

    Raises:
        TypeError: neither a Dataset nor a tensor.
        ValueError: no eigenvectors, or not of these parameters, or not finite, or all zero.
    """
    if isinstance(start, xr.Dataset):
        columns = _eigenvectors(start, problem, "start")
    elif isinstance(start, Tensor):
        columns = start.detach()
    else:
        raise TypeError(f"start must be a result of hessian_spectrum or a tensor, got {type(start).__name__}.")
    if columns.ndim != 2 or columns.shape[0] != problem.size:
        raise ValueError(f"start must have shape ({problem.size}, any), got {tuple(columns.shape)}.")
    columns = columns.to(problem.device, torch.float64)
    if not bool(torch.isfinite(columns).all()):
        raise ValueError("start is not finite.")
    columns = columns[:, torch.linalg.vector_norm(columns, dim=0) > 0]
    if columns.shape[1] == 0:
        raise ValueError("start holds no direction: it is empty or zero.")
    return columns


def eigenpairs_of(spectrum: xr.Dataset, problem: CurvatureProblem, name: str) -> tuple[Tensor, Tensor]:
    """Orthonormal eigenvectors, columns (P, k), and eigenvalues (k,) of an earlier result for the same operator.

    Args:
        spectrum: a result of `lyapkit.hessian_spectrum` with eigenvectors.
        problem: what they are for.
        name: of the argument, in messages.

    Raises:
        TypeError: not a Dataset.
        ValueError: no eigenvectors, or not of this operator and these parameters.
    """
    if not isinstance(spectrum, xr.Dataset):
        raise TypeError(f"{name} must be a result of hessian_spectrum, got {type(spectrum).__name__}.")
    columns = _eigenvectors(spectrum, problem, name).to(problem.device)
    theirs = json.loads(spectrum.attrs["config_json"])["operator"]
    if theirs != problem.operator:
        raise ValueError(f"{name} has the eigenvectors of the operator {theirs!r}, and this is {problem.operator!r}.")
    return columns, torch.from_numpy(spectrum["eigenvalue"].values.copy())


def refuse_strangers(columns: Tensor, spectrum: xr.Dataset, product: BlockProduct, name: str) -> None:
    """Refuse eigenvectors of other weights or data, by one product with the first and the last of them.

    Args:
        columns: the eigenvectors, shape (P, k).
        spectrum: the result they are from.
        product: of the operator whose they should be.
        name: of the argument, in messages.

    Raises:
        ValueError: |A v - lambda v| is far above the residual that the result has.
    """
    ends = sorted({0, columns.shape[1] - 1})
    values = torch.from_numpy(spectrum["eigenvalue"].values[ends]).to(columns)
    residuals = torch.from_numpy(spectrum["residual"].values[ends]).to(columns)
    found = torch.linalg.vector_norm(product(columns[:, ends]) - values * columns[:, ends], dim=0)
    wrong = found > 10 * residuals + STRANGE * values.abs().max()
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} has eigenvectors of other weights, batches or another loss: |A v - lambda v| is "
            f"{float(found[place]):.3g} for lambda = {float(values[place]):.3g}, where {name} has a residual of "
            f"{float(residuals[place]):.3g}; compute them for this model and these batches."
        )


def _eigenvectors(spectrum: xr.Dataset, problem: CurvatureProblem, name: str) -> Tensor:
    if spectrum.attrs.get("analysis") != "hessian_spectrum" or "eigenvector" not in spectrum:
        raise ValueError(f"{name} must be a result of hessian_spectrum with eigenvectors=True.")
    check_parameters(spectrum, problem.objective.parameters, name)
    return torch.from_numpy(spectrum["eigenvector"].transpose("parameter", "rank").values.copy())


def check_parameters(spectrum: xr.Dataset, parameters: Mapping[str, Tensor], name: str) -> None:
    """Refuse eigenvectors whose entries belong to other parameters, or to the same in another order.

    Args:
        spectrum: a result of `lyapkit.hessian_spectrum`.
        parameters: what entries have to belong to, in order.
        name: of the argument, in messages.

    Raises:
        ValueError: expected and got are named.
    """
    theirs, ours = json.loads(spectrum.attrs["config_json"])["parameters"], names_and_shapes(parameters)
    if theirs != ours:
        raise ValueError(
            f"{name} must be a result for the parameters {_listed(ours)}, in this order, got one for "
            f"{_listed(theirs)}; compute it for the same model with the same parameters=[...]."
        )


def _listed(parameters: Iterable[Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in parameters)
