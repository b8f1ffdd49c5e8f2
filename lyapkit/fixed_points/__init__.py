"""Fixed points of a map: search, stability, and their labelled result."""

from lyapkit.fixed_points.analysis import fixed_points as fixed_points

__all__ = ["fixed_points"]
