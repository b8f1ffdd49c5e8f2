"""Comparison of two networks: spectra, state trajectories and leading subspaces."""

from lyapkit.comparison.analysis import compare as compare

__all__ = ["compare"]
