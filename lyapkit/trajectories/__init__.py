"""Trajectories of a map: their initial states and inputs, and the states that are kept of them."""
