"""Curvature of a loss with respect to the parameters."""

from lyapkit.curvature.spectrum import hessian_spectrum as hessian_spectrum

__all__ = ["hessian_spectrum"]
