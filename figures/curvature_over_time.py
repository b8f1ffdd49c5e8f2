"""Curvature by time step of untrained networks below and above the edge of chaos, beside the weight of eq. (14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evidence import Evidence
from figures.missing import nothing
from figures.paper import STRENGTH_CLASSES
from figures.scales import logarithmic, positive, view
from figures.scripts import Script
from figures.style import band, notes, over_seeds, panels, strength_color, title
from lyapkit import plots

SUBCRITICAL, SUPERCRITICAL = STRENGTH_CLASSES[:2], STRENGTH_CLASSES[2:]
MATRICES = (0.995, 1.01)
"""Residual strengths whose pairs of steps are shown: one below, one above the edge of chaos."""
BROAD: Mapping[str, Any] = {"linewidth": 3, "alpha": 0.45}  # so that marks on the line are seen
CROSSES_EVERY = 3  # stretches of time, so that the dashed line is seen between them
SMALLEST = 1e-5  # share of a step that is shown
ROOM = 12  # for the legend above the data, as a factor on the logarithmic axis
VISIBLE = 0.01  # of the largest share; negative ones beyond it are drawn in colours of their own


def draw(results: Evidence) -> Figure:
    """Above: subcritical; below: supercritical networks. A, D: curvature of every step along the leading eigenvector.

    It is a share of the whole measured one, also that of eq. (14) with the states and inputs of the network (crosses,
    means over stretches of time): the legends say how much of the measured curvature they sum to. Dashed is the weight
    of eq. (14) alone, which sums to 1.
    B, E: pairs of stretches of time, measured. C, F: the weights |lambda|^((D-s) + (D-t)) of eq. (14), which is how the
    pairs would be if every step did the same with the parameters. Both matrices of a row have one colour scale.
    """
    tree = results.files.get("curvature_over_time")
    if tree is None:
        return nothing("curvature_over_time")
    measured = tree["curvature_by_step"].to_dataset().isel(rank=0)
    figure, axes = panels(2, 3, height=2.4)
    total = predicted_share(measured)
    for row, (strengths, shown) in enumerate(zip((SUBCRITICAL, SUPERCRITICAL), MATRICES, strict=True)):
        by_step, pairs, weight = axes[3 * row : 3 * row + 3]
        for r in strengths:
            _by_step(by_step, measured.sel(r=r), r, float(total.sel(r=r).mean("seed")))
        by_step.set(xlabel="time step $t$", ylabel="share of curvature")
        by_step.plot([], [], color="0.4", linestyle=(0, (4, 2)), linewidth=0.8, label=r"weight $r^{D-t}$")
        by_step.plot([], [], color="0.4", linestyle="", marker="x", ms=3, label="eq. (14) (its sum)")
        by_step.legend(fontsize=6, loc="upper left" if r < 1 else "upper right")
        logarithmic(by_step)
        highest = positive(*(line.get_ydata() for line in by_step.lines)).max()
        view(by_step, SMALLEST, ROOM * highest)
        one = tree["curvature_by_step"].to_dataset().sel(r=shown).isel(seed=0)
        _matrices(pairs, weight, one.assign_attrs(measured.attrs), shown)
    spread = over_seeds({"A, D": measured})
    matrices = "B, C, E, F: first seed, one colour scale in each row"
    sums = ", ".join(f"{float(total.sel(r=r).mean('seed')):.2f} at r = {r:g}" for r in STRENGTH_CLASSES)
    weak = f"A, D: eq. (14) sums to {sums} of the measured curvature"
    figure.set_label(notes(f"{measured.attrs['samples']} test samples", spread, weak, matrices))
    return figure


def predicted_share(measured: xr.Dataset) -> xr.DataArray:
    """Return the share of the measured curvature that eq. (14) gives, summed over all pairs of steps."""
    found: xr.DataArray = measured.weak_coupling_curvature.sum(("bin", "other_bin")) / measured.curvature
    return found


def _by_step(ax: Axes, measured: xr.Dataset, r: float, total: float) -> None:
    share = measured.step_curvature / measured.curvature
    color = strength_color(r)
    band(ax, measured.step, share, color=color, label=f"$r={r:g}$ ({total:.2f})", **BROAD)
    weight = measured.step_weight.mean("seed")
    ax.plot(measured.step, weight, color=color, linestyle=(0, (4, 2)), linewidth=0.8)
    of_bin = (measured.weak_coupling_curvature.sum("other_bin") / measured.curvature).mean("seed")[:-1]
    first, last = (measured[name].isel(seed=0).values[:-1] for name in ("first_step", "last_step"))
    at, height = (first + last) / 2, of_bin / (last - first + 1)
    ax.plot(at, height, color=color, linestyle="", marker="x", ms=3, markevery=CROSSES_EVERY)


def _matrices(pairs: Axes, weight: Axes, one: xr.Dataset, r: float) -> None:
    """Draw both as shares, on the scale of the larger one."""
    share = one.step_to_step_curvature / one.curvature
    expected = one.pair_weight.expand_dims(rank=one["rank"])
    bins = {"bin": slice(None, -1), "other_bin": slice(None, -1)}  # without the readout, which is not drawn
    largest = max(float(values.isel(bins).max()) for values in (share, expected))
    image: dict[str, Any] = {"vmax": largest}
    if float(share.isel(bins).min()) > -VISIBLE * largest:
        image |= {"vmin": 0.0, "cmap": "magma_r"}
    for ax, values, name in ((pairs, share, "measured"), (weight, expected, r"$r^{(D-s)+(D-t)}$")):
        drawn = one.assign(step_to_step_curvature=values.transpose(*one.step_to_step_curvature.dims))
        plots.curvature_between_steps(drawn, ax=ax, **image)
        ax.set_aspect("auto")  # so that all panels of a row are equally high
        bar = ax.figure.axes[-1]
        bar.set_ylabel("share of curvature")
        bar.yaxis.set_major_formatter("{x:g}")
        title(ax, f"{name}, $r={r:g}$", fontsize=7)


SCRIPT = Script("curvature by time step, sub- and supercritical", ("curvature_over_time",), draw)
