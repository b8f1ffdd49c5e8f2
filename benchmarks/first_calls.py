"""Cost of the first call in a process, of the second, and of plain steps, for runs of 10 to 10,000 steps.

    python benchmarks/first_calls.py [--repeats N]

Each number is the smallest of a few processes, in seconds of the processor on one thread, so that other load on the
machine disturbs little. The import of lyapkit is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from ways import walking

import lyapkit
from lyapkit import systems
from wcrnn_models import WCRNN, residuals

LENGTHS = (10, 30, 100, 300, 1_000, 3_000, 10_000)
LONGEST_PLAIN = 3_000


def work(name: str, steps: int) -> Callable[[], object]:
    """Return the run of a model over so many steps."""
    if name == "Henon":
        map = systems.henon().map
        return lambda: lyapkit.lyapunov_spectrum(map, steps=steps)
    double = torch.float64
    inputs = torch.rand(steps, 1, generator=torch.Generator().manual_seed(0), dtype=double)
    torch.manual_seed(0)
    model = (
        torch.nn.LSTM(1, 50).double()
        if name == "LSTM of 50"
        else WCRNN(1, 100, 10, residual=residuals.scalar(0.995), rng=0, dtype=double)
    )
    return lambda: lyapkit.lyapunov_spectrum(model, inputs, k=10, rng=0)


def measure(name: str, steps: int, way: str) -> None:
    """Print the processor time of two calls."""
    torch.set_num_threads(1)
    run = work(name, steps)
    with walking("plain" if way == "plain" else "as chosen"):
        for _ in range(2):
            began = time.process_time()
            run()
            print(time.process_time() - began)


def measured(name: str, steps: int, way: str, repeats: int) -> list[float]:
    """Return the times of the first and the second call in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(steps), way]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = []
    for _ in range(repeats):
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.split()
        found.append([float(line) for line in lines])
    return [min(column) for column in zip(*found, strict=True)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, steps, way = arguments.measure
        measure(name, int(steps), way)
        return
    print("| model | steps | first call | second call | plain, first call | plain, second call |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("Henon", "LSTM of 50", "WCRNN of 100"):
        for steps in LENGTHS:
            seconds = measured(name, steps, "as chosen", arguments.repeats)
            if steps <= LONGEST_PLAIN:
                seconds += measured(name, steps, "plain", arguments.repeats)
            cells = [f"{each:.2f} s" for each in seconds] + [""] * (4 - len(seconds))
            print(f"| {name} | {steps:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
