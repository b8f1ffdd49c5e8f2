"""Quadratic forms of curvature, resolved by time step."""
