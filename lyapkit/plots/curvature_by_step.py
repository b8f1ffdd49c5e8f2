"""Plot of curvature by time step."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, check_count, one_result, with_defaults


@named_arguments(LINE)
@comparable
def curvature_by_step(
    ds: Results, *, ax: Axes | None = None, ranks: int = 3, relative: bool = True, **line: Any
) -> Axes:
    """Draw the contribution of every time step to the leading curvature, one line per eigenvector.

    Args:
        ds: Result of `lyapkit.curvature_by_step`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        ranks: Largest number of eigenvectors to draw, the leading ones.
        relative: Whether to draw shares of v'Av, so that eigenvectors of different curvature can be compared. The
            shares of an eigenvector sum to 1 with that of the readout, which the legend gives.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, or ``ranks`` is below 1.
    """
    ds = one_result(ds, "curvature_by_step", "step_curvature", "rank", "step")
    ranks = check_count("ranks", ranks)
    ax = axes_or_new(ax)
    style = with_defaults(line, linewidth=0.9)
    for rank in ds["rank"].values[:ranks]:
        at = ds.sel(rank=rank)
        scale = float(at["curvature"]) if relative and float(at["curvature"]) else 1.0
        name = rf"$\lambda_{{{rank}}}$ = {float(at['eigenvalue']):.3g}"
        name += f", readout {float(at['readout_curvature']) / scale:.2f}" if relative else ""
        ax.plot(at["step"].values, at["step_curvature"].values / scale, **{"label": name, **style})
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.set_xlabel("time step $t$")
    ax.set_ylabel("share of curvature" if relative else "curvature")
    ax.legend()
    return ax
