"""Products of curvature operators with blocks of vectors, by automatic differentiation."""
