"""Counts, durations and random seeds: what is accepted, what it means and how it is refused."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit
from lyapkit import as_map, lyapunov_spectrum
from lyapkit.checks.arguments import (
    check_dt,
    check_flag,
    check_fraction,
    check_interval,
    check_interval_of_run,
    check_k,
    check_precision,
    time_unit,
)
from lyapkit.checks.randomness import make_generator

T, M, N = 6, 2, 3
AUTONOMOUS = as_map(lambda x: x**2, state=torch.full((N,), 0.5).double())


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


REFUSALS = {
    "k = 0": (lambda: check_k(0, N), ValueError, "k must be between 1 and the state size 3, got 0"),
    "k > N": (lambda: check_k(4, N), ValueError, "between 1 and the state size 3, got 4"),
    "k is True": (lambda: check_k(True, N), TypeError, "k must be an integer or None, got True"),
    "k is a float": (lambda: check_k(2.0, N), TypeError, r"k must be an integer or None, got 2\.0"),
    "interval of 0": (lambda: check_interval(0), ValueError, "qr_interval must be at least 1, got 0"),
    "interval is True": (lambda: check_interval(True), TypeError, "qr_interval must be an integer"),
    "interval is text": (lambda: check_interval("often", "record_every"), TypeError, "record_every.*got 'often'"),
    "interval beyond the run": (
        lambda: check_interval_of_run(8, 7),
        ValueError,
        r"qr_interval must be at most the number of steps, 7, got 8; choose a smaller one\.$",
    ),
    "interval of a run is 0": (lambda: check_interval_of_run(0, 7), ValueError, "qr_interval must be at least 1"),
    "switch is text": (lambda: check_flag("check", "no"), TypeError, "check must be True or False, got 'no'"),
    "switch is a number": (lambda: check_flag("check", 0), TypeError, "check must be True or False, got 0"),
    "dt is True": (lambda: check_dt(True), TypeError, "dt must be a number, got True"),
    "dt of 0": (lambda: check_dt(0), ValueError, r"dt must be positive and finite, got 0\.0"),
    "negative dt": (lambda: check_dt(-0.1), ValueError, r"got -0\.1"),
    "infinite dt": (lambda: check_dt(math.inf), ValueError, "got inf"),
    "dt is nan": (lambda: check_dt(math.nan), ValueError, "got nan"),
    "dt is None": (lambda: check_dt(None), TypeError, "dt must be a number, got None"),
    "dt is text": (lambda: check_dt("ms"), TypeError, "dt must be a number, got 'ms'"),
    "negative seed": (lambda: make_generator(-1), ValueError, "at least 0 and below .* got -1"),
    "seed of 65 bits": (lambda: make_generator(2**64), ValueError, r"below 2\*\*64, got 18446744073709551616"),
    "rng is True": (lambda: make_generator(True), TypeError, "got bool"),
    "rng is a float": (lambda: make_generator(1.5), TypeError, "integer seed or None, got float"),
    "rng of NumPy": (lambda: make_generator(np.random.default_rng(0)), TypeError, "torch.Generator.* got Generator"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_is_wrong(name: str) -> None:
    action, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        action()


REFUSED_CALLS = {
    "k": ({"k": 4}, "state size 3, got 4"),
    "qr_interval": ({"qr_interval": 0}, "qr_interval must be at least 1"),
    "qr_interval of the run": ({"qr_interval": 10**9}, "at most the number of steps, 9, got 1000000000"),
    "dt": ({"dt": -1}, "dt must be positive"),
    "rng": ({"rng": -1}, "rng must be a seed"),
    "transient": ({"transient": 9}, "9 are transient"),
    "frame_dtype": ({"frame_dtype": torch.float16}, "torch.float32 or torch.float64, got torch.float16"),
}


def test_switches_and_durations_are_not_guessed() -> None:
    for analysis in (lyapunov_spectrum, lyapkit.variational_term, lyapkit.covariant_vectors):
        with pytest.raises(TypeError, match="check must be True or False, got 'no'"):
            analysis(AUTONOMOUS, steps=9, check="no")
        with pytest.raises(TypeError, match="dt must be a number, got True"):
            analysis(AUTONOMOUS, steps=9, dt=True)
    with pytest.raises(ValueError, match="qr_interval must be at most the number of steps, 9"):
        lyapkit.lyapunov_exponents(AUTONOMOUS, steps=9, qr_interval=10)


@pytest.mark.parametrize("name", REFUSED_CALLS)
def test_the_analysis_makes_the_checks(name: str) -> None:
    options, message = REFUSED_CALLS[name]
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(AUTONOMOUS, steps=9, **options)


def test_accepted_arguments_come_back_as_they_mean() -> None:
    assert (check_k(None, N), check_k(1, N), check_k(N, N)) == (N, 1, N)
    assert check_interval(7) == check_interval_of_run(7, 7) == 7
    assert (check_flag("check", True), check_flag("check", False)) == (True, False)
    assert check_dt(np.float64(0.5)) == 0.5
    assert type(check_k(np.int64(2), N)) is int
    assert make_generator(np.int32(5)).initial_seed() == 5
    ds = lyapunov_spectrum(AUTONOMOUS, steps=np.int64(9), transient=np.int16(3), k=np.uint8(2), qr_interval=np.int64(2))
    assert ds.lyapunov_exponent.shape == (1, 2)
    assert ds.step.values.tolist() == [5, 7, 9]
    assert (time_unit(1.0), time_unit(0.1)) == ("step", "unit time")


def test_a_generator_is_used_as_it_is_and_seeds_are_kept() -> None:
    generator = torch.Generator().manual_seed(5)
    assert make_generator(generator) is generator
    assert make_generator(5).initial_seed() == 5
    assert make_generator(2**64 - 1) is not None
    assert make_generator(None).initial_seed() != make_generator(None).initial_seed()


def test_no_call_touches_the_global_random_state() -> None:
    cell = nn.RNNCell(M, N).double()
    before = torch.get_rng_state()
    lyapunov_spectrum(cell, numbers(T, M), k=1, rng=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rng", [7, "generator", None])
def test_the_recorded_seed_repeats_a_run_exactly(rng) -> None:
    inputs = numbers(40, M)
    torch.manual_seed(1)
    cell = nn.GRUCell(M, 8).double()
    first = lyapunov_spectrum(cell, inputs, k=2, rng=torch.Generator().manual_seed(7) if rng == "generator" else rng)
    seed = json.loads(first.attrs["config_json"])["rng_seed"]
    if rng is not None:
        assert seed == 7
    again = lyapunov_spectrum(cell, inputs, k=2, rng=seed)
    xr.testing.assert_equal(first, again)
    other = lyapunov_spectrum(cell, inputs, k=2, rng=seed + 1)
    assert not np.array_equal(first.local_growth, other.local_growth)


def test_a_generator_of_another_device_is_refused() -> None:
    class OnGpu(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(ValueError, match=r"^rng must be a CPU generator, got one on cuda; use torch.Generator\(\)"):
        make_generator(OnGpu())


def test_checks_of_single_arguments() -> None:
    assert check_fraction("part", 1) == 1.0
    with pytest.raises(TypeError, match="part must be a number, got None"):
        check_fraction("part", None)
    with pytest.raises(ValueError, match="part must be between 0 and 1, got 2"):
        check_fraction("part", 2)
    check_precision(torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="bfloat16, whose derivatives carry two or three digits"):
        check_precision(torch.bfloat16, torch.device("cpu"))
    with pytest.raises(ValueError, match="meta device, which holds no numbers"):
        check_precision(torch.float64, torch.device("meta"))
