"""Analyses of recurrent networks in PyTorch.

Lyapunov spectra, the variational term, gradient propagation and Hessian spectra of any PyTorch recurrent map,
as labelled xarray results.
"""

from lyapkit import plots as plots
from lyapkit import systems as systems

# the interface
from lyapkit.adapters import as_map as as_map

# everything at once
from lyapkit.analyze import analyze as analyze

# two networks
from lyapkit.comparison import compare as compare

# curvature and gradients
from lyapkit.curvature import curvature_by_step as curvature_by_step
from lyapkit.curvature import curvature_operator as curvature_operator
from lyapkit.curvature import hessian_spectrum as hessian_spectrum
from lyapkit.curvature import spectral_density as spectral_density

# rest points
from lyapkit.fixed_points import fixed_points as fixed_points
from lyapkit.gradients import gradient_propagation as gradient_propagation

# dynamics
from lyapkit.lyapunov import covariant_vectors as covariant_vectors
from lyapkit.lyapunov import lyapunov_exponents as lyapunov_exponents
from lyapkit.lyapunov import lyapunov_spectrum as lyapunov_spectrum
from lyapkit.lyapunov import variational_term as variational_term
from lyapkit.recurrent_map import RecurrentMap as RecurrentMap

# results
from lyapkit.reports import report as report
from lyapkit.results import load as load
from lyapkit.results import save as save
from lyapkit.results.summary import summary as summary

# trajectories
from lyapkit.states_and_jacobians.jacobians import jacobians as jacobians
from lyapkit.states_and_jacobians.states import states as states

# while a network is trained
from lyapkit.tracking import Tracker as Tracker

__all__ = [
    "RecurrentMap",
    "Tracker",
    "analyze",
    "as_map",
    "compare",
    "covariant_vectors",
    "curvature_by_step",
    "curvature_operator",
    "fixed_points",
    "gradient_propagation",
    "hessian_spectrum",
    "jacobians",
    "load",
    "lyapunov_exponents",
    "lyapunov_spectrum",
    "plots",
    "report",
    "save",
    "spectral_density",
    "states",
    "summary",
    "systems",
    "variational_term",
]
