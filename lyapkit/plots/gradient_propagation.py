"""Plot of gradient norms over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import MOST_NAMES, Results, comparable, legend_once
from lyapkit.plots._labels import (
    LINE,
    axes_or_new,
    check_count,
    check_trajectory,
    names_of_trajectories,
    next_color,
    nth_color,
    one_result,
    with_defaults,
)

SLOPES = (
    ("growth_rate", "growth_rate_error", "fit", "-"),
    ("leading_exponent", "leading_exponent_error", "leading exponent", "--"),
    ("predicted_rate", None, "predicted", ":"),
)


@named_arguments(LINE)
@comparable
def gradient_propagation(
    ds: Results,
    *,
    ax: Axes | None = None,
    norm: str | float = "inf",
    lines: int = 20,
    slopes: str | float | None = None,
    **line: Any,
) -> Axes:
    """Draw norms of dL/dx_t over time, one line per trajectory, as Fig. 2D of Dubinin & Effenberger (2024).

    Trajectories with names have a colour each, and a legend names up to ten of them, unless ``color`` or ``label`` is
    given.

    Args:
        ds: Result of `lyapkit.gradient_propagation`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        norm: Norm to draw, by its coordinate or as a number.
        lines: Largest number of trajectories to draw, the first ones.
        slopes: Trajectory to draw alone, by its coordinate, with its fitted line, labelled with rate and error. Lines
            for the leading exponent and the predicted rate, as far as ``ds`` has them, start at the end of that line.
        line: Passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only.

    Returns:
        The axes; the vertical axis is logarithmic. Norms that are zero or outside the range of float64 are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such norm or trajectory, or ``lines`` is below
            1.
    """
    ds = one_result(ds, "gradient_propagation", "gradient_norm", "norm", "trajectory", "step")
    norm = f"{norm:g}" if isinstance(norm, int | float) else norm
    if norm not in ds["norm"].values:
        raise ValueError(f"norm must be one of {ds['norm'].values.tolist()}, got {norm!r}.")
    lines = check_count("lines", lines)
    if slopes is not None:
        check_trajectory(ds, slopes)
    ax = axes_or_new(ax)
    values = ds["gradient_norm"].sel(norm=norm)
    style = with_defaults(line, linewidth=0.7, alpha=0.8)
    name = style.pop("label", None)
    drawn = values.isel(trajectory=slice(lines)) if slopes is None else values.sel(trajectory=[slopes])
    names = None if name is not None or "color" in style or slopes is not None else names_of_trajectories(drawn)
    color = style.pop("color") if "color" in style else next_color(ax)
    for index, row in enumerate(drawn.values):
        shown = np.where((row > 0) & np.isfinite(row), row, np.nan)
        own = {"color": color, "label": name if index == 0 else None}
        if names is not None:
            own = {"color": nth_color(index), "label": names[index] if index < MOST_NAMES else None}
        ax.plot(values["step"].values, shown, **own, **style)
    ax.set_yscale("log")
    if names is not None:
        legend_once(ax)
    if slopes is not None:
        _draw_slopes(ax, ds.sel(norm=norm, trajectory=slopes))
    symbol = r"\infty" if norm == "inf" else norm
    ax.set_xlabel("time step $t$")
    ax.set_ylabel(rf"gradient norm $\|\mathrm{{d}}L/\mathrm{{d}}x_t\|_{{{symbol}}}$")
    return ax


def _draw_slopes(ax: Axes, ds: xr.Dataset) -> None:
    """Draw straight lines for the rates of one norm and trajectory, and a legend for them."""
    steps = ds["step"].values
    steps = steps[: int(ds["last_step"])] if "last_step" in ds else steps  # results of older versions have none
    back = steps[-1] - steps
    for rate, error, name, style in SLOPES:
        if rate not in ds or not np.isfinite([float(ds[rate]), float(ds["growth_offset"])]).all():
            continue
        with np.errstate(over="ignore"):
            drawn = np.exp(float(ds["growth_offset"]) + float(ds[rate]) * back)
        drawn[(drawn == 0) | np.isinf(drawn)] = np.nan
        text = f"{name}: {_with_error(float(ds[rate]), float(ds[error]) if error else None)}"
        ax.plot(steps, drawn, color="black", linestyle=style, linewidth=0.9, label=text)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(title="nats per step back")


def _with_error(value: float, error: float | None) -> str:
    """Format a value with the digits that its error leaves, such as -0.0513(6); five decimals without an error."""
    if error is None or not np.isfinite(error):
        text = f"{value:.5f}"
    else:
        digits = 6 if error < 1e-6 else int(np.clip(-np.floor(np.log10(error)), 0, 6))
        text = f"{value:.{digits}f}({error * 10**digits:.0f})"
    return text.replace("-", "\N{MINUS SIGN}")
