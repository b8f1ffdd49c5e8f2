"""Plots of the results: one function per analysis, named after it.

Each takes the Dataset and ``ax=``, draws, and returns the Axes; none shows, saves or changes global settings. The
shipped style is used with ``plt.style.context("lyapkit.plots.paper")``.
"""

from lyapkit.plots.gradient_propagation import gradient_propagation as gradient_propagation
from lyapkit.plots.hessian_spectrum import hessian_spectrum as hessian_spectrum
from lyapkit.plots.lyapunov_spectrum import lyapunov_spectrum as lyapunov_spectrum
from lyapkit.plots.variational_term import variational_term as variational_term

__all__ = ["gradient_propagation", "hessian_spectrum", "lyapunov_spectrum", "variational_term"]
