"""Plot of a two-dimensional map: where each state goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._labels import LINE, axes_or_new, check_count, dataset_of, one_result, with_defaults
from lyapkit.plots.state_space import KINDS, kinds


@named_arguments(LINE)
def phase_plane(
    ds: xr.Dataset | xr.DataTree,
    *,
    ax: Axes | None = None,
    fixed_points: xr.Dataset | xr.DataTree | None = None,
    lines: int = 5,
    **line: Any,
) -> Axes:
    """Draw a two-dimensional map as arrows, from each initial state to where the first step leads.

    Args:
        ds: Result of `lyapkit.states` of a map with two units, from a grid of initial states (see the example).
        ax: Axes to draw on; a new figure by default.
        fixed_points: Result of `lyapkit.fixed_points` of the same map.
        lines: At most how many trajectories to draw as lines, too, evenly spread over the initial states.
        line: Passed on to `matplotlib.axes.Axes.plot` for these lines.

    Returns:
        The axes. All arrows have the same length; their colour is the logarithm of that of the step: slow regions are
        dark. Markers of points are those of `state_space`.

    Raises:
        ValueError: If a result is another analysis' or does not have two units, or the first step is not recorded.

    Example:
        >>> import lyapkit, torch
        >>> grid = torch.cartesian_prod(*2 * [torch.linspace(-1.5, 1.5, 15, dtype=torch.float64)])
        >>> weight = torch.tensor([[1.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
        >>> map = lyapkit.as_map(lambda x: torch.tanh(weight @ x), state=grid[0])
        >>> field = lyapkit.states(map, steps=1, initial_state=grid)
        >>> points = lyapkit.fixed_points(map, starts=grid)
        >>> lyapkit.plots.phase_plane(field, fixed_points=points).get_xlabel()
        'x[0]'
    """
    ds = one_result(ds, "states", "state", "trajectory", "step", "unit")
    points = None if fixed_points is None else dataset_of(fixed_points, "fixed_points")
    for each in (ds, *([] if points is None else [points])):
        if each.sizes["unit"] != 2:
            raise ValueError(
                f"phase_plane draws maps with two units, got {each.sizes['unit']}; state_space draws larger ones."
            )
    if int(ds["step"].values[0]) != 1:
        raise ValueError("the first step is not recorded; call states without transient= and record_every=.")
    lines = 0 if lines == 0 else check_count("lines", lines)
    ax = axes_or_new(ax)
    start = ds["initial_state"].transpose("trajectory", "unit").values
    path = ds["state"].values
    way = path[:, 0] - start
    size = np.hypot(*way.T)
    moving = size > 0
    length = np.where(moving, size, 1.0)
    shade = np.log10(size[moving]) if moving.any() else np.zeros(0)
    unit = way / length[:, None]
    ax.quiver(*start[moving].T, *unit[moving].T, shade, cmap="viridis", angles="xy", pivot="tail", width=0.004)
    style = with_defaults(line, linewidth=0.8, color="0.3")
    for index in np.unique(np.linspace(0, len(path) - 1, lines).round().astype(int)) if lines else ():
        shown = np.vstack((start[index], path[index]))
        ax.plot(shown[:, 0], shown[:, 1], **style)
    if points is not None:
        place = points["state"].transpose("fixed_point", "unit").values
        for kind, which in kinds(points).items():
            if which.any():
                mark: dict[str, Any] = {"markeredgecolor": "black", "markersize": 6, "zorder": 4, **KINDS[kind]}
                ax.plot(*place[which].T, linestyle="none", label=f"{kind} point", **mark)
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
    ax.set_xlabel(str(ds["unit"].values[0]))
    ax.set_ylabel(str(ds["unit"].values[1]))
    return ax
