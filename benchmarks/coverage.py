"""How often the error bars of exponents hold what they promise, where the true exponent is known.

    python benchmarks/coverage.py            all rows of the table in docs/concepts/error_bars.md, in a few minutes
    python benchmarks/coverage.py AR         only the systems whose name contains this

Every row is many runs of `lyapkit.lyapunov_spectrum`, side by side as trajectories of one call. The columns:

- coverage: share of runs whose 95 % interval, exponent +- t standard_error, contains the true exponent. Where a run is
  said to be too short, its error is inf and its interval contains everything;
- wrong: share of runs that are said to be reliable and whose interval does not contain it;
- error / sd: mean standard error over the standard deviation of the exponents, of the reliable runs;
- reliable: share of runs with error_reliable = 1;
- false alarms: share of runs with error_reliable = 1 and converged = 0, though all are stationary.
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
from lyapkit.lyapunov.stopping import FIRST_BLOCK
from lyapkit.lyapunov.uncertainty import MeanGrowth
from lyapkit.systems.networks import tanh_network


@dataclass(frozen=True)
class Row:
    """What is measured of one system."""

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
        float(error[known].mean() / deviation) if known.any() else math.nan,
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
    for doubling in range(5):
        seen = series[: FIRST_BLOCK * 2**doubling].reshape(-1, 2**doubling * FIRST_BLOCK // 64, runs).sum(dim=1)
        means = MeanGrowth.of(seen, torch.full((64,), 2.0**doubling * FIRST_BLOCK / 64, dtype=torch.float64))
        found = means.errors().standard
        stops = (error > target) & (found <= target)
        for kept, new in ((exponent, means.mean), (error, found), (freedom, means.degrees_of_freedom)):
            kept[stops] = new[stops].float() if isinstance(new, Tensor) else new
    stopped = error <= target
    off = exponent[stopped].abs()
    inside = off <= torch.from_numpy(student.isf(0.025, freedom[stopped].numpy())) * error[stopped]
    covered = float(inside.double().mean())
    ratio = float(error[stopped].mean() / off.square().mean().sqrt())
    return Row(covered, 1 - covered, ratio, float(stopped.double().mean()), 0.0, int(stopped.sum()))


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
    """Measure the leading exponent of a driven tanh network, whose exponent is that of 100 times as many steps."""
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
}
"""Steps and measurement by name of the system."""


def main(chosen: str = "") -> None:
    """Print the table in Markdown."""
    print("| growth | T | runs | coverage | wrong | error / sd | reliable | false alarms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (steps, run) in ROWS.items():
        if chosen in name:
            row = run()
            share = f"{row.error_over_deviation:.2f}"
            print(
                f"| {name} | {steps:,} | {row.runs:,} | {row.coverage:.3f} | {row.wrong:.3f} | {share} "
                f"| {row.reliable:.3f} | {row.false_alarms:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:2])
