"""The states that a spectrum keeps are those that `states` returns, whichever way tangents are carried."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit
from lyapkit.trajectories.kept_states import KeptStates


def gru(dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.GRU(2, 3).to(dtype)


def inputs(steps: int, batch: int = 2, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(steps, batch, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


HENON = lyapkit.systems.henon().map
STARTS = torch.tensor([[0.1, 0.1], [0.2, 0.0], [0.0, 0.0]], dtype=torch.float64)
SINGLE = torch.float32
CASES = {
    "plain": (gru(), {"inputs": inputs(30)}, ""),
    "transient": (gru(), {"inputs": inputs(30), "transient": 7}, ""),
    "compiled": (HENON, {"steps": 1000, "initial_state": STARTS, "transient": 10}, "machine code"),
    "compiled and driven": (gru(), {"inputs": inputs(600)}, "machine code"),
    "traced": (gru(SINGLE), {"inputs": inputs(600, dtype=SINGLE)}, "traced"),
    "leading": (gru(), {"inputs": inputs(600), "k": 1, "rng": 0}, "machine code"),
    "one of many starts": (gru(), {"inputs": inputs(40, 1)[:, 0], "initial_state": torch.zeros(4, 3).double()}, ""),
    "lengths": (gru(), {"inputs": inputs(40), "lengths": [40, 13]}, ""),
    "closed loop": (gru(), {"steps": 50, "feedback": lambda h: h[..., :2], "initial_state": STARTS[:, [0, 1, 0]]}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_states(case: str, tmp_path) -> None:
    model, options, tangents = CASES[case]
    ds = lyapkit.lyapunov_spectrum(model, keep_states=True, **options)
    assert tangents in json.loads(ds.attrs["config_json"])["tangents"]
    expected = lyapkit.states(model, **{name: value for name, value in options.items() if name not in ("k", "rng")})
    assert ds.state.dims == ("trajectory", "recorded_step", "unit")
    np.testing.assert_array_equal(ds.recorded_step, expected.step)
    assert ds.state.dtype == expected.state.dtype
    np.testing.assert_allclose(ds.state, expected.state, rtol=1e-4 if ds.state.dtype == "f4" else 1e-11, atol=1e-7)
    np.testing.assert_array_equal(ds.state.isel(recorded_step=-1), ds.final_state)
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(ds, tmp_path / "x.nc")), ds)
    without = lyapkit.lyapunov_spectrum(model, **options)
    assert "state" not in without
    assert "recorded_step" not in without.dims
    xr.testing.assert_equal(ds.drop_vars("state").drop_dims("recorded_step"), without)


def test_a_stop_rule_keeps_the_steps_that_were_done() -> None:
    ds = lyapkit.lyapunov_spectrum(HENON, until=0.02, transient=5, keep_states=True)
    last = int(ds.last_step[0])
    assert ds.recorded_step.values.tolist() == list(range(6, last + 1))
    expected = lyapkit.states(HENON, steps=last, transient=5)
    np.testing.assert_array_equal(ds.state, expected.state)


@pytest.mark.parametrize("steps", [40, 700])
def test_a_continued_run_goes_on_with_the_states(steps: int) -> None:
    given = inputs(2 * steps)
    first = lyapkit.lyapunov_spectrum(gru(), given[:steps], transient=10, keep_states=True)
    whole = lyapkit.lyapunov_spectrum(gru(), given[steps:], resume=first, keep_states=True)
    expected = lyapkit.states(gru(), given, transient=10)
    np.testing.assert_array_equal(whole.recorded_step, expected.step)
    np.testing.assert_allclose(whole.state, expected.state, rtol=1e-10, atol=1e-14)
    without = lyapkit.lyapunov_spectrum(gru(), given[:steps], transient=10)
    later = lyapkit.lyapunov_spectrum(gru(), given[steps:], resume=without, keep_states=True)
    np.testing.assert_array_equal(later.recorded_step, expected.step[steps - 10 :])
    np.testing.assert_allclose(later.state, expected.state[:, steps - 10 :], rtol=1e-10, atol=1e-14)
    assert "state" not in lyapkit.lyapunov_spectrum(gru(), given[steps:], resume=first)


def test_steps_that_are_walked_again_replace_what_they_were() -> None:
    """As where a compiled run is done again without machine code."""
    kept, wrong, right = KeptStates(), torch.full((6, 1, 1), 9.0), torch.arange(6.0).reshape(6, 1, 1)
    kept.take(wrong[:3], wrong[3], 0)
    kept.take(wrong[:2], wrong[2], 3)
    kept.take(right[:5], right[5], 0)
    assert kept.between(0, 5).flatten().tolist() == [1, 2, 3, 4, 5]
    assert kept.between(2, 4).flatten().tolist() == [3, 4]


def test_a_flag_is_wanted() -> None:
    with pytest.raises(TypeError, match="keep_states must be"):
        lyapkit.lyapunov_spectrum(HENON, steps=10, keep_states="all")
