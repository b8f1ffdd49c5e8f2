"""Plot of eigenvalues of Jacobians in the complex plane."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, dataset_of, one_result, with_defaults


@named_arguments(LINE)
@comparable
def jacobian_eigenvalues(ds: Results, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw eigenvalues of Jacobians in the complex plane, with the unit circle.

    Args:
        ds: Result of `lyapkit.jacobians`, all of whose trajectories and steps are drawn, or of `lyapkit.fixed_points`;
            or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color``, ``label`` or ``marker``.

    Returns:
        The axes, with equal scales. Directions with eigenvalues outside the circle grow. What lies behind the end of a
        shorter sequence is not drawn.

    Raises:
        ValueError: If ``ds`` is another analysis' result, or has no eigenvalues.

    Example:
        >>> import lyapkit, torch
        >>> ds = lyapkit.jacobians(torch.nn.GRU(2, 8), torch.randn(20, 2))
        >>> lyapkit.plots.jacobian_eigenvalues(ds).get_xlabel()
        'real part of the eigenvalue'
    """
    is_points = getattr(ds, "attrs", {}).get("analysis") == "fixed_points"
    dataset = dataset_of(ds, "fixed_points" if is_points else "jacobians")
    if "eigenvalue_real" not in dataset:
        raise ValueError("the Dataset has no eigenvalues; call jacobians with eigenvalues=True.")
    dims = ("fixed_point",) if is_points else ("trajectory", "step")
    dataset = one_result(dataset, dataset.attrs["analysis"], "eigenvalue_real", *dims, "eigenvalue")
    real, imaginary = (dataset[name].values for name in ("eigenvalue_real", "eigenvalue_imag"))
    if not is_points:
        done = dataset["step"].values <= dataset["last_step"].values[:, None]
        real, imaginary = real[done], imaginary[done]
    ax = axes_or_new(ax)
    style = with_defaults(line, linestyle="none", marker=".", markersize=3.5, alpha=0.6)
    ax.plot(real.ravel(), imaginary.ravel(), **style)
    if not any(isinstance(patch, Circle) for patch in ax.patches):
        ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor="0.4", linewidth=0.8, zorder=0))
        ax.plot([-1, 1], [0, 0], linestyle="none")  # a patch does not extend the view
        ax.plot([0, 0], [-1, 1], linestyle="none")
    ax.set_aspect("equal", adjustable="datalim")
    names = ("real part of the eigenvalue", "imaginary part of the eigenvalue")
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    return ax
