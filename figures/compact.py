"""Result files small enough to be shipped."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

TRAJECTORIES = 8
"""Sequences whose gradients are kept."""

REDUNDANT = ("final_frame", "final_state", "local_growth", "log_singular_value", "log_gradient_norm", "eigenvector")
"""Variables that no figure draws, or that follow from others that are kept."""

BITS = 21
"""Of the mantissa that are kept of large arrays: six digits."""

LARGE = 500
"""Numbers above which an array is rounded and compressed."""


def compact(tree: xr.DataTree) -> xr.DataTree:
    """Without what no figure draws, gradients of the first sequences only, large arrays rounded to six digits."""
    small = xr.DataTree.from_dict({name: compact_dataset(node.to_dataset()) for name, node in tree.children.items()})
    small.attrs = dict(tree.attrs)
    return small


def compact_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """Return the results of one analysis without what no figure draws.

    Args:
        dataset: What an analysis of `lyapkit` returns.
    """
    kept = dataset.drop_vars([name for name in REDUNDANT if name in dataset])
    if "growth_rate" in kept:
        kept = kept.isel(trajectory=slice(TRAJECTORIES))
    if "lyapunov_exponent" in kept:
        kept = kept.drop_vars([name for name in ("running_exponent", "step") if name in kept])
    for name in list(kept.data_vars):
        variable = kept[name]
        if np.issubdtype(variable.dtype, np.floating) and variable.size > LARGE:
            kept[name] = variable.copy(data=rounded(variable.values))
            kept[name].encoding = {"zlib": True, "complevel": 9, "shuffle": True}
    return kept


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest numbers whose mantissa has `BITS` bits, so that they compress well; zeros and infinities stay."""
    mantissa, exponent = np.frexp(values)
    nearest: NDArray[np.float64] = np.ldexp(np.round(np.ldexp(mantissa, BITS)), exponent - BITS)
    return nearest
