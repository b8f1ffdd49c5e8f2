"""Plots of the results: one function per analysis, named after it.

Each takes the Dataset and ``ax=`` (those of several panels ``axes=``), draws, and returns the Axes; all also take
``{name: Dataset}`` to draw several.
None shows a figure, saves it, or changes settings. The shipped style is used with
``plt.style.context("lyapkit.plots.paper")``.
"""

from lyapkit.plots.comparison import comparison as comparison
from lyapkit.plots.covariant_vectors import covariant_vectors as covariant_vectors
from lyapkit.plots.curvature_between_steps import curvature_between_steps as curvature_between_steps
from lyapkit.plots.curvature_by_step import curvature_by_step as curvature_by_step
from lyapkit.plots.curvature_split import curvature_split as curvature_split
from lyapkit.plots.exponents_over_checkpoints import exponents_over_checkpoints as exponents_over_checkpoints
from lyapkit.plots.gradient_propagation import gradient_propagation as gradient_propagation
from lyapkit.plots.hessian_spectrum import hessian_spectrum as hessian_spectrum
from lyapkit.plots.jacobian_eigenvalues import jacobian_eigenvalues as jacobian_eigenvalues
from lyapkit.plots.kaplan_yorke import kaplan_yorke as kaplan_yorke
from lyapkit.plots.local_growth import local_growth as local_growth
from lyapkit.plots.lyapunov_spectrum import lyapunov_spectrum as lyapunov_spectrum
from lyapkit.plots.overview import overview as overview
from lyapkit.plots.phase_plane import phase_plane as phase_plane
from lyapkit.plots.running_exponents import running_exponents as running_exponents
from lyapkit.plots.spectral_density import spectral_density as spectral_density
from lyapkit.plots.state_space import state_space as state_space
from lyapkit.plots.variational_term import variational_term as variational_term

__all__ = [
    "comparison",
    "covariant_vectors",
    "curvature_between_steps",
    "curvature_by_step",
    "curvature_split",
    "exponents_over_checkpoints",
    "gradient_propagation",
    "hessian_spectrum",
    "jacobian_eigenvalues",
    "kaplan_yorke",
    "local_growth",
    "lyapunov_spectrum",
    "overview",
    "phase_plane",
    "running_exponents",
    "spectral_density",
    "state_space",
    "variational_term",
]
