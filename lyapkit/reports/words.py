"""Explanations of results in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Explanation of the results of one analysis.

    Attributes:
        title: Heading.
        about: What was computed, and how to read it.
        value: What the column ``value`` of the table holds.
        variable: The variable whose units the values have; empty if they have different ones.
        error: What the column ``error`` holds; empty where an analysis gives none.
    """

    title: str
    about: str
    value: str
    variable: str
    error: str = ""


WORDS = {
    "lyapunov_spectrum": Words(
        "Lyapunov exponents",
        "A small difference between two states grows or shrinks as the network runs. A Lyapunov exponent is its mean "
        "rate along one direction, on a logarithmic scale: at -0.1 per step, the difference shrinks by the factor "
        "exp(-0.1) = 0.90 at every step. There is one exponent for each direction, sorted from the largest. If the "
        "largest is above 0, small differences grow and the network is chaotic. If it is below 0, the network forgets "
        "its initial state. With inputs, the exponents hold along these inputs.",
        "Lyapunov exponent",
        "lyapunov_exponent",
        "standard error",
    ),
    "variational_term": Words(
        "Variational term",
        "The variational term is the product of the Jacobians of all steps: it carries a small change of the first "
        "state to the last one. The table holds its singular values as exponents, which is the logarithm divided by "
        "the time. These are exact for this stretch up to rounding, so that they have no standard error. They tend to "
        "the Lyapunov exponents as the stretch grows.",
        "finite-time exponent at the last step",
        "running_exponent",
    ),
    "covariant_vectors": Words(
        "Covariant Lyapunov vectors",
        "A covariant vector is the direction in which small differences grow at the rate of one exponent, forward and "
        "backward in time. The table holds the mean growth rate along each. Angles near 0 between vectors say that "
        "growing and shrinking directions almost touch. A vector counts as settled when those of two independent "
        "starts have met.",
        "mean growth rate along the vector",
        "covariant_exponent",
    ),
    "gradient_propagation": Words(
        "Gradient propagation",
        "The gradient of the loss with respect to the state at each step says how much learning sees of that step. The "
        "table holds the rate at which its norm changes per step back in time. Below 0, gradients vanish and early "
        "steps are hard to learn from. Above 0, they explode. For a loss on the last step, the rate tends to the "
        "largest Lyapunov exponent.",
        "growth rate of the gradient per step back in time",
        "growth_rate",
        "standard error",
    ),
    "hessian_spectrum": Words(
        "Curvature of the loss",
        "The Hessian holds the second derivatives of the loss with respect to the parameters. An eigenvalue is the "
        "curvature along one direction of the parameters: above 0 the loss bends upward, below 0 downward. The table "
        "holds the eigenvalues of largest magnitude. Gradient descent is stable while the learning rate is below "
        "2 / (largest eigenvalue).",
        "eigenvalue",
        "eigenvalue",
        "bound on the error",
    ),
    "spectral_density": Words(
        "Density of the curvature",
        "The density tells how the eigenvalues of all parameters are spread, most of which lie near 0. It is estimated "
        "from random vectors. The table holds the trace, which is the sum of all eigenvalues.",
        "trace",
        "trace",
        "standard error",
    ),
    "curvature_by_step": Words(
        "Curvature by time step",
        "Each time step contributes to the curvature along an eigenvector of the Hessian. The table holds the whole "
        "curvature along each eigenvector, and the figure the share of each step.",
        "curvature along the eigenvector",
        "curvature",
    ),
    "states": Words(
        "States",
        "The states that the network visits. Principal axes are directions in the space of states, sorted by how much "
        "of the variance they hold. If a few hold almost all, the network moves in few dimensions.",
        "part of the variance along the axis",
        "explained_variance",
    ),
    "jacobians": Words(
        "Jacobians",
        "The Jacobian of a step says how the state after it changes with the state before it. The table holds the "
        "largest magnitude of its eigenvalues. Above 1, some direction grows at this step.",
        "largest magnitude of an eigenvalue",
        "eigenvalue_real",
    ),
    "fixed_points": Words(
        "Fixed points",
        "At a fixed point, the network stays where it is while the input is constant. It is stable if states near it "
        "come closer, which is so when all eigenvalues of the Jacobian have magnitudes below 1. The table holds the "
        "largest magnitude at each point. A saddle attracts along some directions and repels along others. At a slow "
        "point, the network moves least but does not stop.",
        "largest magnitude of an eigenvalue",
        "eigenvalue_real",
    ),
    "compare": Words(
        "Comparison of two networks",
        "Two networks run on the same inputs. The table holds differences of their Lyapunov exponents, the Procrustes "
        "distance of their states, which is how much of the shape of the trajectories differs after the best rotation "
        "and scaling, and the largest angle between subspaces of their leading directions. Differences of exponents "
        "are rates, such as nats per step; distances and angles are in rad.",
        "difference, distance or angle",
        "",
        "standard error",
    ),
}
"""The explanation of each analysis."""

COLUMNS = {
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "verdict": "verdict",
    "speed": "speed",
    "state_error": "distance from the exact point",
    "unstable_dimensions": "growing directions",
    "starts": "starts that ended here",
}
"""Headers of the columns of a table that are the same for all analyses."""

INTERVALS = {
    "standard error": "The standard error says how far the value may be off by chance, because the run is finite. The "
    "interval holds the true value with 95 % confidence.",
    "bound on the error": "The true eigenvalue lies within the bound, which is the interval.",
}
"""Explanations of the columns of errors."""

VERDICTS = {
    "positive": "above 0 by more than the error",
    "negative": "below 0 by more than the error",
    "not told from 0": "the error is larger than the distance from 0",
    "annihilated": "the network sets this direction to 0, so that the rate is -inf",
    "below resolution": "so small that float64 cannot tell how small",
    "run too short": "the run is too short to tell the error, so that the value stands without one",
    "not settled": "the vectors of two independent starts have not met",
    "not converged": "the residual has not met the tolerance",
    "explodes": "the gradient grows back in time",
    "vanishes": "the gradient shrinks back in time",
    "expanding": "some direction grows at this step",
    "contracting": "the eigenvalues are within the unit circle",
    "1": "the largest magnitude is exactly 1",
    "behind the end": "the sequence has ended before this step",
    "varies": "the states vary along this axis",
    "does not vary": "the states do not vary along this axis",
    "stable": "states near the point come closer",
    "saddle": "some directions grow, others shrink",
    "repeller": "all directions grow",
    "undecided": "some magnitude cannot be told from 1",
    "on a kink": "the network has no derivative at the point",
    "on a continuum": "the point is one of a line or a surface of fixed points",
    "slow point": "the network moves least here, but does not stop",
    "differs": "the interval does not hold 0",
    "equal to rounding": "the two networks agree to the precision of their numbers",
    "alignment open": "the states do not determine how the networks are to be aligned",
    "annihilated in one": "one of the networks sets this direction to 0, and the other does not",
    "does not exist": "there is no such value, because the states or directions do not determine it",
    "missing": "this result has no such value, as where results of different sizes were joined",
}
"""The meaning of each verdict of a table."""

ORIGIN = {
    "created_at": "computed at",
    "lyapkit_version": "version of lyapkit",
    "torch_version": "version of PyTorch",
    "dtype": "type of the numbers",
    "device": "device",
    "checkpoint_sha256": "SHA-256 of the weights file",
}
"""Attributes that say where a result comes from."""
