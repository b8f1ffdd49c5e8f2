"""Trajectories of a map: the states that it goes through, and its Jacobians there."""
