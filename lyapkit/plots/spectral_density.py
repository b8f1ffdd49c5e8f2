"""Plot of spectral densities and cumulative distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.markers import TICKUP
from matplotlib.ticker import FixedLocator, NullLocator

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, dataset_of, one_result, with_defaults


@named_arguments(LINE)
@comparable
def spectral_density(ds: Results, *, ax: Axes | None = None, cumulative: bool = False, **line: Any) -> Axes:
    """Draw the density of curvature eigenvalues, or their cumulative distribution, with its band.

    Args:
        ds: Result of `lyapkit.spectral_density`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        cumulative: Whether to draw the cumulative distribution instead.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color`` or ``label``.

    Returns:
        The axes. A density is drawn on a logarithmic vertical axis, which ends a tenth below the height of a single
        eigenvalue, with a band of two standard errors; the cumulative distribution with the band of the result.
        Ticks at the bottom are the eigenvalues that were deflated. The horizontal axis is that of the result, linear or
        signed logarithmic.

    Raises:
        ValueError: If ``ds`` is the result of another analysis.

    Example:
        >>> import lyapkit, torch
        >>> model = torch.nn.Linear(3, 1)
        >>> batch = torch.eye(3), torch.zeros(3, 1)
        >>> ds = lyapkit.spectral_density(model, batch, torch.nn.functional.mse_loss, rng=0)
        >>> lyapkit.plots.spectral_density(ds).get_ylabel()
        'spectral density'
    """
    ds = dataset_of(ds, "spectral_density")
    is_log = ds.attrs["scale"] == "log"
    name = "cumulative_distribution" if cumulative else "density_per_decade" if is_log else "density"
    ds = one_result(ds, "spectral_density", name, "value")
    ax = axes_or_new(ax)
    value = ds["value"].values
    if cumulative:
        height, floor = ds[name].values, 0.0
        low, high = ds[f"{name}_low"].values, ds[f"{name}_high"].values
    else:
        floor = 0.1 / (ds.attrs["parameter_count"] * ds.attrs["kernel_width"] * math.sqrt(2 * math.pi))
        height, error = ds[name].values, 2 * ds[f"{name}_standard_error"].values
        low, high = (height - error).clip(min=floor), (height + error).clip(min=floor)
        height = np.where(height >= floor, height, np.nan)
        ax.set_yscale("log")
    (drawn,) = ax.plot(value, height, **with_defaults(line, linewidth=1.0))
    band = ax.fill_between(value, low, high, color=drawn.get_color(), alpha=0.25, linewidth=0)
    band.sticky_edges.y.append(floor)  # the axis begins there and still grows with later lines
    if "deflated_eigenvalue" in ds:
        atoms = ds["deflated_eigenvalue"].values
        ax.plot(
            atoms,
            np.zeros(atoms.size),
            linestyle="none",
            marker=TICKUP,
            markersize=6,
            color=drawn.get_color(),
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    if is_log:
        threshold = ds.attrs["linear_threshold"]
        ax.set_xscale("asinh", linear_width=2 * threshold)
        ax.xaxis.set_major_locator(FixedLocator(_signed_decades(value[0], value[-1], threshold)))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(r"eigenvalue $\lambda$")
    ax.set_ylabel(ds[name].attrs["long_name"])
    return ax


def _signed_decades(low: float, high: float, threshold: float) -> list[float]:
    """Return ticks at 0 and at powers of ten of either sign, from a decade beyond the threshold, and not too many."""
    first, last = math.ceil(math.log10(10 * threshold)), math.floor(math.log10(max(abs(low), abs(high), threshold)))
    step = 1 + max(0, last - first) // 4
    decades = [10.0**power for power in range(last, first - 1, -step)]
    ticks = sorted([*(-decade for decade in decades), 0.0, *decades])
    return [tick for tick in ticks if low <= tick <= high]
