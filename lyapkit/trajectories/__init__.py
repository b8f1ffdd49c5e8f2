"""Trajectories of a map: what they start from and are driven by, and which of their states are kept."""
