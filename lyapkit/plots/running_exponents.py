"""Plot of the convergence of Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, one_result
from lyapkit.plots._running import draw_running


@named_arguments(LINE)
@comparable
def running_exponents(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float = 0,
    lines: int = 20,
    reference: Sequence[float] | NDArray[np.float64] = (),
    reference_label: str | None = None,
    **line: Any,
) -> Axes:
    """Draw running means of log |R_ii| over time, which show how the exponents converge.

    Args:
        ds: Result of `lyapkit.lyapunov_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate. Where trajectories have names, all are drawn by default, each
            in its own colour, and a legend names up to ten.
        lines: Largest number of exponents to draw, evenly spread over the ranks with first and last included.
        reference: Values to mark by dashed lines, such as exponents that are known; equal ones once.
        reference_label: Text beside the first reference line.
        line: Passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only.

    Returns:
        The axes. Lines keep the rank that their exponent has at the end. Values of -inf are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such trajectory, or ``lines`` is below 1.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=200)
        >>> ax = lyapkit.plots.running_exponents(ds, reference=lyapkit.systems.henon().exponents)
        >>> ax.get_ylabel()
        'running exponent (nats per step)'
    """
    ds = one_result(ds, "lyapunov_spectrum", "running_exponent", "trajectory", "step", "exponent")
    return draw_running(ds, ax, trajectory, lines, reference, reference_label, line)
