"""Products of curvature operators with blocks of vectors, by recursion through time."""
