"""Results that are not measured yet: left out, and listed in the text beside the figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NOT_MEASURED = "not measured yet"


class Missing:
    """A list of the results that a figure leaves out.

    Example:
        >>> missing = Missing()
        >>> missing("A, r = 1")
        >>> missing("B")
        >>> missing.note()
        'not measured yet: A, r = 1; B'
    """

    def __init__(self) -> None:
        self._parts: list[str] = []

    def __call__(self, what: str) -> None:
        """Add a result that is left out.

        Args:
            what: The panel, or the panel and the curve.
        """
        self._parts.append(what)

    def panel(self, what: str, *axes: Axes) -> None:
        """Leave a panel empty except for its letter, and add it.

        Args:
            what: The panel; empty if it has been added already.
            axes: The axes of the panel, side by side; the first has the letter.
        """
        if what:
            self(what)
        for ax in axes:
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
            ax.minorticks_off()
            ax.spines[:].set_visible(False)
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.4", "fontsize": 7}
        axes[len(axes) // 2].text(0.5, 0.5, NOT_MEASURED, transform=axes[len(axes) // 2].transAxes, **style)

    def values(self, panel: str, name: str, values: Sequence[float | str]) -> None:
        """Add values of a quantity whose curves are left out; do nothing if there are none.

        Args:
            panel: The panel that would show the curves.
            name: Name of the quantity.
            values: Values of the quantity.
        """
        if values:
            self(f"{panel}, {name} = {', '.join(v if isinstance(v, str) else f'{v:g}' for v in values)}")

    def note(self) -> str:
        """Return the note for the text beside the figure; empty if nothing is left out."""
        return f"{NOT_MEASURED}: {'; '.join(self._parts)}" if self._parts else ""


def nothing(name: str) -> Figure:
    """Return an empty figure, for when there is nothing to draw.

    Args:
        name: Name of the missing result file.
    """
    figure, missing = plt.figure(figsize=(4, 1), layout="constrained"), Missing()
    missing.panel(f"all, for want of {name}.nc", figure.add_subplot())
    figure.set_label(missing.note())
    return figure


def recorded(training: xr.Dataset) -> xr.Dataset:
    """Return trainings, less network instances and points of other dimensions at which none has ended.

    Args:
        training: The result of `figures.campaign.results.training_results`, or a part of it.
    """
    there = training.status != "waiting"
    others = {dim: [other for other in there.dims if other != dim] for dim in there.dims}
    return training.isel({dim: np.flatnonzero(there.any(along)) for dim, along in others.items()})


def instance(found: xr.Dataset | None, variable: str, **point: float | str) -> xr.Dataset | None:
    """Return the first network instance with a measured variable; None if there is none.

    Args:
        found: An analysis over ``seed``, from `figures.campaign.results.analysis_results`.
        variable: Name of the variable.
        point: Labels of the other dimensions.
    """
    if found is None or variable not in found or any(value not in found[name].values for name, value in point.items()):
        return None
    one = found.sel(point)
    there = one[variable].notnull()
    seeds = np.flatnonzero(there.any([dim for dim in there.dims if dim != "seed"]))
    return one.isel(seed=seeds[0]) if seeds.size else None


def last_checkpoint(found: xr.Dataset | None, variable: str, **point: float | str) -> int | None:
    """Return the last training iteration, above 0, at which some instance was analysed; None if there is none."""
    if found is None or variable not in found or any(value not in found[name].values for name, value in point.items()):
        return None
    there = found[variable].sel(point).notnull()
    trained = found.checkpoint.values[there.any([dim for dim in there.dims if dim != "checkpoint"]).values]
    return int(trained[-1]) if trained.size and trained[-1] > 0 else None
