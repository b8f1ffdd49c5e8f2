"""Eigenvectors of an earlier result, to start from or to take out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lyapkit.curvature.krylov.eigenpairs import TOLERANCE
from lyapkit.curvature.parameters import names_and_shapes
from lyapkit.curvature.problem import CurvatureProblem
from lyapkit.curvature.products.operators import OPERATORS, BlockProduct, Operator

ORTHONORMAL = 1e-5
"""Deviation from orthonormal columns that rounding to float32 may cause."""


def start_vectors(start: xr.Dataset | Tensor, problem: CurvatureProblem) -> Tensor:
    """Return the columns that a search starts from.

    Args:
        start: A result of `lyapkit.hessian_spectrum` with eigenvectors, for the same parameters; or columns
            (parameter, any).
        problem: The problem to solve.

    Returns:
        Shape (P, any), float64, without columns of zeros.

    Raises:
        TypeError: If it is neither a Dataset nor a tensor.
        ValueError: If it holds no eigenvectors, or they belong to other parameters, are not finite, or are all zero.
    """
    if isinstance(start, xr.Dataset):
        columns = eigenvectors_of(start, problem.objective.parameters, "start")
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
    """Return the orthonormal eigenvectors (P, k) and eigenvalues (k,) of an earlier result for the same operator.

    Args:
        spectrum: A result of `lyapkit.hessian_spectrum` with eigenvectors.
        problem: The problem that they are used for.
        name: Name of the argument, in messages.

    Raises:
        ValueError: If it holds no eigenvectors; or they belong to another operator or other parameters, or are not
            orthonormal.
    """
    columns = eigenvectors_of(spectrum, problem.objective.parameters, name).to(problem.device)
    theirs = operator_of(spectrum, name)
    if theirs != problem.operator:
        raise ValueError(
            f"{name} has eigenvectors of the operator {theirs!r}, but the operator here is {problem.operator!r}. "
            "Compute them for this one."
        )
    products = columns.T @ columns
    deviation = float((products - torch.eye(len(products), device="cpu").to(products)).abs().max())
    if not deviation <= ORTHONORMAL:
        raise ValueError(
            f"the eigenvectors of {name} are not orthonormal: their inner products are off by {deviation:.3g}. Pass "
            "the result as hessian_spectrum returned it."
        )
    return columns, torch.from_numpy(spectrum["eigenvalue"].values.copy())


def strangers(columns: Tensor, spectrum: xr.Dataset, product: BlockProduct, dtype: torch.dtype) -> str:
    """Compare the residuals of eigenvectors here with those in their result, by one product with all of them.

    Args:
        columns: The eigenvectors, shape (P, k).
        spectrum: The result that they are the first k eigenvectors of.
        product: Product with the operator whose eigenvectors they should be.
        dtype: Type that the model computes in.

    Returns:
        The end of a sentence that says how they differ. It is empty if they do not. They do if they belong to other
        weights, batches or another loss.
    """
    count = columns.shape[1]
    values = torch.from_numpy(spectrum["eigenvalue"].values[:count].copy()).to(columns)
    residuals = torch.from_numpy(spectrum["residual"].values[:count].copy()).to(columns)
    found = torch.linalg.vector_norm(product(columns) - values * columns, dim=0)
    wrong = ~(found <= 10 * residuals + TOLERANCE[dtype] * values.abs().max())
    if not bool(wrong.any()):
        return ""
    place = int(wrong.nonzero()[0])
    return (
        f"eigenvectors of other weights, batches or another loss: |A v - lambda v| is {float(found[place]):.3g} "
        f"for lambda = {float(values[place]):.6g}, where the result has a residual of {float(residuals[place]):.3g}; "
        "compute them for this model and these batches."
    )


def eigenvectors_of(spectrum: xr.Dataset, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """Return the eigenvectors of an earlier result, shape (P, k), float64.

    Args:
        spectrum: A result of `lyapkit.hessian_spectrum`.
        parameters: The parameters that their entries must belong to, in order.
        name: Name of the argument, for messages.

    Raises:
        ValueError: If there are none, or they belong to other parameters, or to the same ones in another order.
    """
    if getattr(spectrum, "attrs", {}).get("analysis") != "hessian_spectrum" or "eigenvector" not in spectrum:
        raise ValueError(f"{name} must be a result of hessian_spectrum with eigenvectors=True.")
    if {"rank", "parameter"} != set(spectrum["eigenvector"].dims):
        raise ValueError(
            f"the eigenvectors of {name} must have the dims parameter and rank, got "
            f"{', '.join(map(str, spectrum['eigenvector'].dims))}; select with a list, as in .isel(rank=[0])."
        )
    _check_parameters(spectrum, parameters, name)
    return torch.from_numpy(spectrum["eigenvector"].transpose("parameter", "rank").values.astype("float64"))


def operator_of(spectrum: xr.Dataset, name: str) -> Operator:
    """Return the operator whose eigenvectors a result has.

    Args:
        spectrum: A result of `lyapkit.hessian_spectrum`.
        name: Name of the argument, for messages.

    Raises:
        ValueError: If the result does not name an operator, or names an unknown one.
    """
    found = _setting(spectrum, "operator", name)
    for operator in OPERATORS:
        if found == operator:
            return operator
    raise ValueError(
        f"{name} has the operator {found!r} in its config_json, expected one of {', '.join(OPERATORS)}. Pass the "
        "result as hessian_spectrum returned it."
    )


def _setting(spectrum: xr.Dataset, key: str, name: str) -> Any:
    settings = json.loads(spectrum.attrs.get("config_json", "{}"))
    if key not in settings:
        raise ValueError(
            f"{name} does not say its {key}: the attribute config_json, or that entry of it, is missing. Pass the "
            "result as hessian_spectrum returned it."
        )
    return settings[key]


def _check_parameters(spectrum: xr.Dataset, parameters: Mapping[str, Tensor], name: str) -> None:
    theirs, ours = _setting(spectrum, "parameters", name), names_and_shapes(parameters)
    if theirs != ours:
        raise ValueError(
            f"{name} must be a result for the parameters {_listed(ours)}, in this order, got one for "
            f"{_listed(theirs)}. Compute it for the same model with the same parameters=[...]."
        )


def _listed(parameters: Iterable[Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in parameters)
