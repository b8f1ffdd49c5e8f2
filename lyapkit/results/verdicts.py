"""Words for what numbers say, the same in tables and plots."""

from __future__ import annotations

import numpy as np
import xarray as xr

COVARIANT = 1e-3
"""Vectors whose two independent starts have met to this distance count as settled."""

AMBIGUOUS = 1e-2
"""Angles whose mean cosine may differ by more between alignments that fit the states as well are not told."""

DIFFERS = "differs"
"""The verdict on a quantity whose interval does not hold 0."""


def verdict(default: str, value: xr.DataArray, *choices: tuple[xr.DataArray, str]) -> xr.DataArray:
    """Return the text of the last choice that holds, for each value."""
    found = xr.full_like(value, default, dtype=object).where(value.notnull(), "missing")
    for holds, text in choices:
        found = found.where(~holds, text).transpose(*value.dims)
    return found


def verdict_of_comparison(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return what a comparison says of a quantity whose interval is given.

    Args:
        ds: Result of `lyapkit.compare`; for ``principal_angle`` the part of one angle of each subspace.
        name: The quantity.
    """
    value, error, low, high = (ds[f"{name}{part}"] for part in ("", "_error", "_low", "_high"))
    rounding = float(np.finfo(ds.attrs.get("dtype", "float64")).eps ** 0.5)
    choices = [
        ((low > 0) | (high < 0), DIFFERS),
        (error.isin([np.inf]), "run too short"),
        (abs(value) <= rounding, "equal to rounding"),
    ]
    if name == "principal_angle":
        unsettled = ds["forward_difference"].max("network") > COVARIANT
        choices += [(ds["alignment_open"] > AMBIGUOUS, "alignment open"), (unsettled, "not settled")]
    choices += [(value.isin([-np.inf, np.inf]), "annihilated in one"), (value.isnull(), "does not exist")]
    return verdict("not told from 0", value, *choices)
