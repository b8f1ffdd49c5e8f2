"""`summary`: the numbers of the table are those of the result, its intervals and verdicts what they say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy import stats
from torch import nn

import lyapkit
import sample_results
from lyapkit import as_map, summary, systems
from lyapkit.results.schema import SCHEMA
from lyapkit.results.summary import TABLES

GRU = nn.GRU(2, 3).double()
READOUT = nn.Linear(3, 1).double()
INPUTS = torch.randn(12, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BATCH = INPUTS, torch.zeros(2, 1).double()


def test_every_analysis_has_a_table() -> None:
    assert set(TABLES) == set(SCHEMA)


@pytest.mark.parametrize("name", sample_results.ANALYSES)
def test_every_result_is_put_into_a_table(name: str) -> None:
    table = summary(sample_results.ANALYSES[name]())
    assert table.columns[:5].tolist() == ["value", "error", "low", "high", "verdict"]
    assert len(table)
    assert not table.value.isna().any()


def test_exponents_have_the_intervals_of_students_t() -> None:
    ds = lyapkit.lyapunov_spectrum(systems.henon().map, steps=4000, transient=50)
    table = summary(ds)
    assert table.index.names == ["trajectory", "exponent"]
    assert table.value.tolist() == ds.lyapunov_exponent.values.ravel().tolist()
    error = ds.standard_error.values[0, 0]
    reach = stats.t.ppf(0.975, float(ds.error_degrees_of_freedom[0])) * error
    row = table.loc[(0, 1)]
    np.testing.assert_allclose(
        [row.error, row.low, row.high], [error, row.value - reach, row.value + reach], rtol=1e-12
    )
    assert table.verdict.tolist() == ["positive", "negative"]
    assert row.low < 0.419222 < row.high


def test_verdicts_of_exponents_say_what_is_known() -> None:
    scale = torch.tensor([2.0, 1.0, 0.0]).double()
    table = summary(lyapkit.lyapunov_spectrum(as_map(lambda x: scale * x, state=torch.zeros(3).double()), steps=20))
    assert table.verdict.tolist() == ["positive", "not told from 0", "annihilated"]
    assert table.value.tolist()[2] == -math.inf
    assert table.loc[(0, 3), ["error", "low", "high"]].isna().all()
    short = summary(lyapkit.lyapunov_spectrum(systems.henon().map, steps=3, qr_interval=1))
    assert short.verdict.tolist() == ["run too short"] * 2
    assert short.low.tolist() == [-math.inf] * 2
    assert short.high.tolist() == [math.inf] * 2


def test_conditions_keep_their_names_and_further_dimensions_their_rows() -> None:
    ds = lyapkit.lyapunov_spectrum(GRU, INPUTS).assign_coords(trajectory=["left", "right"])
    assert summary(ds).loc["right"].value.tolist() == ds.lyapunov_exponent.sel(trajectory="right").values.tolist()
    seeds = xr.concat([ds, ds + 1], pd.Index([3, 5], name="seed"), data_vars="all").assign_attrs(ds.attrs)
    table = summary(seeds)
    assert table.index.names == ["seed", "trajectory", "exponent"]
    np.testing.assert_allclose(table.loc[(5, "left")].value, ds.lyapunov_exponent[0] + 1)


def test_finite_time_exponents_are_those_at_the_end_of_each_sequence() -> None:
    ds = lyapkit.variational_term(GRU, INPUTS, lengths=[12, 7])
    table = summary(ds)
    np.testing.assert_array_equal(table.loc[1].value, ds.running_exponent[1].sel(step=7))
    assert table.error.isna().all()
    assert set(table.verdict) == {"negative"}


def test_covariant_vectors_that_have_not_settled_say_so() -> None:
    ds = lyapkit.covariant_vectors(systems.henon().map, steps=300, rng=0)
    assert summary(ds).verdict.tolist() == ["positive", "negative"]
    assert summary(ds.assign(backward_difference=ds.backward_difference + 0.1)).verdict.tolist() == ["not settled"] * 2


def test_gradients_explode_or_vanish() -> None:
    factor = torch.tensor([1.2]).double()
    for sign, verdict in ((1, "explodes"), (-1, "vanishes")):
        map = as_map(lambda x, s: factor**sign * x + s, state=torch.zeros(1).double(), input=torch.zeros(1).double())  # noqa: B023
        ds = lyapkit.gradient_propagation(
            map,
            torch.ones(30, 1, 1).double(),
            torch.zeros(1, 1).double(),
            nn.functional.mse_loss,
            readout=nn.Identity(),
        )
        table = summary(ds)
        np.testing.assert_allclose(table.value, sign * math.log(1.2), rtol=1e-6)
        assert set(table.verdict) == {verdict}
        assert table.index.names == ["norm", "trajectory"]


def test_hessian_eigenvalues_have_the_ends_of_their_bounds() -> None:
    ds = lyapkit.hessian_spectrum(GRU, BATCH, nn.functional.mse_loss, readout=READOUT, k=4, rng=0)
    table = summary(ds)
    np.testing.assert_array_equal(table.high - table.value > 0, ds.error_bound > 0)
    np.testing.assert_allclose(table.low, ds.eigenvalue - ds.error_bound)
    signs = np.where(ds.eigenvalue > 0, "positive", "negative")
    assert table.verdict.tolist() == signs.tolist()
    assert summary(ds.assign(converged=ds.converged * 0)).verdict.tolist() == ["not converged"] * 4


def test_the_trace_of_a_density_is_one_row() -> None:
    ds = lyapkit.spectral_density(GRU, BATCH, nn.functional.mse_loss, readout=READOUT, rng=0)
    table = summary(ds)
    assert len(table) == 1
    assert table.value.item() == float(ds.trace)
    assert table.high.item() == pytest.approx(float(ds.trace + 1.959964 * ds.trace_standard_error))


def test_curvature_by_step_has_a_row_for_each_eigenvector() -> None:
    ds = lyapkit.curvature_by_step(GRU, BATCH, nn.functional.mse_loss, readout=READOUT, k=2, rng=0)
    assert summary(ds).value.tolist() == ds.curvature.values.tolist()


def test_jacobians_and_states() -> None:
    ds = lyapkit.jacobians(GRU, INPUTS, lengths=[12, 7])
    table = summary(ds)
    radius = np.hypot(ds.eigenvalue_real, ds.eigenvalue_imag).isel(eigenvalue=0)
    np.testing.assert_allclose(table.value, radius.values.ravel())
    assert table.loc[(1, 8)].verdict == "behind the end"
    assert table.loc[(0, 8)].verdict == "contracting"
    ds = lyapkit.states(GRU, INPUTS)
    assert summary(ds).value.tolist() == ds.explained_variance.values.tolist()


def points(step, **options) -> pd.DataFrame:
    return summary(lyapkit.fixed_points(as_map(step, state=torch.zeros(2).double()), rng=0, **options))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_points_are_named_by_what_they_are() -> None:
    table = points(lambda x: torch.stack((torch.tanh(2 * x[0]), x[1] / 2)))
    assert table.verdict.tolist() == ["stable", "stable", "saddle"]
    assert table.value.tolist()[2] == pytest.approx(2)
    assert table.unstable_dimensions.tolist() == [0, 0, 1]
    assert table.starts.sum() == 512
    assert points(lambda x: 2 * x).verdict.tolist() == ["repeller"]
    assert points(lambda x: torch.relu(x / 2)).verdict.tolist() == ["on a kink"]
    assert set(points(lambda x: x * 1.0).verdict) == {"on a continuum"}
    assert points(lambda x: torch.stack((x[0] + x[0] ** 2 + 1e-3, x[1] / 2))).verdict.tolist() == ["slow point"]
    assert points(lambda x: x + x * x).verdict.tolist() == ["undecided"]
    assert len(points(lambda x: x + 1)) == 0


def test_a_tree_is_one_table() -> None:
    tree = sample_results.tree()
    table = summary(tree)
    assert set(table.index.get_level_values("analysis")) == set(tree.children)
    one = summary(tree["lyapunov_spectrum"])
    assert table.loc[("lyapunov_spectrum", "trajectory 0, exponent 1")].value == one.loc[(0, 1)].value
    assert len(table) == sum(len(summary(node)) for node in tree.children.values())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"a": 1}, TypeError, "got dict; join several with xarray.DataTree.from_dict"),
        (xr.Dataset(), ValueError, "got a Dataset without provenance"),
        (xr.Dataset(attrs={"analysis": "power_spectrum"}), ValueError, "got power_spectrum"),
        (xr.Dataset(attrs={"analysis": "lyapunov_spectrum"}), ValueError, "has no variable 'lyapunov_exponent'"),
        (xr.DataTree.from_dict({"a": xr.Dataset()}), ValueError, "the tree holds no result"),
    ],
)
def test_what_is_no_result_is_refused(given: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        summary(given)


def test_what_a_joined_result_lacks_is_missing() -> None:
    long = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=200)
    joined = xr.concat(
        [long.assign_coords(seed=0), long.isel(exponent=[0]).assign_coords(seed=1)], "seed", join="outer"
    )
    table = lyapkit.summary(joined)
    assert table["verdict"].tolist() == ["positive", "negative", "positive", "missing"]
