"""Plot of everything in a tree of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots.comparison import exponent_differences, subspace_angles
from lyapkit.plots.covariant_vectors import covariant_vectors
from lyapkit.plots.curvature_by_step import curvature_by_step
from lyapkit.plots.gradient_propagation import gradient_propagation
from lyapkit.plots.hessian_spectrum import hessian_spectrum
from lyapkit.plots.jacobian_eigenvalues import jacobian_eigenvalues
from lyapkit.plots.lyapunov_spectrum import lyapunov_spectrum
from lyapkit.plots.spectral_density import spectral_density
from lyapkit.plots.state_space import state_space
from lyapkit.plots.variational_term import variational_term

PANELS: dict[str, tuple[Callable[..., Axes], ...]] = {
    "lyapunov_spectrum": (lyapunov_spectrum,),
    "variational_term": (variational_term,),
    "covariant_vectors": (covariant_vectors,),
    "gradient_propagation": (gradient_propagation,),
    "hessian_spectrum": (hessian_spectrum,),
    "spectral_density": (spectral_density,),
    "curvature_by_step": (curvature_by_step,),
    "states": (state_space,),
    "fixed_points": (jacobian_eigenvalues,),
    "jacobians": (jacobian_eigenvalues,),
    "compare": (exponent_differences, subspace_angles),
}
"""The plots of each analysis."""

COLUMNS = 3
"""Panels in a row, at most."""


@named_arguments()
def overview(tree: xr.DataTree | dict[str, xr.DataTree]) -> NDArray[Any]:
    """Draw every result of a tree in a panel of its own.

    Args:
        tree: DataTree of several analyses of one network, as `lyapkit.analyze` returns it; or ``{name: tree}`` of
            several networks to compare, which share the panels.

    Returns:
        The axes, one for each analysis and two for a comparison, with its name as the title.
        `matplotlib.axes.Axes.figure` of one of them is the figure.

    Raises:
        TypeError: If it is no tree.
        ValueError: If it holds no results of analyses, or a result has to be selected first, such as one over seeds.

    Example:
        >>> import lyapkit, torch
        >>> tree = lyapkit.analyze(
        ...     torch.nn.RNN(2, 4), torch.randn(20, 3, 2), torch.zeros(3, 1), torch.nn.functional.mse_loss,
        ...     readout=torch.nn.Linear(4, 1), include=["lyapunov_spectrum", "variational_term"],
        ... )
        >>> [ax.get_title() for ax in lyapkit.plots.overview(tree)]
        ['lyapunov_spectrum', 'variational_term']
    """
    trees = dict(tree) if isinstance(tree, dict) else {"": tree}
    for each in trees.values():
        if not isinstance(each, xr.DataTree):
            raise TypeError(
                f"overview draws a DataTree of several analyses, got {type(each).__name__}; join results with "
                'xarray.DataTree.from_dict({"lyapunov_spectrum": ds}), or draw one with the plot of its name.'
            )
    found = {name: _results(each) for name, each in trees.items()}
    paths = list(dict.fromkeys(path for results in found.values() for path in results))
    if not paths:
        raise ValueError("the tree holds no result of an analysis; pass what lyapkit.analyze returns.")
    panels = [(path, plot) for path in paths for plot in _plots(found, path)]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = plt.figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    drawn = []
    try:
        for place, (path, plot) in enumerate(panels):
            ax = figure.add_subplot(rows, columns, place + 1)
            there = {name: results[path] for name, results in found.items() if path in results}
            plot(there if isinstance(tree, dict) else there[""], ax=ax)
            ax.set_title(path)
            drawn.append(ax)
    except Exception:
        plt.close(figure)
        raise
    return np.array(drawn, dtype=object)


def _plots(found: dict[str, dict[str, xr.Dataset]], path: str) -> tuple[Callable[..., Axes], ...]:
    """Return the plots of the results at a path."""
    return PANELS[next(results[path].attrs["analysis"] for results in found.values() if path in results)]


def _results(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the results of a tree that can be drawn, by their paths within it."""
    nodes = {node.relative_to(tree): node for node in tree.subtree if node.attrs.get("analysis") in PANELS}
    return {node.attrs["analysis"] if path == "." else path: node.to_dataset() for path, node in nodes.items()}
