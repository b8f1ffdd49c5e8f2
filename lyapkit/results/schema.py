"""The result schema: reserved dimensions, and for every variable its dimensions, long name and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

SCHEMA_VERSION = 1

NAMED = "sequence or initial condition, by name"
"""Long name of the coordinate ``trajectory`` where it holds names instead of the numbers from 0."""

DIMENSIONS = {
    "trajectory": "sequence or initial condition, from 0",
    "step": "time step, from 1",
    "exponent": "rank of a Lyapunov exponent, from 1",
    "split": "number of leading covariant vectors on one side, from 1",
    "unit": "state component",
    "from_unit": "state component before the step",
    "input": "component of the input, from 0",
    "component": "principal component, from 1",
    "eigenvalue": "rank of an eigenvalue of a Jacobian by magnitude, from 1",
    "fixed_point": "fixed or slow point, from 1",
    "eigenvector": "rank of an eigenvector by the magnitude of its eigenvalue, from 1",
    "norm": "vector norm",
    "rank": "rank of a Hessian eigenvalue by magnitude, from 1",
    "parameter": "component of the flattened parameter vector, from 0",
    "parameter_tensor": "parameter tensor, by name",
    "recorded_step": "time step that is recorded, from 1",
    "probe": "random start vector, from 0",
    "node": "node of a quadrature, ascending, from 1",
    "value": "eigenvalue",
    "network": "network, by name or from 0",
    "sequence": "sequence or initial condition of a network, by name or from 0",
    "other_unit": "state component of the second network",
    "subspace": "number of leading covariant vectors that span it, from 1",
    "angle_rank": "rank of a principal angle, the smallest first, from 1",
    "pair": "two sets of covariant vectors, by their ranks",
    "window_step": "time step that counts, recorded or not, from 1",
    "bin": "stretch of time steps, or the readout",
    "other_bin": "stretch of time steps, or the readout",
}


@dataclass(frozen=True)
class Variable:
    """Labels of one result variable.

    Attributes:
        dims: Its dimensions.
        long_name: Its description, as an axis label.
        units: Its units, CF-like; ``{time}`` is replaced by the time unit in use.
        undefined: Whether values may be NaN, such as the error of an exponent of -inf.
    """

    dims: tuple[str, ...]
    long_name: str
    units: str
    undefined: bool = False


RATE = "nats per {time}"

SCHEMA: dict[str, dict[str, Variable]] = {
    "lyapunov_spectrum": {
        "lyapunov_exponent": Variable(("trajectory", "exponent"), "Lyapunov exponent", RATE),
        "standard_error": Variable(("trajectory", "exponent"), "standard error of the exponent", RATE, undefined=True),
        "below_resolution": Variable(("trajectory", "exponent"), "float64 cannot tell how small it is", "1"),
        "error_degrees_of_freedom": Variable(("trajectory",), "degrees of freedom of the standard errors", "1"),
        "error_reliable": Variable(("trajectory", "exponent"), "the run is long against its correlation time", "1"),
        "memory_timescale": Variable(("trajectory", "exponent"), "memory time scale", "{time}"),
        "running_exponent": Variable(("trajectory", "step", "exponent"), "running exponent", RATE),
        "local_growth": Variable(("trajectory", "step", "exponent"), "local growth rate", RATE),
        "last_step": Variable(("trajectory",), "last step that counts", "step"),
        "half_difference": Variable(
            ("trajectory", "exponent"), "exponent of the second half of the run minus that of the first", RATE, True
        ),
        "converged": Variable(("trajectory",), "the run was long enough", "1"),
        "probability_positive": Variable(("trajectory",), "probability that the leading exponent is positive", "1"),
        "kaplan_yorke_dimension": Variable(("trajectory",), "Kaplan-Yorke dimension", "1"),
        "kaplan_yorke_dimension_error": Variable(("trajectory",), "standard error of the Kaplan-Yorke dimension", "1"),
        "kaplan_yorke_is_lower_bound": Variable(("trajectory",), "Kaplan-Yorke dimension is a lower bound", "1"),
        "entropy_rate": Variable(("trajectory",), "sum of positive exponents", RATE),
        "entropy_rate_error": Variable(("trajectory",), "standard error of the sum of positive exponents", RATE),
        "frame_condition": Variable(("trajectory",), "largest condition number of the tangent frame", "1"),
        "final_state": Variable(("trajectory", "unit"), "state after the last step", "1"),
        "final_frame": Variable(("trajectory", "unit", "exponent"), "tangent frame after the last step", "1"),
        "frame_order": Variable(("trajectory", "exponent"), "column of the frame, from 0", "1"),
        "log_volume_residual": Variable(("trajectory",), "log-volume residual", RATE),
        "state": Variable(("trajectory", "recorded_step", "unit"), "state", "1"),
    },
    "variational_term": {
        "log_singular_value": Variable(
            ("trajectory", "step", "exponent"), "log singular value of the variational term", "nats"
        ),
        "running_exponent": Variable(("trajectory", "step", "exponent"), "finite-time exponent", RATE),
        "below_resolution": Variable(("trajectory", "step", "exponent"), "float64 cannot tell how small it is", "1"),
        "last_step": Variable(("trajectory",), "last step of the sequence", "step"),
    },
    "covariant_vectors": {
        "covariant_vector": Variable(("trajectory", "step", "unit", "exponent"), "covariant Lyapunov vector", "1"),
        "angle": Variable(
            ("trajectory", "step", "split"), "smallest angle between leading and remaining covariant vectors", "rad"
        ),
        "consecutive_angle": Variable(
            ("trajectory", "step", "split"), "angle between consecutive covariant vectors", "rad"
        ),
        "participation_ratio": Variable(("trajectory", "step", "exponent"), "participation ratio", "1"),
        "local_growth": Variable(("trajectory", "step", "exponent"), "local growth rate", RATE),
        "covariant_exponent": Variable(("trajectory", "exponent"), "mean growth rate of the covariant vector", RATE),
        "instantaneous_exponent": Variable(
            ("trajectory", "window_step", "exponent"), "growth rate of the covariant vector in the step", RATE
        ),
        "chosen_angle": Variable(
            ("trajectory", "step", "pair", "angle_rank"),
            "principal angle between chosen covariant vectors",
            "rad",
            True,
        ),
        "covariance_residual": Variable(("trajectory", "exponent"), "largest residual of covariance", "1"),
        "last_step": Variable(("trajectory",), "last step that counts", "step"),
        "forward_difference": Variable(
            ("trajectory", "exponent"), "distance of the leading frame vectors from those of another start", "1"
        ),
        "backward_difference": Variable(
            ("trajectory", "exponent"), "distance of the covariant vector from that of another start", "1"
        ),
    },
    "states": {
        "state": Variable(("trajectory", "step", "unit"), "state", "1"),
        "initial_state": Variable(("trajectory", "unit"), "state before the first step", "1"),
        "last_step": Variable(("trajectory",), "last step of the sequence", "step"),
        "principal_axis": Variable(("component", "unit"), "principal axis of the states", "1"),
        "mean_state": Variable(("unit",), "mean of the states", "1"),
        "explained_variance": Variable(("component",), "part of the variance along the axis", "1"),
    },
    "jacobians": {
        "jacobian": Variable(("trajectory", "step", "unit", "from_unit"), "Jacobian of the step", "1"),
        "eigenvalue_real": Variable(("trajectory", "step", "eigenvalue"), "real part of the eigenvalue", "1"),
        "eigenvalue_imag": Variable(("trajectory", "step", "eigenvalue"), "imaginary part of the eigenvalue", "1"),
        "input_jacobian": Variable(("trajectory", "step", "unit", "input"), "Jacobian towards the input", "1"),
        "last_step": Variable(("trajectory",), "last step of the sequence", "step"),
    },
    "fixed_points": {
        "state": Variable(("fixed_point", "unit"), "state", "1"),
        "speed": Variable(("fixed_point",), "speed |f(x) - x|", "1"),
        "stable": Variable(("fixed_point",), "all eigenvalues are inside the unit circle", "1"),
        "unstable_dimensions": Variable(("fixed_point",), "number of eigenvalues outside the unit circle", "1"),
        "slow": Variable(("fixed_point",), "the speed has a minimum above zero", "1"),
        "eigenvalue_real": Variable(("fixed_point", "eigenvalue"), "real part of the eigenvalue", "1"),
        "eigenvalue_imag": Variable(("fixed_point", "eigenvalue"), "imaginary part of the eigenvalue", "1"),
        "residual": Variable(("fixed_point",), "largest component of f(x) - x in units of its scale", "1"),
        "state_error": Variable(("fixed_point",), "distance from the exact fixed point", "1"),
        "marginal_dimensions": Variable(("fixed_point",), "number of eigenvalues on the unit circle", "1"),
        "continuum_dimension": Variable(("fixed_point",), "dimension of the continuum of fixed points", "1"),
        "starts": Variable(("fixed_point",), "number of starts that ended here", "1"),
        "outlier": Variable(("fixed_point",), "far outside of the starts", "1"),
        "on_kink": Variable(("fixed_point",), "the map has no derivative here", "1"),
        "minimal_period": Variable(("fixed_point",), "shortest period", "step"),
        "orbit": Variable(("fixed_point",), "number of the orbit, from 1", "1"),
        "eigenvector_real": Variable(("fixed_point", "unit", "eigenvector"), "real part of the eigenvector", "1"),
        "eigenvector_imag": Variable(("fixed_point", "unit", "eigenvector"), "imaginary part of the eigenvector", "1"),
    },
    "gradient_propagation": {
        "gradient_norm": Variable(("norm", "trajectory", "step"), "gradient norm |dL/dx_t|", "1"),
        "log_gradient_norm": Variable(("norm", "trajectory", "step"), "log gradient norm", "nats"),
        "growth_rate": Variable(
            ("norm", "trajectory"), "growth rate of the gradient per step back in time", "nats per step"
        ),
        "growth_rate_error": Variable(
            ("norm", "trajectory"), "standard error of the growth rate", "nats per step", undefined=True
        ),
        "growth_offset": Variable(("norm", "trajectory"), "log gradient norm of the fitted line at the end", "nats"),
        "fitted_steps": Variable(("norm", "trajectory"), "steps that the fitted line rests on", "1"),
        "last_step": Variable(("trajectory",), "last step of the sequence", "step"),
        "leading_exponent": Variable(("trajectory",), "leading Lyapunov exponent", "nats per step"),
        "leading_exponent_error": Variable(
            ("trajectory",), "standard error of the leading exponent", "nats per step", undefined=True
        ),
        "predicted_rate": Variable((), "predicted growth rate of the gradient per step back in time", "nats per step"),
        "log_unit_gradient": Variable(("trajectory", "recorded_step", "unit"), "log |dL/dx_t| of the unit", "nats"),
        "unit_gradient_sign": Variable(("trajectory", "recorded_step", "unit"), "sign of dL/dx_t of the unit", "1"),
        "log_parameter_gradient_norm": Variable(
            ("parameter_tensor", "step"), "log norm of the contribution of the step to the gradient", "nats"
        ),
        "log_total_gradient_norm": Variable(("parameter_tensor",), "log norm of the gradient of the parameter", "nats"),
    },
    "hessian_spectrum": {
        "eigenvalue": Variable(("rank",), "eigenvalue", "1"),
        "residual": Variable(("rank",), "residual norm |H v - lambda v|", "1"),
        "error_bound": Variable(("rank",), "bound on the error of the eigenvalue", "1"),
        "converged": Variable(("rank",), "the residual met the tolerance", "1"),
        "effective_learning_rate": Variable(("rank",), "effective learning rate 1/(1 - eta lambda)", "1"),
        "effective_learning_rate_low": Variable(("rank",), "effective learning rate, lower end", "1"),
        "effective_learning_rate_high": Variable(("rank",), "effective learning rate, upper end", "1"),
        "contains_pole": Variable(("rank",), "the residual interval holds the pole eta lambda = 1", "1"),
        "stable_learning_rate": Variable((), "largest stable learning rate for the eigenvalues found", "1"),
        "eigenvector": Variable(("parameter", "rank"), "eigenvector", "1"),
    },
    "spectral_density": {
        "quadrature_node": Variable(("probe", "node"), "node of the quadrature", "1"),
        "quadrature_weight": Variable(("probe", "node"), "weight of the node", "1"),
        "density": Variable(("value",), "spectral density", "1"),
        "density_standard_error": Variable(("value",), "standard error of the density", "1"),
        "density_per_decade": Variable(("value",), "spectral density per decade", "1"),
        "density_per_decade_standard_error": Variable(("value",), "standard error of the density per decade", "1"),
        "cumulative_distribution": Variable(("value",), "part of the eigenvalues up to the value", "1"),
        "cumulative_distribution_low": Variable(
            ("value",), "lower end of the band of the cumulative distribution", "1"
        ),
        "cumulative_distribution_high": Variable(
            ("value",), "upper end of the band of the cumulative distribution", "1"
        ),
        "trace": Variable((), "trace", "1"),
        "trace_standard_error": Variable((), "standard error of the trace", "1"),
        "deflated_eigenvalue": Variable(("rank",), "eigenvalue that was taken out", "1"),
    },
    "curvature_by_step": {
        "eigenvalue": Variable(("rank",), "eigenvalue", "1"),
        "curvature": Variable(("rank",), "curvature v'Av along the eigenvector", "1"),
        "step_curvature": Variable(("rank", "step"), "contribution of the step to v'Av", "1"),
        "readout_curvature": Variable(("rank",), "contribution of the readout's parameters to v'Av", "1"),
        "step_to_step_curvature": Variable(("rank", "bin", "other_bin"), "curvature v_s'A_st v_t between steps", "1"),
        "weak_coupling_curvature": Variable(
            ("rank", "bin", "other_bin"), "curvature between steps by the residual alone, eq. (14)", "1"
        ),
        "first_step": Variable(("bin",), "first step of the bin", "1"),
        "last_step": Variable(("bin",), "last step of the bin", "1"),
        "layer_curvature": Variable(("rank", "step"), "contribution of the unrolled layer to the residual term", "1"),
        "layer_state_curvature": Variable(
            ("rank", "step"), "part of the layer's contribution that is quadratic in the state, eq. (9)", "1"
        ),
        "readout_layer_curvature": Variable(("rank",), "contribution of the readout to the residual term", "1"),
    },
}


def _with_interval(name: str, dims: tuple[str, ...], long_name: str, units: str) -> dict[str, Variable]:
    """Return a variable and those of its standard error and 95 % interval."""
    labels = {
        name: long_name,
        f"{name}_error": f"standard error of the {long_name}",
        f"{name}_low": f"lower end of the 95 % interval of the {long_name}",
        f"{name}_high": f"upper end of the 95 % interval of the {long_name}",
    }
    return {key: Variable(dims, label, units, undefined=True) for key, label in labels.items()}


SCHEMA["compare"] = {
    **_with_interval("exponent_difference", ("exponent",), "Lyapunov exponent of a minus that of b", RATE),
    **_with_interval("procrustes_distance", (), "Procrustes distance of the states", "rad"),
    "procrustes_bias": Variable((), "estimated bias of the Procrustes distance", "rad", undefined=True),
    **_with_interval(
        "principal_angle", ("subspace", "angle_rank"), "mean principal angle between leading subspaces", "rad"
    ),
    "forward_difference": Variable(
        ("network", "subspace"), "distance of the leading frame vectors from those of another start", "1", True
    ),
    "alignment_open": Variable(
        ("subspace",), "change of the mean cosine that other alignments could make", "1", undefined=True
    ),
    "lyapunov_exponent": Variable(("network", "trajectory", "exponent"), "Lyapunov exponent", RATE),
    "rotation": Variable(("unit", "other_unit"), "best orthogonal map from the states of b to those of a", "1", True),
    "scale": Variable((), "size of the states of a for those of b after the best map", "1", undefined=True),
    "aligned_dimensions": Variable((), "dimensions in which the states determine the alignment", "1"),
}


def make_dataset(
    analysis: str,
    values: Mapping[str, np.ndarray],
    coordinates: Mapping[str, Sequence[object] | np.ndarray],
    attributes: Mapping[str, object],
    time_unit: str = "step",
) -> xr.Dataset:
    """Label the values of one analysis.

    Args:
        analysis: Key of `SCHEMA`.
        values: Arrays by variable name; only names of the schema.
        coordinates: One coordinate for every dimension in use. ``network`` and ``sequence`` describe trajectories where
            they are no dimensions.
        attributes: Provenance.
        time_unit: Time unit that replaces ``{time}``.

    Returns:
        The Dataset; every variable has ``long_name`` and ``units``, every dimension a coordinate.
    """
    schema = SCHEMA[analysis]
    assert set(values) <= set(schema), f"not in the schema of {analysis}: {set(values) - set(schema)}"
    variables = {
        name: xr.Variable(
            schema[name].dims,
            value,
            {"long_name": schema[name].long_name, "units": schema[name].units.format(time=time_unit)},
        )
        for name, value in values.items()
    }
    used = {dim for name in values for dim in schema[name].dims}
    describing = {"network", "sequence"} - used
    labels = {
        name: xr.Variable(
            ("trajectory" if name in describing else name,), np.asarray(value), {"long_name": DIMENSIONS[name]}
        )
        for name, value in coordinates.items()
    }
    if "trajectory" in labels and not np.array_equal(labels["trajectory"].values, np.arange(labels["trajectory"].size)):
        labels["trajectory"].attrs["long_name"] = NAMED
    for name, value in values.items():
        assert schema[name].undefined or not np.isnan(value).any(), f"{name} holds NaN; it never leaves unannounced"
    return xr.Dataset(variables, labels, {"analysis": analysis, **attributes})
