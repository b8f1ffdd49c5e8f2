"""Plot of the distribution of local growth rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, check_count, check_trajectory, label, one_result, with_defaults


@named_arguments(LINE)
@comparable
def local_growth(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float | None = None,
    exponents: Sequence[int] | int = (1,),
    bins: int = 50,
    **line: Any,
) -> Axes:
    """Draw the distribution over time of local growth rates, and mark their mean, the exponent.

    If a rate changes its sign along the way, the network expands at some times and forgets at others; its exponent
    hides this. Each QR window counts once, whatever its length: compute the spectrum with a fixed ``qr_interval``,
    since rates over longer windows spread less.

    Args:
        ds: Result of `lyapkit.lyapunov_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate; all of them together by default, or, where they have names,
            each in its own colour, with a legend that names up to ten.
        exponents: Exponents to draw, by rank from 1; several get a legend.
        bins: Number of bins over the range of all rates drawn.
        line: Passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first distribution only, instead of
            the ranks.

    Returns:
        The axes; each density integrates to 1, of the finite rates. Dashed lines mark the exponents, averaged over
        the trajectories drawn. Annihilated directions (-inf) are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such trajectory or exponent, or ``bins`` is
            below 1.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=2000, qr_interval=1)
        >>> lyapkit.plots.local_growth(ds, exponents=(1, 2)).get_xlabel()
        'local growth rate (nats per step)'
    """
    ds = one_result(ds, "lyapunov_spectrum", "local_growth", "trajectory", "step", "exponent")
    if trajectory is not None:
        check_trajectory(ds, trajectory)
    there = ds["exponent"].values.tolist()
    if isinstance(exponents, int):
        exponents = (exponents,)
    missing = [rank for rank in exponents if rank not in there]
    if missing or len(exponents) == 0:
        raise ValueError(f"exponents must be ranks between {there[0]} and {there[-1]}, got {exponents!r}.")
    bins = check_count("bins", bins)
    ax = axes_or_new(ax)
    if trajectory is not None:
        ds = ds.sel(trajectory=[trajectory])
    chosen = ds["local_growth"].sel(exponent=list(exponents))
    if "last_step" in ds:  # without the windows after the end of a shorter sequence
        chosen = chosen.where(ds["step"] <= ds["last_step"], -np.inf)
    finite = chosen.values[np.isfinite(chosen.values)]
    edges = np.histogram_bin_edges(finite, bins)
    style = with_defaults(line, drawstyle="steps-post", linewidth=1.0)
    name = style.pop("label", None)
    for index, rank in enumerate(exponents):
        rates = chosen.sel(exponent=rank).values
        rates = rates[np.isfinite(rates)]
        if rates.size == 0:
            continue
        density = np.histogram(rates, edges, density=True)[0]
        filled = np.flatnonzero(density)
        inside = slice(filled[0], filled[-1] + 1)  # the bins of this distribution, among those that all share
        x = np.concatenate((edges[inside][:1], edges[inside], edges[filled[-1] + 1 :][:1]))
        y = np.concatenate(([0.0], density[inside], [0.0]))
        own = rf"$\lambda_{{{rank}}}$" if name is None else name if index == 0 else None
        (drawn,) = ax.plot(x, y, label=own, **style)
        ax.fill_between(x, y, step="post", color=drawn.get_color(), alpha=0.2, linewidth=0)
        mean = float(ds["lyapunov_exponent"].sel(exponent=rank).mean("trajectory"))
        if np.isfinite(mean):
            ax.axvline(mean, color=drawn.get_color(), linewidth=0.8, linestyle=(0, (4, 2)))
    ax.set_ylim(bottom=0)
    if len(exponents) > 1:
        ax.legend()
    ax.set_xlabel(label(chosen))
    ax.set_ylabel("probability density")
    return ax
