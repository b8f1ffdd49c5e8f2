"""What every result carries: labels, units, provenance."""

import datetime
import json
import math

import numpy as np
import pytest
import torch

import lyapkit
from lyapkit.results import make_dataset, provenance
from lyapkit.results.schema import DIMENSIONS, SCHEMA, SCHEMA_VERSION
from sample_results import ANALYSES, INPUTS, cell


@pytest.mark.parametrize("name", ANALYSES)
def test_every_variable_is_described_and_every_dimension_labelled(name: str) -> None:
    ds = ANALYSES[name]()
    assert ds.attrs["analysis"] == name
    assert set(ds.data_vars) == set(SCHEMA[name])
    for key, variable in ds.data_vars.items():
        assert variable.dims == SCHEMA[name][key].dims
        assert variable.attrs["long_name"] == SCHEMA[name][key].long_name
        assert variable.attrs["units"] == SCHEMA[name][key].units.format(time="step")
        assert not np.isnan(variable.values).any()
    assert set(ds.dims) == set(ds.coords) <= set(DIMENSIONS)
    for dim in ds.dims:
        assert ds[dim].attrs["long_name"] == DIMENSIONS[dim]
        first = {
            "trajectory": 0,
            "norm": "inf",
            "window_step": 3,
            "pair": "1 | 2",
            "step": 3 if name in ("lyapunov_spectrum", "covariant_vectors") else 1,
            "parameter": 0,
            "unit": "h[0]",
            "recorded_step": 3 if name == "lyapunov_spectrum" else 5,
            "parameter_tensor": "weight_ih",
        }
        assert ds[dim].values[0] == first.get(dim, 1)


def test_schema_fixes_shapes_and_types() -> None:
    sizes = {
        "lyapunov_spectrum": {"trajectory": 2, "step": 10, "exponent": 2, "unit": 6, "recorded_step": 10},
        "variational_term": {"trajectory": 2, "step": 12, "exponent": 6},
        "covariant_vectors": {
            "trajectory": 2,
            "step": 7,
            "unit": 6,
            "exponent": 2,
            "split": 1,
            "window_step": 7,
            "pair": 1,
            "angle_rank": 1,
        },
        "gradient_propagation": {
            "norm": 2,
            "trajectory": 2,
            "step": 12,
            "recorded_step": 3,
            "unit": 6,
            "parameter_tensor": 6,
        },
        "hessian_spectrum": {"rank": 2, "parameter": 3},
    }
    for name, expected in sizes.items():
        ds = ANALYSES[name]()
        assert dict(ds.sizes) == expected
        for key, variable in ds.data_vars.items():
            flags = {
                "below_resolution": np.int8,
                "kaplan_yorke_is_lower_bound": np.int8,
                "converged": np.int8,
                "error_reliable": np.int8,
                "contains_pole": np.int8,
                "fitted_steps": np.int64,
                "frame_order": np.int64,
                "last_step": np.int64,
                "unit_gradient_sign": np.int8,
            }
            assert variable.dtype == flags.get(key, np.float64)


@pytest.mark.parametrize("name", ANALYSES)
def test_every_result_says_where_it_comes_from(name: str) -> None:
    started = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    attributes = ANALYSES[name]().attrs
    created = datetime.datetime.fromisoformat(attributes["created_at"])
    assert started <= created <= datetime.datetime.now(datetime.UTC)
    assert attributes["creation_library"] == "lyapkit"
    assert attributes["lyapkit_version"].split(".")[0].isdigit()
    assert attributes["torch_version"] == torch.__version__
    assert (attributes["dtype"], attributes["device"]) == ("float64", "cpu")
    assert (attributes["checkpoint_sha256"], attributes["schema_version"]) == ("", SCHEMA_VERSION)
    assert all(type(value) in (str, int, float) for value in attributes.values())  # what netCDF attributes can hold

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    config = json.loads(attributes["config_json"], parse_constant=refuse)
    expected = {
        "lyapunov_spectrum": {
            "steps": 12,
            "transient": 2,
            "k": 2,
            "qr_interval": "auto",
            "rng_seed": 0,
            "driven": True,
        },
        "variational_term": {"steps": 12, "k": 6, "record_every": 1, "dt": 1.0, "driven": True},
        "covariant_vectors": {"steps": 12, "transient": 2, "settle": 3, "k": 2, "record_every": 1, "driven": True},
        "gradient_propagation": {"steps": 12, "loss_on": "last", "loss": "mse_loss"},
        "hessian_spectrum": {"operator": "hessian", "k": 2, "learning_rate": 0.1, "rng_seed": 0},
    }[name]
    assert {key: config[key] for key in expected} == expected


def test_provenance_records_device_dtype_and_digest() -> None:
    attributes = provenance({}, dtype=torch.float32, device=torch.device("meta"), checkpoint_sha256="ab")
    found = [attributes[key] for key in ("dtype", "device", "checkpoint_sha256", "config_json")]
    assert found == ["float32", "meta", "ab", "{}"]


@pytest.mark.parametrize("dt", [0.1, 2.0])
def test_dt_converts_values_and_units(dt: float) -> None:
    steps = ANALYSES["lyapunov_spectrum"]()
    timed = lyapkit.lyapunov_spectrum(cell(), INPUTS, k=2, rng=0, transient=2, dt=dt)
    for name in ("lyapunov_exponent", "standard_error", "running_exponent", "local_growth", "entropy_rate"):
        np.testing.assert_allclose(timed[name] * dt, steps[name], rtol=1e-12, atol=1e-300)
        assert timed[name].attrs["units"] == "nats per unit time"
    np.testing.assert_allclose(timed.log_volume_residual * dt, steps.log_volume_residual, atol=1e-15)
    np.testing.assert_allclose(timed.memory_timescale, steps.memory_timescale * dt, rtol=1e-12)
    assert timed.memory_timescale.attrs["units"] == "unit time"
    assert steps.memory_timescale.attrs["units"] == "step"
    np.testing.assert_allclose(timed.kaplan_yorke_dimension, steps.kaplan_yorke_dimension)
    assert timed.kaplan_yorke_dimension.attrs["units"] == "1"
    assert json.loads(timed.attrs["config_json"])["dt"] == dt


def test_dt_converts_finite_time_exponents_but_not_singular_values() -> None:
    steps, timed = (lyapkit.variational_term(cell(), INPUTS, dt=dt) for dt in (1.0, 0.25))
    np.testing.assert_array_equal(timed.log_singular_value, steps.log_singular_value)
    np.testing.assert_allclose(timed.running_exponent, 4 * steps.running_exponent, rtol=1e-14)
    assert timed.running_exponent.attrs["units"] == "nats per unit time"
    assert timed.log_singular_value.attrs["units"] == "nats"


def test_a_variable_outside_the_schema_or_nan_is_a_bug() -> None:
    labels = {"rank": [1]}
    with pytest.raises(AssertionError, match=r"not in the schema of hessian_spectrum: .*spam"):
        make_dataset("hessian_spectrum", {"spam": np.ones(1)}, labels, {})
    with pytest.raises(AssertionError, match="eigenvalue holds NaN"):
        make_dataset("hessian_spectrum", {"eigenvalue": np.array([math.nan])}, labels, {})
