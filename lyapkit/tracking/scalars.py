"""Choose the few numbers of a result that are worth a curve while a network is trained."""

from __future__ import annotations

import math

import xarray as xr


def scalars(name: str, result: xr.Dataset) -> dict[str, float]:
    """Return the headline numbers of a result by tag, such as ``lyapunov_spectrum/leading exponent``.

    They are means over the trajectories. Numbers that are not finite are left out, since boards do not draw them.

    Args:
        name: Name of the analysis, with which the tags begin.
        result: Result of the analysis.
    """
    analysis = result.attrs.get("analysis")
    found: dict[str, xr.DataArray] = {}
    if analysis == "lyapunov_spectrum":
        exponents = result["lyapunov_exponent"]
        found = {
            "leading exponent": exponents.isel(exponent=0),
            "mean exponent": exponents.mean("exponent"),
            "Kaplan-Yorke dimension": result["kaplan_yorke_dimension"],
            "entropy rate": result["entropy_rate"],
        }
    elif analysis == "variational_term":
        found = {"leading exponent of the run": result["running_exponent"].isel(step=-1, exponent=0)}
    elif analysis == "gradient_propagation":
        rates = result["growth_rate"]
        found = {f"growth rate, norm {norm}": rates.sel(norm=norm) for norm in rates["norm"].values}
    elif analysis == "hessian_spectrum":
        found = {"leading eigenvalue": result["eigenvalue"].isel(rank=0)}
        if "stable_learning_rate" in result:
            found["stable learning rate"] = result["stable_learning_rate"]
    else:
        found = {str(key): value for key, value in result.data_vars.items() if not value.dims}
    numbers = {f"{name}/{key}": float(value.mean()) for key, value in found.items()}
    return {tag: number for tag, number in numbers.items() if math.isfinite(number)}
