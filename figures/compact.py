"""Results without what neither figures nor the report read, so that they can be shipped."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

TRAJECTORIES = 8
"""Number of sequences whose gradients are kept."""

REDUNDANT = ("final_frame", "final_state", "local_growth", "log_singular_value", "log_gradient_norm", "eigenvector")
"""Variables that no figure draws, or that follow from others that are kept."""

BITS = 21
"""Bits of the mantissa that are kept of large arrays: six digits."""

LARGE = 500
"""Number of entries above which an array is rounded and compressed."""

SPECTRUM = ("lyapunov_exponent", "standard_error", "log_volume_residual", "running_exponent")
"""Variables of a Lyapunov spectrum that are kept."""

RECORDED = 14
"""Number of steps between recorded exponents of a sequence of images."""

SHOWN = 20
"""Number of running exponents that are kept of a spectrum, evenly over the ranks; as in Fig. 2B of the paper."""

SHOWN_BITS = 12
"""Bits of their mantissa that are kept: more than three digits, as they are only drawn."""


def compact_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """Return the results of one analysis without what no figure draws.

    Args:
        dataset: Result of an analysis of `lyapkit`.
    """
    kept = dataset.drop_vars([name for name in REDUNDANT if name in dataset])
    if "growth_rate" in kept:
        kept = kept.isel(trajectory=slice(TRAJECTORIES))
    if "lyapunov_exponent" in kept:
        kept = thinned(kept[[name for name in SPECTRUM if name in kept]])
    for name in list(kept.data_vars):
        variable = kept[name]
        if variable.dtype == np.float64 and variable.size > LARGE:
            kept[name] = variable.copy(data=rounded(variable.values))
    return kept


def thinned(spectrum: xr.Dataset) -> xr.Dataset:
    """Return a Lyapunov spectrum with few running exponents, over ``step`` and ``shown``, in single precision.

    They are `SHOWN` of them, by their rank, at every `RECORDED` steps and at the last one. Where no QR decomposition
    was made at that step, they are those of the last one before. Steps before the first one are left out.

    Args:
        spectrum: Result of `lyapkit.lyapunov_spectrum`.
    """
    if "running_exponent" not in spectrum:
        return spectrum
    running = spectrum.running_exponent
    first, last = int(running.step[0]), int(running.step[-1])
    steps = [step for step in dict.fromkeys((*range(RECORDED, last, RECORDED), last)) if step >= first]
    places = np.unique(np.linspace(0, running.sizes["exponent"] - 1, SHOWN).round().astype(int))
    few = running.sel(step=steps, method="pad").assign_coords(step=("step", steps, running.step.attrs))
    few = few.isel(exponent=places).rename(exponent="shown")
    small = few.copy(data=rounded(few.values, SHOWN_BITS).astype(np.float32))
    return spectrum.drop_vars(["running_exponent", "step"]).assign(running_exponent=small)


def rounded(values: NDArray[np.float64], bits: int = BITS) -> NDArray[np.float64]:
    """Return the nearest numbers whose mantissa has few bits, so that they compress well; zeros and infinities stay.

    Args:
        values: Any numbers.
        bits: Number of bits of the mantissa that are kept.
    """
    mantissa, exponent = np.frexp(values)
    nearest: NDArray[np.float64] = np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
    return nearest
