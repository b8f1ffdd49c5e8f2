"""The coverage of error bars, as benchmarks/coverage.py measures it, in fewer runs; and runs that are too short."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lyapkit import lyapunov_spectrum, systems
from lyapkit.lyapunov.long_run import VISIBLE, _visible
from lyapkit.lyapunov.uncertainty import MeanGrowth

PAGE = Path(__file__).parents[3] / "docs" / "concepts" / "error_bars.md"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_benchmark"] = module
    spec.loader.exec_module(module)
    return module


LONG = {
    "gaussian": lambda module: module.gaussian_product(400, 1, runs=1000),
    "logistic, 256": lambda module: module.logistic(256, runs=1000),
    "logistic, 2000": lambda module: module.logistic(2000, runs=1000),
    "autoregressive": lambda module: module.synthetic(module.autoregressive, 0.9, 1000, runs=1000),
    "driven network": lambda module: module.driven_network(1000, runs=600),
    "Lorenz": lambda module: module.lorenz(20_000, runs=300),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_intervals_of_long_runs_cover(coverage, name: str) -> None:
    """Between 93 and 97 %, and three standard deviations of the binomial distribution of so many runs."""
    row = LONG[name](coverage)
    margin = 3 * math.sqrt(0.95 * 0.05 / row.runs)
    assert 0.93 - margin < row.coverage < 0.97 + margin
    assert 0.9 < row.error_over_deviation < 1.25  # so they are not merely wide
    assert row.reliable > 0.95
    assert row.false_alarms < 0.02 + 3 * math.sqrt(0.02 * 0.98 / row.runs)


# growth, its parameter, steps, share that is said to be reliable. A share is that of 2,000 runs, as in the table: 25
# correlation times are over half of the 43 that a run must have, and 3 % of the telegraph signals never jump.
SHORT = {
    "autoregressive, 25 correlation times": ("autoregressive", 0.95, 500, 0.153),
    "autoregressive, 3 correlation times": ("autoregressive", 0.97, 100, 0.005),
    "autoregressive, 3 correlation times, longer": ("autoregressive", 0.99, 300, 0.001),
    "autoregressive, half a correlation time": ("autoregressive", 0.97, 20, 0.015),
    "telegraph, 7 correlation times": ("telegraph", 100.0, 700, 0.047),
}


@pytest.mark.parametrize("count", [128, 2000])
def test_a_run_is_long_enough_from_43_correlation_times_on(count: int) -> None:
    """Its 20 parts, as if they were independent, against the whole: the variances of sums of AR(1) in closed form."""

    def variance(steps: float, decay: float) -> float:  # of the integral of a process of correlation exp(-decay |t|)
        return 2 / decay**2 * (decay * steps - 1 + math.exp(-decay * steps))

    shown = 20 * variance(count / 20, 43 / count) / variance(count, 43 / count)
    assert shown == pytest.approx(VISIBLE, abs=0.01)
    covariance = torch.exp(-43 / count * torch.arange(count, dtype=torch.float64))
    assert _visible(covariance[None]).item() == pytest.approx(shown, abs=0.01 * 2000 / count / 15)


@pytest.mark.parametrize("name", SHORT)
def test_runs_that_are_too_short_say_so(coverage, name: str) -> None:
    """What they say, with three standard deviations of the binomial distribution of 600 runs for the wrong ones."""
    kind, parameter, steps, reliable = SHORT[name]
    growth = getattr(coverage, kind)(parameter, steps, 600, torch.Generator().manual_seed(5))
    ds = coverage.scalar_product(growth)
    row = coverage.measure(ds, 0.0)
    assert row.reliable < reliable + 3 * math.sqrt(reliable * (1 - reliable) / 600)
    assert row.wrong < 0.05 * max(row.reliable, 0.5) + 3 * math.sqrt(0.95 * 0.05 / 600) / 2
    assert row.coverage > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 600)
    assert row.false_alarms < 0.01
    told = ds.error_reliable.values[:, 0] == 1
    assert np.isinf(ds.standard_error.values[~told]).all()
    assert (ds.converged.values[~told] == 0).all()
    assert (ds.probability_positive.values[~told] == 0.5).all()
    assert np.isfinite(ds.standard_error.values[told]).all()


def test_intervals_at_stopping_cover(coverage) -> None:
    row = coverage.at_stopping(0.9, 0.008, runs=600)
    assert row.reliable > 0.99  # nearly all have stopped
    assert row.coverage > 0.9


def test_a_run_goes_on_while_it_is_too_short() -> None:
    """1,024 steps at a correlation time of 500, whose growth hardly varies: the error is not small but unknown."""
    noise = 1e-4 * torch.randn(40_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    growth = [noise[0]]
    for value in noise[1:]:
        growth.append(0.998 * growth[-1] + value)
    ds = lyapunov_spectrum(systems.MatrixProduct(1), torch.stack(growth).exp().unsqueeze(-1), until=0.05)
    assert ds.last_step.item() > 4096
    assert (ds.error_reliable.item(), ds.converged.item()) == (1, 1)


def test_each_exponent_and_sequence_is_judged_by_itself() -> None:
    generator = torch.Generator().manual_seed(1)
    steady = 0.1 * torch.randn(1000, 2, generator=generator, dtype=torch.float64)
    slow = (torch.arange(1000) / 400).cos().double()  # less than half a period
    log_growth = torch.stack((1 + steady, torch.stack((slow, steady[:, 0]), dim=1) - 1), dim=-1)  # (T, B, 2)
    ds = lyapunov_spectrum(systems.MatrixProduct(2), log_growth.exp().diag_embed().flatten(start_dim=2))
    assert ds.error_reliable.values.tolist() == [[1, 0], [1, 1]]
    assert np.isinf(ds.standard_error.values).tolist() == [[False, True], [False, False]]
    assert ds.converged.values.tolist() == [0, 1]
    assert ds.probability_positive.values.tolist() == [1.0, 1.0]
    cut = lyapunov_spectrum(
        systems.MatrixProduct(2), log_growth.exp().diag_embed().flatten(start_dim=2), lengths=[1000, 300], qr_interval=2
    )
    alone = lyapunov_spectrum(
        systems.MatrixProduct(2), log_growth[:300, 1:].exp().diag_embed().flatten(start_dim=2), qr_interval=2
    )
    np.testing.assert_allclose(cut.standard_error[1], alone.standard_error[0], rtol=1e-6)
    assert cut.error_reliable.values[1].tolist() == alone.error_reliable.values[0].tolist()


@pytest.mark.parametrize("period", [2, 3, 7, 12.5, 30])
def test_periodic_growth_is_known_well(period: float) -> None:
    """Its sum does not grow, and the error is well below that of 1,000 independent steps, 0.022."""
    growth = torch.cos(2 * math.pi * torch.arange(1000).double() / period + 0.3)
    ds = lyapunov_spectrum(systems.MatrixProduct(1), growth.exp().unsqueeze(-1))
    assert ds.error_reliable.item() == 1
    assert ds.standard_error.item() < 0.6 * 0.0224
    assert ds.converged.item() == 1


@pytest.mark.parametrize(("begin", "end", "reliable"), [(0, 3, 1), (40, 43, 0), (90, 93, 0)])
def test_a_single_event_tells_nothing_of_how_often_it_comes(begin: int, end: int, reliable: int) -> None:
    """But at the start it is a transient, and the error contains what it adds to the mean."""
    growth = 0.01 * torch.randn(100, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    growth[begin:end] += 1
    found = MeanGrowth.of(growth, torch.ones(100).double()).errors()
    assert int(found.hidden[0] < 0.5) == reliable
    assert float(found.standard[0]) == (pytest.approx(0.03, rel=0.1) if reliable else math.inf)


def test_the_table_in_the_documentation_has_a_row_per_system(coverage) -> None:
    text = PAGE.read_text()
    for name, (steps, _) in coverage.ROWS.items():
        assert f"| {name} | {steps:,} |" in text


@pytest.mark.parametrize("name", ["AR(1), 0, 20 steps", "AR(1), 0.9, short", "telegraph, 7 correlation times"])
def test_rows_of_the_table_are_what_the_benchmark_measures(coverage, name: str) -> None:
    """To the rounding of the table, and to the few of 2,000 runs that another machine's rounding may turn."""
    shown = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |")).split("|")
    row = coverage.ROWS[name][1]()
    found = [row.coverage, row.wrong, row.error_over_deviation, row.reliable, row.false_alarms]
    assert [float(cell) for cell in shown[4:9]] == pytest.approx(found, abs=0.006)
