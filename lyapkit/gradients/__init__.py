"""Propagation of gradients back through time."""

from lyapkit.gradients.propagation import gradient_propagation as gradient_propagation

__all__ = ["gradient_propagation"]
