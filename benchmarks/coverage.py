"""Coverage of the error bars of exponents, where the true exponent is known.

    python benchmarks/coverage.py            all rows of the table in docs/concepts/error_bars.md, in a few minutes
    python benchmarks/coverage.py AR other   only the systems whose name contains one of these

Every row is many runs of `lyapkit.lyapunov_spectrum`, side by side as trajectories of one call. The columns:

- coverage: share of runs whose 95 % interval, exponent +- t standard_error, contains the true exponent. Where a run is
  said to be too short, its error is inf and its interval contains everything;
- wrong: share of runs that are said to be reliable and whose interval does not contain it;
- error / sd: median standard error of the reliable runs over the standard deviation of the exponents;
- reliable: share of runs with error_reliable = 1;
- false alarms: share of runs with error_reliable = 1 and converged = 0, though all are stationary.

The first rows are those that the settings had to satisfy. Those whose names begin with "other:" show what happens
elsewhere. Most are series of growth that go straight into the estimate. Systems of these kinds were looked at while the
method was chosen, with other random numbers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.stats import t as student
from torch import Tensor

import lyapkit
from lyapkit import systems
from lyapkit.lyapunov.stopping import FIRST_BLOCK, compare_halves
from lyapkit.lyapunov.uncertainty import TOO_SHORT, MeanGrowth
from lyapkit.systems.networks import tanh_network

TRANSIENT = 3000
"""Steps after which maps of an interval are on their attractors."""


@dataclass(frozen=True)
class Row:
    """Measurements of one system."""

    coverage: float
    wrong: float
    error_over_deviation: float
    reliable: float
    false_alarms: float
    runs: int


def measure(ds: xr.Dataset, exact: float, rank: int = 0) -> Row:
    """Compare the exponents of many trajectories with the true one."""
    exponent, error = ds.lyapunov_exponent.values[:, rank], ds.standard_error.values[:, rank]
    reliable = ds.error_reliable.values[:, rank] == 1
    off = np.abs(exponent - exact)
    inside = off <= student.isf(0.025, ds.error_degrees_of_freedom.values) * error
    known = reliable & np.isfinite(error)
    deviation = math.sqrt((off**2).mean())
    return Row(
        float(inside.mean()),
        float((reliable & ~inside).mean()),
        float(np.median(error[known]) / deviation) if known.any() else math.nan,
        float(reliable.mean()),
        float((reliable & (ds.converged.values == 0)).mean()),
        len(off),
    )


def scalar_product(growth: Tensor) -> xr.Dataset:
    """Return the spectra of x' = exp(g) x for given growth g, shape (T, B)."""
    return lyapkit.lyapunov_spectrum(systems.MatrixProduct(1), growth.exp().unsqueeze(-1), check=False)


def autoregressive(coefficient: float, steps: int, runs: int, generator: torch.Generator) -> Tensor:
    """Return stationary g_t = coefficient g_{t-1} + noise of mean 0, shape (T, B)."""
    noise = 0.05 * torch.randn(steps, runs, generator=generator, dtype=torch.float64)
    state, series = noise[0] / math.sqrt(1 - coefficient**2), []
    for row in noise:
        state = coefficient * state + row
        series.append(state)
    return torch.stack(series)


def telegraph(correlation_time: float, steps: int, runs: int, generator: torch.Generator) -> Tensor:
    """Return growth that jumps between 0.1 and -0.1 at random, shape (T, B)."""
    odds = (1 - math.exp(-1 / correlation_time)) / 2
    flips = torch.rand(steps, runs, generator=generator, dtype=torch.float64) < odds
    first = torch.randint(2, (runs,), generator=generator)
    return 0.1 * (1 - 2 * ((flips.cumsum(0) + first) % 2)).double()


def at_stopping(coefficient: float, target: float, runs: int = 2000) -> Row:
    """Measure autoregressive growth at the first look at which the error is at most a target, as ``until`` looks."""
    series = autoregressive(coefficient, 16 * FIRST_BLOCK, runs, torch.Generator().manual_seed(1))
    exponent, error, freedom = torch.zeros(runs), torch.full((runs,), math.inf), torch.ones(runs)
    alarm = torch.zeros(runs, dtype=torch.bool)
    for doubling in range(5):
        seen = series[: FIRST_BLOCK * 2**doubling].reshape(-1, 2**doubling * FIRST_BLOCK // 64, runs).sum(dim=1)
        window = torch.full((64,), 2.0**doubling * FIRST_BLOCK / 64, dtype=torch.float64)
        means = MeanGrowth.of(seen, window)
        found = means.errors().standard
        _, agree = compare_halves(seen.unsqueeze(-1), window)
        stops = (error > target) & (found <= target)
        for kept, new in ((exponent, means.mean), (error, found), (freedom, means.degrees_of_freedom), (alarm, ~agree)):
            kept[stops] = new[stops].to(kept) if isinstance(new, Tensor) else new
    stopped = error <= target
    off = exponent[stopped].abs()
    inside = off <= torch.from_numpy(student.isf(0.025, freedom[stopped].numpy())) * error[stopped]
    covered = float(inside.double().mean())
    return Row(
        covered,
        1 - covered,
        float(error[stopped].median() / off.square().mean().sqrt()),
        float(stopped.double().mean()),
        float(alarm[stopped].double().mean()),
        int(stopped.sum()),
    )


def gaussian_product(steps: int, rank: int, runs: int = 2000) -> Row:
    """Measure products of independent Gaussian matrices (Newman 1986)."""
    generator = torch.Generator().manual_seed(rank)
    inputs = torch.randn(steps, runs, 9, generator=generator, dtype=torch.float64)
    ds = lyapkit.lyapunov_spectrum(systems.MatrixProduct(3), inputs, check=False)
    return measure(ds, systems.gaussian_product_exponents(3, 1.0)[rank], rank)


def logistic(steps: int, runs: int = 2000) -> Row:
    """Measure the logistic map at r = 4, whose growth is a difference: log |sin| of an angle that doubles."""
    generator = torch.Generator().manual_seed(steps)
    start = torch.sin(math.pi / 2 * torch.rand(runs, 1, generator=generator, dtype=torch.float64)) ** 2
    ds = lyapkit.lyapunov_spectrum(systems.logistic().map, steps=steps, initial_state=start, check=False)
    return measure(ds, math.log(2))


def lorenz(steps: int, runs: int = 1000) -> Row:
    """Measure the leading exponent of the Lorenz system, whose growth oscillates."""
    system = systems.lorenz()
    generator = torch.Generator().manual_seed(steps)
    start = torch.tensor([5.0, 5.0, 25.0]) + torch.randn(runs, 3, generator=generator, dtype=torch.float64)
    ds = lyapkit.lyapunov_spectrum(
        system.map, steps=2000 + steps, transient=2000, initial_state=start, k=1, dt=0.01, rng=0, check=False
    )
    return measure(ds, system.exponents[0])


def driven_network(steps: int, runs: int = 1000) -> Row:
    """Measure the leading exponent of a driven tanh network, and its exponent in 400 runs of 5 times as many steps."""
    generator = torch.Generator().manual_seed(0)
    weight = 1.5 / math.sqrt(12) * torch.randn(12, 12, generator=generator, dtype=torch.float64)
    network = tanh_network(weight, driven=True)

    def spectrum(steps: int, runs: int) -> xr.Dataset:
        inputs = 0.5 * torch.randn(steps + 100, runs, 12, generator=generator, dtype=torch.float64)
        return lyapkit.lyapunov_spectrum(network, inputs, k=1, transient=100, rng=0, check=False)

    return measure(spectrum(steps, runs), float(spectrum(5 * steps, 400).lyapunov_exponent.mean()))


def synthetic(make: Callable[..., Tensor], parameter: float, steps: int, runs: int = 2000) -> Row:
    """Measure growth of a known law with mean 0."""
    return measure(scalar_product(make(parameter, steps, runs, torch.Generator().manual_seed(steps))), 0.0)


def series(growth: Tensor, exact: float) -> Row:
    """Measure growth, shape (T, B), without a map."""
    window = torch.ones(len(growth), dtype=torch.float64)
    means = MeanGrowth.of(growth, window)
    found = means.errors()
    _, agree = compare_halves(growth.unsqueeze(-1), window)
    reliable = found.hidden < TOO_SHORT
    off = (means.mean - exact).abs()
    inside = off <= float(student.isf(0.025, means.degrees_of_freedom)) * found.standard
    return Row(
        float(inside.double().mean()),
        float((reliable & ~inside).double().mean()),
        float(found.standard[reliable].median() / off.square().mean().sqrt()),
        float(reliable.double().mean()),
        float((reliable & ~agree).double().mean()),
        len(off),
    )


def ringing(modulus: float, period: float, steps: int, runs: int = 2000) -> Row:
    """Measure an autoregression of order 2 whose poles have a given modulus and period."""
    noise = torch.randn(steps + 500, runs, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    past, now, found = noise[0], noise[1], []
    for row in noise[2:]:
        past, now = now, 2 * modulus * math.cos(2 * math.pi / period) * now - modulus**2 * past + row
        found.append(now)
    return series(torch.stack(found[-steps:]), 0.0)


def heavy_tails(kind: str, steps: int, runs: int = 2000) -> Row:
    """Measure independent growth of Student's t distribution with 3 degrees of freedom, or log-normal growth."""
    generator = np.random.default_rng(steps)
    if kind == "t":
        return series(torch.from_numpy(generator.standard_t(3, (steps, runs))), 0.0)
    return series(torch.from_numpy(np.exp(generator.standard_normal((steps, runs)))), math.exp(0.5))


def chaotic(step: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], steps: int, runs: int = 2000) -> Row:
    """Measure a map of an interval, whose exponent is that of as many runs of 50 times as many steps."""
    state = 0.1 + 0.8 * torch.rand(runs, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    found, total, further = [], torch.zeros(runs, dtype=torch.float64), max(50 * steps, 10_000)
    for index in range(TRANSIENT + steps + further):
        if index >= TRANSIENT:
            growth = slope(state).abs().clamp(min=1e-300).log()
            if index < TRANSIENT + steps:
                found.append(growth)
            else:
                total += growth
        state = step(state)
    return series(torch.stack(found), float(total.mean()) / further)


def quadratic(rate: float, steps: int) -> Row:
    """Measure the logistic map at a given r."""
    return chaotic(lambda x: rate * x * (1 - x), lambda x: rate * (1 - 2 * x), steps)


def intermittent(power: float, steps: int) -> Row:
    """Measure the map of Manneville, x' = x + x^z mod 1, which stays near 0 for times without a scale."""
    return chaotic(lambda x: (x + x**power) % 1, lambda x: 1 + power * x ** (power - 1), steps)


def henon(steps: int, runs: int = 2000) -> Row:
    """Measure the leading exponent of the Hénon map."""
    system = systems.henon()
    start = 0.1 * torch.rand(runs, 2, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    ds = lyapkit.lyapunov_spectrum(
        system.map, steps=200 + steps, transient=200, initial_state=start, k=1, rng=0, check=False
    )
    return measure(ds, system.exponents[0])


def drawn(make: Callable[..., Tensor], parameter: float, steps: int, runs: int = 2000) -> Row:
    """Measure growth of a known law with mean 0, without a map."""
    return series(make(parameter, steps, runs, torch.Generator().manual_seed(steps + 1)), 0.0)


ROWS: dict[str, tuple[int, Callable[[], Row]]] = {
    "Gaussian matrices, first of 3": (400, lambda: gaussian_product(400, 0)),
    "Gaussian matrices, last of 3": (400, lambda: gaussian_product(400, 2)),
    "logistic map, short": (256, lambda: logistic(256)),
    "logistic map": (2000, lambda: logistic(2000)),
    "Lorenz": (20_000, lambda: lorenz(20_000)),
    "driven tanh network, N = 12": (1000, lambda: driven_network(1000)),
    "AR(1), 0": (100, lambda: synthetic(autoregressive, 0.0, 100)),
    "AR(1), 0.9": (1000, lambda: synthetic(autoregressive, 0.9, 1000)),
    "AR(1), 0.9, long": (4000, lambda: synthetic(autoregressive, 0.9, 4000)),
    "AR(1), -0.5": (300, lambda: synthetic(autoregressive, -0.5, 300)),
    "AR(1), 0.9, until the error is 0.008": (16 * FIRST_BLOCK, lambda: at_stopping(0.9, 0.008)),
    "AR(1), 0, 20 steps": (20, lambda: synthetic(autoregressive, 0.0, 20)),
    "AR(1), 0.9, short": (300, lambda: synthetic(autoregressive, 0.9, 300)),
    "AR(1), 0.95": (500, lambda: synthetic(autoregressive, 0.95, 500)),
    "AR(1), 0.97, 100 steps": (100, lambda: synthetic(autoregressive, 0.97, 100)),
    "AR(1), 0.97, 50 steps": (50, lambda: synthetic(autoregressive, 0.97, 50)),
    "AR(1), 0.99": (300, lambda: synthetic(autoregressive, 0.99, 300)),
    "telegraph, 14 correlation times": (700, lambda: synthetic(telegraph, 50.0, 700)),
    "telegraph, 7 correlation times": (700, lambda: synthetic(telegraph, 100.0, 700)),
    "other: AR(1), -0.9": (200, lambda: drawn(autoregressive, -0.9, 200)),
    "other: AR(1), 0.5": (200, lambda: drawn(autoregressive, 0.5, 200)),
    "other: AR(1), 0.98": (1000, lambda: drawn(autoregressive, 0.98, 1000)),
    "other: AR(1), 0.98, long": (5000, lambda: drawn(autoregressive, 0.98, 5000)),
    "other: AR(2), modulus 0.9, period 4": (100, lambda: ringing(0.9, 4, 100)),
    "other: AR(2), modulus 0.95, period 10": (200, lambda: ringing(0.95, 10, 200)),
    "other: AR(2), modulus 0.98, period 20": (1000, lambda: ringing(0.98, 20, 1000)),
    "other: Student's t, 3 degrees of freedom": (100, lambda: heavy_tails("t", 100)),
    "other: log-normal, 20 steps": (20, lambda: heavy_tails("log-normal", 20)),
    "other: log-normal": (50, lambda: heavy_tails("log-normal", 50)),
    "other: log-normal, long": (1000, lambda: heavy_tails("log-normal", 1000)),
    "other: logistic map, r = 3.9, short": (64, lambda: quadratic(3.9, 64)),
    "other: logistic map, r = 3.9": (256, lambda: quadratic(3.9, 256)),
    "other: Hénon map, short": (50, lambda: henon(50)),
    "other: map of Manneville, z = 1.5": (2000, lambda: intermittent(1.5, 2000)),
    "other: telegraph, 33 correlation times": (1000, lambda: drawn(telegraph, 1000 / 33, 1000)),
    "other: telegraph, 100 correlation times": (1000, lambda: drawn(telegraph, 10.0, 1000)),
}
"""Steps and measurement by name of the system."""


def main(*chosen: str) -> None:
    """Print the table in Markdown."""
    print("| growth | T | runs | coverage | wrong | error / sd | reliable | false alarms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (steps, run) in ROWS.items():
        if not chosen or any(part in name for part in chosen):
            row = run()
            share = f"{row.error_over_deviation:.2f}"
            print(
                f"| {name} | {steps:,} | {row.runs:,} | {row.coverage:.3f} | {row.wrong:.3f} | {share} "
                f"| {row.reliable:.3f} | {row.false_alarms:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
