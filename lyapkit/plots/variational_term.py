"""Plot of the finite-time exponents of the variational term over time."""

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
def variational_term(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float = 0,
    lines: int = 20,
    reference: Sequence[float] | NDArray[np.float64] = (),
    reference_label: str | None = None,
    **line: Any,
) -> Axes:
    """Draw finite-time exponents log sigma_i(V_t) / t over time, as Fig. 2B of Dubinin & Effenberger (2024).

    Args:
        ds: Result of `lyapkit.variational_term`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate. Where trajectories have names, all are drawn by default, each
            in its own colour, and a legend names up to ten.
        lines: Largest number of exponents to draw, evenly spread over the ranks with first and last included.
        reference: Values to mark by dashed lines, such as log |eigenvalues of the residual|; equal ones once.
        reference_label: Text beside the first reference line.
        line: Passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only.

    Returns:
        The axes. Values of -inf are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such trajectory, or ``lines`` is below 1.
    """
    ds = one_result(ds, "variational_term", "running_exponent", "trajectory", "step", "exponent")
    return draw_running(ds, ax, trajectory, lines, reference, reference_label, line)
