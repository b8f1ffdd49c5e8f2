"""Plot of the Hessian's eigenvalues beside those of its two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, check_names
from lyapkit.plots._labels import LINE, Ranks, one_result, with_defaults
from lyapkit.plots.hessian_spectrum import hessian_spectrum, operator_of

TITLES = {"hessian": "Hessian", "ggn": "= Gauss-Newton", "residual": "+ residual"}


@named_arguments(LINE)
def curvature_split(
    hessian: Results,
    ggn: Results,
    residual: Results,
    *,
    axes: Sequence[Axes] | None = None,
    **line: Any,
) -> tuple[Axes, Axes, Axes]:
    """Draw the eigenvalues of the Hessian and of its two parts in eq. (7) by rank, side by side.

    Args:
        hessian: Result of `lyapkit.hessian_spectrum` with ``operator="hessian"``, or ``{name: result}`` of several to
            compare.
        ggn: The same with ``operator="ggn"``.
        residual: The same with ``operator="residual"``.
        axes: Three axes to draw on; a new figure with a common vertical axis by default.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color``.

    Returns:
        The three axes, with markers and bars as in `lyapkit.plots.hessian_spectrum`.

    Raises:
        TypeError: If some arguments are single results and others ``{name: result}``.
        ValueError: If a result is of another analysis or operator, there are not three axes, or the names differ.

    Example:
        >>> import lyapkit, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
        >>> batch, loss = (torch.eye(2), torch.ones(2, 1)), torch.nn.functional.mse_loss
        >>> parts = [lyapkit.hessian_spectrum(model, batch, loss, k=2, operator=o, rng=0)
        ...          for o in ("hessian", "ggn", "residual")]
        >>> [ax.get_title(loc="center") or ax.get_title(loc="left") for ax in lyapkit.plots.curvature_split(*parts)]
        ['Hessian', '= Gauss-Newton', '+ residual']
    """
    parts: dict[str, Any] = {"hessian": hessian, "ggn": ggn, "residual": residual}
    _check_names(parts, line)
    for name, part in parts.items():
        for result in part.values() if isinstance(part, dict) else (part,):
            found = operator_of(one_result(result, "hessian_spectrum", "eigenvalue", "rank"))
            if found != name:
                raise ValueError(f"{name} must be the spectrum of the operator {name!r}, got that of {found!r}.")
    if axes is None:
        axes = plt.figure(layout="constrained").subplots(1, 3, sharey=True)
    if np.ndim(axes) != 1 or len(axes) != 3:  # type: ignore[arg-type]
        raise ValueError(f"axes must be three, one for each operator, got {np.size(axes)}.")  # type: ignore[arg-type]
    for ax, (name, part) in zip(axes, parts.items(), strict=True):
        hessian_spectrum(part, ax=ax, **with_defaults(line, markersize=2.0, linewidth=0.5))
        ax.xaxis.set_major_locator(Ranks(nbins=3))
        ax.set_title(TITLES[name])
        ax.set_xlabel("rank")
    axes[0].set_ylabel(r"eigenvalue $|\lambda|$, open: $\lambda < 0$")
    for ax in axes[1:]:
        ax.set_ylabel("")
        if isinstance(hessian, dict):
            ax.legend().remove()  # that of the first holds for all
    first, second, third = axes
    return first, second, third


def _check_names(parts: Mapping[str, Any], line: Mapping[str, Any]) -> None:
    """Check that all parts are single results, or have the same names.

    Raises:
        TypeError: If only some are single results, or a name is no text.
        ValueError: If the names differ, or there are none.
    """
    named = [part for part in parts.values() if isinstance(part, dict)]
    if named and len(named) < len(parts):
        raise TypeError("hessian, ggn and residual must be three results, or three dictionaries of the same names.")
    for part in named:
        check_names(part, line)
        if list(part) != list(named[0]):
            raise ValueError(
                f"hessian, ggn and residual must have the same names, got {', '.join(named[0])} beside "
                f"{', '.join(part)}."
            )
