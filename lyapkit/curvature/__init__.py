"""Curvature of a loss with respect to the parameters."""

from lyapkit.curvature.by_step import curvature_by_step as curvature_by_step
from lyapkit.curvature.density import spectral_density as spectral_density
from lyapkit.curvature.scipy_operator import curvature_operator as curvature_operator
from lyapkit.curvature.spectrum import hessian_spectrum as hessian_spectrum

__all__ = ["curvature_by_step", "curvature_operator", "hessian_spectrum", "spectral_density"]
