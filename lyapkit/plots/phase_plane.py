"""Plot of a two-dimensional map: where each state goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, check_names, legend_once
from lyapkit.plots._labels import LINE, axes_or_new, check_count, nth_color, one_result, with_defaults
from lyapkit.plots.state_space import mark_points, points_by_name


@named_arguments(LINE)
def phase_plane(
    ds: Results,
    *,
    ax: Axes | None = None,
    fixed_points: Results | None = None,
    lines: int = 5,
    **line: Any,
) -> Axes:
    """Draw a two-dimensional map as arrows, from each initial state to where the first step leads.

    Args:
        ds: Result of `lyapkit.states` of a map with two units, from a grid of initial states (see the example); or
            ``{name: result}`` of several to compare, of the same units.
        ax: Axes to draw on; a new figure by default.
        fixed_points: Result of `lyapkit.fixed_points` of the same map, or ``{name: result}`` of several, whose edges
            have the colours of the results of these names.
        lines: At most how many trajectories to draw as lines, too, evenly spread over the initial states.
        line: Passed on to `matplotlib.axes.Axes.plot` for these lines.

    Returns:
        The axes. All arrows have the same length; their colour is the logarithm of that of the step: slow regions are
        dark. Of several results, each has its own colour, which a legend names, and slow regions are faint. Markers of
        points are those of `state_space`.

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
    results = dict(ds) if isinstance(ds, dict) else {"": ds}
    check_names(results, line if isinstance(ds, dict) else {})
    fields = {name: _with_first_step(result) for name, result in results.items()}
    first = next(iter(fields.values()))
    points = points_by_name(fixed_points, results)
    for each in (*fields.values(), *points.values()):
        if each["unit"].values.tolist() != first["unit"].values.tolist():
            raise ValueError(
                f"phase_plane draws maps with the same two units, got {', '.join(map(str, each['unit'].values[:3]))} "
                f"beside {', '.join(map(str, first['unit'].values))}; draw them on axes of their own."
            )
    lines = 0 if lines == 0 else check_count("lines", lines)
    ax = axes_or_new(ax)
    colors = {name: nth_color(place) for place, name in enumerate(fields)} if isinstance(ds, dict) else {}
    for name, field in fields.items():
        _draw_field(ax, field, colors.get(name), lines, line)
        if name in colors:
            ax.plot([], [], color=colors[name], label=name)
    for name, found in points.items():
        mark_points(ax, found, found["state"].transpose("fixed_point", "unit").values, colors.get(name, "black"))
    if ax.get_legend_handles_labels()[0]:
        legend_once(ax)
    ax.set_xlabel(str(first["unit"].values[0]))
    ax.set_ylabel(str(first["unit"].values[1]))
    return ax


def _with_first_step(result: Any) -> xr.Dataset:
    ds = one_result(result, "states", "state", "trajectory", "step", "unit")
    if ds.sizes["unit"] != 2:
        raise ValueError(
            f"phase_plane draws maps with two units, got {ds.sizes['unit']}; state_space draws larger ones."
        )
    if int(ds["step"].values[0]) != 1:
        raise ValueError("the first step is not recorded; call states without transient= and record_every=.")
    return ds


def _draw_field(ax: Axes, ds: xr.Dataset, color: str | None, lines: int, line: Mapping[str, Any]) -> None:
    """Draw arrows, shaded by the length of the step, in one colour if one is given; and some trajectories."""
    start = ds["initial_state"].transpose("trajectory", "unit").values
    path = ds["state"].values
    way = path[:, 0] - start
    size = np.hypot(*way.T)
    moving = size > 0
    unit = way[moving] / size[moving, None]
    shade = np.log10(size[moving])
    common: dict[str, Any] = {"angles": "xy", "pivot": "tail", "width": 0.004}
    if color is None:
        ax.quiver(*start[moving].T, *unit.T, shade, cmap="viridis", **common)
    else:
        spread = np.ptp(shade) if shade.size else 0.0
        alpha = 0.25 + 0.75 * (shade - shade.min()) / spread if spread > 0 else np.ones(shade.size)
        ax.quiver(*start[moving].T, *unit.T, color=[to_rgba(color, each) for each in alpha], **common)
    style = with_defaults(line, linewidth=0.8, color="0.3" if color is None else color)
    for index in np.unique(np.linspace(0, len(path) - 1, lines).round().astype(int)) if lines else ():
        shown = np.vstack((start[index], path[index]))
        ax.plot(shown[:, 0], shown[:, 1], **style)
