"""Measure what a search for fixed points costs.

    python benchmarks/fixed_points.py [--threads N]

1,000 starts of a GRU of 100 units, whole searches with all that belongs to the result; and the two ways to the
Jacobians of 1,000 states.
"""

from __future__ import annotations

import argparse
import time

import torch
from timing import median_seconds, row

import lyapkit
from lyapkit.tangents import ForwardTangents, ReverseTangents

UNITS, STARTS = 100, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    for dtype in (torch.float64, torch.float32):
        measure(dtype)


def measure(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(3, UNITS).to(dtype).requires_grad_(False)
    cell.weight_hh *= 3
    starts = 0.3 * torch.randn(STARTS, UNITS, generator=torch.Generator().manual_seed(0)).to(dtype)
    input = torch.zeros(3, dtype=dtype)
    before, cpu = time.perf_counter(), time.process_time()
    found = lyapkit.fixed_points(cell, input, starts=starts)
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    arrived = found.attrs["starts_arrived"]
    row(f"fixed_points, {STARTS} starts, {UNITS} units, {dtype}: {arrived} arrived, CPU {cpu:.1f} s", seconds)
    map, inputs = lyapkit.as_map(cell), input.expand(STARTS, -1)
    forward = median_seconds(lambda: ForwardTangents().jacobian(map, starts, inputs), 3)
    reverse = median_seconds(lambda: ReverseTangents().jacobian(map, starts, inputs), 3)
    row(f"Jacobians of {STARTS} states, forward mode", forward)
    row("the same, reverse mode", reverse, forward)


if __name__ == "__main__":
    main()
