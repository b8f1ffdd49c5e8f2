"""States of a map along its trajectories, and the Jacobians there, as labelled results."""
