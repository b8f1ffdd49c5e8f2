"""The table of a result: one row for each exponent, eigenvalue or point, with error, interval and verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.results.verdicts import COVARIANT, verdict, verdict_of_comparison

CONFIDENCE = 0.95
"""Confidence of the intervals from standard errors."""

COLUMNS = ("value", "error", "low", "high", "verdict")


def _no_result(given: object) -> str:
    """Say that summary was given something else than a result, and how to get one."""
    remedy = "; join several with xarray.DataTree.from_dict" if isinstance(given, dict) else ""
    return f"summary takes the Dataset of an analysis or a DataTree of several, got {type(given).__name__}{remedy}."


@named_arguments()
def summary(result: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Return a table of a result: one row for each exponent, eigenvalue or point.

    Args:
        result: The Dataset of any analysis, also with further dimensions such as ``seed`` or ``checkpoint``; or the
            DataTree of several analyses.

    Returns:
        A DataFrame indexed by what the rows are, such as trajectory and exponent. For a tree, the index is the path of
        the analysis and the row of its table. The columns:

        - ``value``: the exponent (`lyapunov_spectrum`, `covariant_vectors`; `variational_term`, at the last step of
          each sequence), the growth rate of gradients (`gradient_propagation`), the eigenvalue or the curvature along
          it (`hessian_spectrum`, `curvature_by_step`), the trace (`spectral_density`), the largest magnitude of an
          eigenvalue of each Jacobian (`jacobians`) or at each point (`fixed_points`), the part of the variance along
          each principal axis (`states`), or the differences of exponents, the distance and the largest angle of each
          subspace (`compare`).
        - ``error``: its standard error, or the bound on the error of a Hessian eigenvalue; NaN where an analysis gives
          none, since its values are exact up to rounding, or where there is no error, as of an exponent of -inf.
        - ``low`` and ``high``: the 95 % confidence interval, from Student's t with the degrees of freedom of the error
          where the result holds them; of Hessian eigenvalues the ends of the bound. NaN with the error.
        - ``verdict``: what the numbers say, such as "positive", "negative", "not told from 0" or "saddle";
          "missing" where results of different sizes were joined and this one has no such value.
        - of fixed points also ``speed``, ``state_error``, ``unstable_dimensions`` and ``starts``.

    Raises:
        TypeError: If it is neither a Dataset nor a DataTree.
        ValueError: If it holds no result of an analysis, or one without the variables of its table.

    Example:
        >>> import lyapkit
        >>> points = lyapkit.fixed_points(lyapkit.systems.henon().map, rng=0)
        >>> lyapkit.summary(points)[["value", "verdict", "unstable_dimensions"]].round(4).to_dict("list")
        {'value': [3.2598, 1.9237], 'verdict': ['saddle', 'saddle'], 'unstable_dimensions': [1, 1]}
    """
    if isinstance(result, xr.DataTree):
        if "analysis" in result.attrs:
            return summary(result.to_dataset())
        parts = {
            node.path.strip("/"): node.to_dataset() for node in result.subtree if node.attrs.get("analysis") in TABLES
        }
        if not parts:
            raise ValueError(
                f"the tree holds no result of an analysis at its nodes {', '.join(result.groups)}; pass what lyapkit's "
                "analyses return."
            )
        tables = {path: summary(part) for path, part in parts.items()}
        named = {path: table.set_axis(_rows(table), axis=0) for path, table in tables.items()}
        return pd.concat(named, names=["analysis", "row"])
    if not isinstance(result, xr.Dataset):
        raise TypeError(_no_result(result))
    analysis = result.attrs.get("analysis")
    if analysis not in TABLES:
        raise ValueError(
            f"summary knows the results of {', '.join(TABLES)}; got {analysis or 'a Dataset without provenance'}."
        )
    try:
        table = TABLES[analysis](result)
    except KeyError as error:
        name = str(error).split("'")[1]
        raise ValueError(f"the Dataset has no variable {name!r}; pass the whole result of {analysis}.") from error
    dims = [str(name) for name in table["value"].dims]
    if not dims:
        return pd.DataFrame({name: [table[name].item()] for name in table.data_vars}, index=[analysis])
    names = [*COLUMNS, *(str(name) for name in table.data_vars if name not in COLUMNS)]
    return table.to_dataframe(dim_order=dims)[names]


def _rows(table: pd.DataFrame) -> list[str]:
    """Return the rows' names as texts, such as ``trajectory 0, exponent 1``."""
    names = [name for name in table.index.names if name is not None]
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in table.index]
    return [
        ", ".join(f"{name} {part}" for name, part in zip(names, entry, strict=True)) or str(entry[0])
        for entry in entries
    ]


def _table(
    value: xr.DataArray,
    verdict: xr.DataArray,
    error: xr.DataArray | float = np.nan,
    quantile: xr.DataArray | float = 1.0,
) -> xr.Dataset:
    """Return a table with the interval value -+ quantile error."""
    error = xr.zeros_like(value, dtype=float) + error
    known = np.isfinite(value)
    error = error.where(known)
    room = quantile * error
    columns = {"value": value, "error": error, "low": value - room, "high": value + room, "verdict": verdict}
    return xr.Dataset({name: column.reset_coords(drop=True) for name, column in columns.items()}).transpose(*value.dims)


def _sign(value: xr.DataArray, room: xr.DataArray | float, *further: tuple[xr.DataArray, str]) -> xr.DataArray:
    return verdict(
        "not told from 0",
        value,
        (value - room > 0, "positive"),
        (value + room < 0, "negative"),
        *further,
        (value == -np.inf, "annihilated"),
    )


def _quantile(freedom: xr.DataArray) -> xr.DataArray:
    """Return the quantile of Student's t; that of the normal distribution where no degrees of freedom are known."""
    values = np.where(freedom > 0, stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(freedom, 1)), np.inf)
    return freedom.copy(data=values)


def _lyapunov_spectrum(ds: xr.Dataset) -> xr.Dataset:
    value, error = ds["lyapunov_exponent"], ds["standard_error"]
    quantile = _quantile(ds["error_degrees_of_freedom"])
    room = (quantile * error).where(np.isfinite(error), np.inf)
    table = _table(value, value, error, quantile)
    table["verdict"] = _sign(value, room, (ds["below_resolution"] > 0, "below resolution"))
    unknown = np.isinf(error) & np.isfinite(value)
    for name, end in (("low", -np.inf), ("high", np.inf)):
        table[name] = table[name].where(~unknown, end)
    table["verdict"] = table["verdict"].where(~unknown, "run too short")
    return table


def _at_the_end(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable at the last step of each sequence."""
    return ds[name].isel(step=-1, drop=True)  # behind the end of a shorter one it stays what it was


def _variational_term(ds: xr.Dataset) -> xr.Dataset:
    value = _at_the_end(ds, "running_exponent")
    return _table(value, _sign(value, 0.0, (_at_the_end(ds, "below_resolution") > 0, "below resolution")))


def _covariant_vectors(ds: xr.Dataset) -> xr.Dataset:
    value = ds["covariant_exponent"]
    apart = ds["forward_difference"].clip(min=ds["backward_difference"])
    return _table(value, _sign(value, 0.0, (apart > COVARIANT, "not settled")))


def _compare(ds: xr.Dataset) -> xr.Dataset:
    """Return a table over what was compared; of each subspace, the largest of its angles."""
    rows = {f"exponent {i}": _compared(ds.sel(exponent=i), "exponent_difference") for i in ds["exponent"].values}
    rows["Procrustes distance"] = _compared(ds, "procrustes_distance")
    for j in ds["subspace"].values:
        rows[f"angle of subspace {j}"] = _compared(ds.sel(subspace=j, angle_rank=j), "principal_angle")
    quantity = xr.Variable(("quantity",), list(rows))
    return xr.concat(list(rows.values()), "quantity", join="exact").assign_coords(quantity=quantity)


def _compared(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return the row of a quantity whose interval is given."""
    columns = {key: ds[f"{name}{part}"] for key, part in zip(COLUMNS, ("", "_error", "_low", "_high"), strict=False)}
    columns["verdict"] = verdict_of_comparison(ds, name)
    return xr.Dataset({key: column.reset_coords(drop=True) for key, column in columns.items()})


def _gradient_propagation(ds: xr.Dataset) -> xr.Dataset:
    value, error = ds["growth_rate"], ds["growth_rate_error"]
    quantile = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    room = (quantile * error).where(np.isfinite(error), np.inf)
    table = _table(value, value, error, quantile)
    words = {"positive": "explodes", "negative": "vanishes", "annihilated": "vanishes"}
    table["verdict"] = _renamed(_sign(value, room), words)
    return table


def _renamed(verdict: xr.DataArray, words: dict[str, str]) -> xr.DataArray:
    for old, new in words.items():
        verdict = verdict.where(verdict != old, new)
    return verdict


def _hessian_spectrum(ds: xr.Dataset) -> xr.Dataset:
    value, bound = ds["eigenvalue"], ds["error_bound"]
    return _table(value, _sign(value, bound, (ds["converged"] == 0, "not converged")), bound)


def _curvature_by_step(ds: xr.Dataset) -> xr.Dataset:
    return _table(ds["curvature"], _sign(ds["curvature"], 0.0))


def _spectral_density(ds: xr.Dataset) -> xr.Dataset:
    value, error = ds["trace"], ds["trace_standard_error"]
    quantile = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return _table(value, _sign(value, quantile * error), error, quantile)


def _magnitude(ds: xr.Dataset) -> xr.DataArray:
    """Return the largest magnitude of the eigenvalues."""
    size: xr.DataArray = xr.apply_ufunc(np.hypot, ds["eigenvalue_real"], ds["eigenvalue_imag"])
    return size.max("eigenvalue")


def _jacobians(ds: xr.Dataset) -> xr.Dataset:
    value = _magnitude(ds)
    ended = value["step"] > ds["last_step"]
    return _table(
        value, verdict("1", value, (value > 1, "expanding"), (value < 1, "contracting"), (ended, "behind the end"))
    )


def _states(ds: xr.Dataset) -> xr.Dataset:
    value = ds["explained_variance"]
    return _table(value, verdict("varies", value, (value < 1e-12, "does not vary")))


def _fixed_points(ds: xr.Dataset) -> xr.Dataset:
    value, unstable = _magnitude(ds), ds["unstable_dimensions"]
    table = _table(
        value,
        verdict(
            "undecided",
            value,
            (ds["stable"] > 0, "stable"),
            (unstable > 0, "saddle"),
            (unstable == ds.sizes["eigenvalue"], "repeller"),
            (ds["on_kink"] > 0, "on a kink"),
            (ds["continuum_dimension"] > 0, "on a continuum"),
            (ds["slow"] > 0, "slow point"),
        ),
    )
    further = ["speed", "state_error", "unstable_dimensions", "starts"]
    return table.assign({name: ds[name] for name in further})


TABLES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "lyapunov_spectrum": _lyapunov_spectrum,
    "variational_term": _variational_term,
    "covariant_vectors": _covariant_vectors,
    "compare": _compare,
    "gradient_propagation": _gradient_propagation,
    "hessian_spectrum": _hessian_spectrum,
    "spectral_density": _spectral_density,
    "curvature_by_step": _curvature_by_step,
    "states": _states,
    "jacobians": _jacobians,
    "fixed_points": _fixed_points,
}
"""The function that puts each analysis into a table."""
