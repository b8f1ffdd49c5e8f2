"""Plot of the distribution of angles between covariant subspaces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, check_count, check_trajectory, one_result, with_defaults


@named_arguments(LINE)
@comparable
def covariant_vectors(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float | None = None,
    split: int | None = None,
    bins: int = 45,
    **line: Any,
) -> Axes:
    """Draw the distribution of the smallest angle between leading and remaining vectors, as Ginelli et al. (2007).

    A distribution that stays away from 0 shows a dominated splitting (hyperbolic, when it separates expanding from
    contracting directions); one that reaches 0 shows that the subspaces touch at times.

    Args:
        ds: Result of `lyapkit.covariant_vectors`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate; all of them together by default, or, where they have names,
            each in its own colour, with a legend that names up to ten.
        split: Number of leading vectors; by default that of positive exponents, and 1 when none or all are positive.
        bins: Number of bins between 0 and pi/2.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color`` or ``label``.

    Returns:
        The axes; the density integrates to 1 over angles in radians.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such trajectory or split, or ``bins`` is below
            1.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.covariant_vectors(lyapkit.systems.henon().map, steps=400, rng=0)
        >>> lyapkit.plots.covariant_vectors(ds).get_ylabel()
        'probability density (1/rad)'
    """
    ds = one_result(ds, "covariant_vectors", "angle", "trajectory", "step", "split")
    if trajectory is not None:
        check_trajectory(ds, trajectory)
        ds = ds.sel(trajectory=[trajectory])
    there = ds["split"].values.tolist()
    if not there:
        raise ValueError("there are no angles between subspaces of a single vector; compute k=2 vectors or more.")
    if split is None:
        positive = int((ds["covariant_exponent"].mean("trajectory") > 0).sum())
        split = positive if positive in there else there[0]
    if split not in there:
        raise ValueError(f"split must be between {there[0]} and {there[-1]}, got {split!r}.")
    bins = check_count("bins", bins)
    ax = axes_or_new(ax)
    angles = ds["angle"].sel(split=split).values.ravel()
    density, edges = np.histogram(angles, bins=bins, range=(0, math.pi / 2), density=True)
    density = np.append(density, density[-1])  # the last step of the line
    style = with_defaults(line, drawstyle="steps-post", linewidth=1.0)
    (drawn,) = ax.plot(edges, density, **style)
    drawn.sticky_edges.y.append(0.0)  # the axis begins at 0 and still grows with later lines
    ax.fill_between(edges, density, step="post", color=drawn.get_color(), alpha=0.2, linewidth=0)
    ax.set_xlim(0, math.pi / 2)
    ax.set_xticks([0, math.pi / 4, math.pi / 2], ["0", "π/4", "π/2"])
    ax.set_xlabel("angle between leading and remaining covariant vectors (rad)")
    ax.set_ylabel("probability density (1/rad)")
    return ax
