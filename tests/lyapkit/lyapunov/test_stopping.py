"""Runs that stop when their errors are small enough, and runs that are continued."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr

from lyapkit import as_map, load, lyapunov_spectrum, save, systems, variational_term
from lyapkit.lyapunov.stopping import FALSE_ALARM, FIRST_BLOCK, compare_halves
from references import matrix_with_spectrum


def test_stops_once_the_leading_error_is_small_enough() -> None:
    henon = systems.henon()
    ds = lyapunov_spectrum(henon.map, until=6e-3, transient=50)
    counted = int(ds.step[-1]) - 50
    assert counted in {FIRST_BLOCK * 2**doubling for doubling in range(6)}
    assert ds.standard_error.values[0, 0] <= 6e-3
    assert ds.converged.item() == 1
    assert abs(ds.lyapunov_exponent.values[0, 0] - henon.exponents[0]) < 4 * 6e-3
    shorter = lyapunov_spectrum(henon.map, steps=50 + counted // 2, transient=50)
    assert counted == FIRST_BLOCK or shorter.standard_error.values[0, 0] > 6e-3 * 0.8


def test_all_exponents_can_be_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6000, 1, 9, generator=generator, dtype=torch.float64)
    leading = lyapunov_spectrum(systems.MatrixProduct(3), inputs, until=0.02)
    every = lyapunov_spectrum(systems.MatrixProduct(3), inputs, until=0.02, until_exponents="all")
    assert leading.standard_error.values[0, 0] <= 0.02 < leading.standard_error.values[0].max()
    assert every.standard_error.values[0].max() <= 0.02
    assert int(every.step[-1]) > int(leading.step[-1])


def test_running_out_of_steps_or_inputs_is_said() -> None:
    ds = lyapunov_spectrum(systems.henon().map, until=1e-9, max_steps=1500)
    assert (int(ds.step[-1]), ds.converged.item()) == (1500, 0)
    inputs = torch.ones(40, 1, dtype=torch.float64)
    logistic = as_map(lambda x, s: 3.9 * s * x * (1 - x), state=torch.tensor([0.3]).double(), input=inputs[0])
    ds = lyapunov_spectrum(logistic, inputs, until=1e-9)
    assert (int(ds.step[-1]), ds.converged.item()) == (40, 0)


@pytest.mark.parametrize("interval", [1, 4, "auto"])
@pytest.mark.parametrize("k", [None, 2])
def test_a_continued_run_equals_one_run(interval, k) -> None:
    """Also where ranks and columns of the frame are in different order, as for these diagonal matrices."""
    generator = torch.Generator().manual_seed(1)
    rates = torch.tensor([0.5, 1.1, 0.8, 1.0], dtype=torch.float64).diag()
    noise = torch.randn(1400, 2, 4, 4, generator=generator, dtype=torch.float64)
    inputs = (rates + 0.02 * noise.diagonal(dim1=-2, dim2=-1).diag_embed()).reshape(1400, 2, 16)
    product = systems.MatrixProduct(4)
    options = {"qr_interval": interval, "k": k}
    first = lyapunov_spectrum(product, inputs[:600], transient=20, rng=5, **options)
    second = lyapunov_spectrum(product, inputs[600:], resume=first, qr_interval=interval)
    whole = lyapunov_spectrum(product, inputs, transient=20, rng=5, **options)
    if interval == 1:
        assert (first.frame_order.values != np.arange(k or 4)).any() or k
        np.testing.assert_allclose(second.local_growth, whole.local_growth, atol=1e-11)
        np.testing.assert_array_equal(second.step, whole.step)
        np.testing.assert_allclose(second.standard_error, whole.standard_error, rtol=1e-9)
    np.testing.assert_allclose(second.lyapunov_exponent, whole.lyapunov_exponent, atol=1e-11)
    np.testing.assert_allclose(second.final_state, whole.final_state, rtol=1e-12)
    np.testing.assert_allclose(abs(second.final_frame), abs(whole.final_frame), atol=1e-9)
    assert json.loads(second.attrs["config_json"])["steps"] == 1400


def test_continuing_until_the_error_is_small_and_through_a_file(tmp_path) -> None:
    henon = systems.henon().map
    first = lyapunov_spectrum(henon, steps=300, transient=100, dt=0.5)
    stored = load(save(first, tmp_path / "first.nc"))
    ds = lyapunov_spectrum(henon, resume=stored, until=0.02, dt=0.5)
    assert ds.standard_error.values[0, 0] <= 0.02
    assert ds.converged.item() == 1
    assert ds.lyapunov_exponent.values.sum() == pytest.approx(math.log(0.3) / 0.5, abs=1e-8)
    np.testing.assert_allclose(ds.local_growth.values[0, : first.sizes["step"]].sum(), first.local_growth.sum())


def ended_at_different_steps() -> xr.Dataset:
    matrices = 0.5 * torch.eye(2, dtype=torch.float64).reshape(1, 1, 4).repeat(40, 2, 1)
    return lyapunov_spectrum(systems.MatrixProduct(2), matrices, lengths=[40, 30])


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda ds: ds.isel(step=slice(5, None)), {}, "only a part of a result"),
        (lambda ds: ds.isel(step=slice(0, 5)), {}, "only a part of a result"),
        (lambda ds: ds.isel(exponent=[0]), {}, "only a part of a result"),
        (lambda ds: ds.drop_vars("final_frame"), {}, "only a part of a result"),
        (lambda ds: ds, {"k": 1}, "k=2 exponents, got k=1"),
        (lambda ds: ds, {"frame_dtype": torch.float32}, "frame of float64, got torch.float32"),
    ],
)
def test_what_cannot_be_resumed_is_refused(spoil, options, message: str) -> None:
    henon = systems.henon().map
    ds = spoil(lyapunov_spectrum(henon, steps=40))
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(henon, steps=10, resume=ds, **options)


def test_sequences_of_unequal_length_are_not_resumed() -> None:
    more = torch.zeros(5, 2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="sequences of unequal length"):
        lyapunov_spectrum(systems.MatrixProduct(2), more, resume=ended_at_different_steps())


@pytest.mark.parametrize(("until", "error"), [(math.inf, ValueError), (True, TypeError), ("0.1", TypeError)])
def test_a_target_is_a_finite_number(until, error: type[Exception]) -> None:
    with pytest.raises(error, match="until must be a"):
        lyapunov_spectrum(systems.henon().map, until=until)


def test_a_drifting_run_has_not_converged() -> None:
    """The rate doubles half-way: no single exponent describes such a run."""
    inputs = torch.cat((torch.full((200, 1), 0.5), torch.full((200, 1), 0.25))).double()
    inputs = inputs * (1 + 0.01 * torch.sin(torch.arange(400.0))[:, None].double())
    map = as_map(lambda x, s: s * x, state=torch.ones(1).double(), input=torch.ones(1).double())
    ds = lyapunov_spectrum(map, inputs)
    assert ds.half_difference.item() == pytest.approx(math.log(0.5), abs=0.02)
    steady = lyapunov_spectrum(map, torch.full((400, 1), 0.5, dtype=torch.float64))
    assert (ds.converged.item(), steady.converged.item()) == (0, 1)
    short = lyapunov_spectrum(map, torch.full((3, 1), 0.5, dtype=torch.float64))
    assert short.converged.item() == 0  # nothing is known about its error


def test_half_differences_weigh_windows_and_skip_annihilated_directions() -> None:
    growth = torch.tensor([[[1.0, -math.inf]], [[2.0, -math.inf]], [[9.0, -math.inf]]], dtype=torch.float64)
    window = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    difference, agree = compare_halves(growth, window)
    assert difference[0, 0] == 9 / 4 - 3 / 3  # cut at 3 of 7 steps
    assert difference[0, 1].isnan()
    assert agree.tolist() == [False]
    difference, agree = compare_halves(growth[:1], window[:1])
    assert (difference[0, 0].item(), agree.tolist()) == (0.0, [False])
    assert difference[0, 1].isnan()


def test_halves_of_which_one_annihilates_a_direction_disagree_and_nothing_follows_from_none() -> None:
    growth = torch.ones(40, 3, 2, dtype=torch.float64)
    growth[:, :, 1] = -math.inf
    growth[3, 1, 0] = growth[30, 2, 0] = -math.inf
    difference, agree = compare_halves(growth, torch.ones(40, dtype=torch.float64))
    assert difference[:, 0].tolist() == [0.0, math.inf, -math.inf]
    assert difference[:, 1].isnan().all()
    assert agree.tolist() == [True, False, False]
    assert compare_halves(growth[:, :1, 1:], torch.ones(40, dtype=torch.float64))[1].tolist() == [False]


def test_stationary_runs_rarely_raise_a_false_alarm_and_drifts_are_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    growth = torch.randn(400, 4000, 5, generator=generator, dtype=torch.float64)
    window = torch.ones(400, dtype=torch.float64)
    _, agree = compare_halves(growth, window)
    assert 0.3 * FALSE_ALARM < 1 - agree.double().mean().item() < 2.5 * FALSE_ALARM
    # 6.7 standard errors of the difference, 0.1 each. The limit is a t quantile of 34 slow modes, 3.5 at 0.0075 / 10,
    # of an error that is known to 1 / sqrt(2 * 34) = 12 %, under doubt about the spectrum: 4.5 of them on the average
    for drift, unseen in ((0.6, 0.11), (0.67, 0.055)):  # the price of the doubt; a known error would leave 0.01 unseen
        drifting = growth.clone()
        drifting[200:, :, 2] += drift
        _, agree = compare_halves(drifting, window)
        assert agree.double().mean().item() < unseen


HENON = systems.henon().map
EARLIER = lyapunov_spectrum(HENON, steps=20)
REFUSALS = {
    "negative until": (dict(until=-1.0), ValueError, "positive standard error, got -1.0"),
    "until is text": (dict(until="soon"), TypeError, "got 'soon'"),
    "until_exponents": (dict(until=0.1, until_exponents="first"), ValueError, '"leading" or "all", got \'first\''),
    "steps and until": (dict(until=0.1, steps=100), TypeError, "not both"),
    "max_steps": (dict(until=0.1, max_steps=0), ValueError, "max_steps must be at least 1"),
    "resume and initial state": (
        dict(steps=5, resume=EARLIER, initial_state=torch.zeros(2).double()),
        TypeError,
        "no initial_state",
    ),
    "resume and transient": (dict(steps=5, resume=EARLIER, transient=1), TypeError, "no transient"),
    "resume something else": (dict(steps=5, resume=3), ValueError, "a Dataset that lyapunov_spectrum"),
    "resume another analysis": (
        dict(steps=5, resume=variational_term(HENON, steps=3)),
        ValueError,
        "a Dataset that lyapunov_spectrum",
    ),
    "resume another map": (
        dict(steps=5, resume=lyapunov_spectrum(systems.logistic().map, steps=5)),
        ValueError,
        r"with 1 units, x\[0\] to x\[0\]; this one has 2",
    ),
    "resume another dt": (dict(steps=5, resume=EARLIER, dt=0.1), ValueError, "has dt=1.0, got dt=0.1"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    options, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        lyapunov_spectrum(HENON, **options)


def test_stop_rules_are_in_the_units_of_the_result() -> None:
    ds = lyapunov_spectrum(HENON, until=0.05, dt=0.1)
    same = lyapunov_spectrum(HENON, until=0.005)
    assert int(ds.step[-1]) == int(same.step[-1])
    assert ds.standard_error.values[0, 0] <= 0.05


def test_a_constant_map_stops_at_the_first_look() -> None:
    matrix = matrix_with_spectrum([0.9, 0.5], [], seed=1)
    map = as_map(lambda x: matrix @ x, state=torch.zeros(2).double())
    ds = lyapunov_spectrum(map, until=1e-4, transient=200)
    assert int(ds.step[-1]) == FIRST_BLOCK + 200
