"""Plot of the average power spectrum of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._comparing import comparable


@comparable
def power_spectrum(ds: xr.Dataset | Mapping[str, xr.Dataset], *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw average power over angular frequency, with the characteristic frequency marked (section 4.2).

    Args:
        ds: Result of `wcrnn_models.tasks.power_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        The axes. Frequency 0, the mean of the sequences, is not drawn. The mark has the line's colour, if one is given.

    Raises:
        ValueError: If ``ds`` is another result.
    """
    found = ds.attrs.get("analysis") if isinstance(ds, xr.Dataset) else type(ds).__name__
    if not isinstance(ds, xr.Dataset) or found != "power_spectrum":
        raise ValueError(f"this plot draws the result of power_spectrum, got {found or 'another'}.")
    if ax is None:
        ax = plt.figure(layout="constrained").add_subplot()
    power = ds["power"].isel(frequency=slice(1, None))
    peak = float(ds.attrs["characteristic_frequency"])
    ax.plot(power["frequency"].values, power.values, **line)
    ax.axvline(
        peak, color=line.get("color", "0.15"), linewidth=1.0, linestyle=(0, (4, 2)), label=rf"$\phi_c = {peak:.4g}$"
    )
    ax.set_yscale("log")
    ax.set_xlabel(f"{power['frequency'].attrs['long_name']} ({power['frequency'].attrs['units']})")
    ax.set_ylabel(power.attrs["long_name"])
    ax.legend()
    return ax
