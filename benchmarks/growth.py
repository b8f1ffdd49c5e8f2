"""Growth of the cost of a spectrum with units, exponents, steps and trajectories.

    python benchmarks/growth.py
    python benchmarks/growth.py --plot docs/growth.png

The first, in less than five minutes, writes `growth.json` beside this file: seconds of the processor on one thread, the
smallest of three calls after one that is not counted. The second draws what is there.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from timing import processor_seconds

import lyapkit
from lyapkit import RecurrentMap

DATA = pathlib.Path(__file__).with_name("growth.json")
GRID = {
    "units N (k = N, 300 steps)": (4, 8, 16, 32, 64, 128, 256),
    "exponents k (N = 128, 300 steps)": (1, 2, 4, 8, 16, 32, 64, 128),
    "steps T (N = k = 32)": (100, 300, 1_000, 3_000, 10_000),
    "trajectories B (N = k = 16, 300 steps)": (1, 4, 16, 64, 256),
}


def network(size: int) -> RecurrentMap:
    """Return x' = tanh(J x) with random weights."""
    generator = torch.Generator().manual_seed(0)
    weight = 1.5 * torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    return lyapkit.as_map(lambda x: torch.tanh(weight @ x), state=start)


def work(kind: str, count: int) -> Callable[[], object]:
    """Return the spectrum at a point of the grid."""
    size, k, steps, trajectories = {
        "units": (count, count, 300, 1),
        "exponents": (128, count, 300, 1),
        "steps": (32, 32, count, 1),
        "trajectories": (16, 16, 300, count),
    }[kind]
    map = network(size)
    starts = torch.randn(trajectories, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return lambda: lyapkit.lyapunov_spectrum(map, steps=steps, k=k, initial_state=starts, rng=0)


def measure() -> None:
    """Measure the grid and keep it."""
    torch.set_num_threads(1)
    found = {}
    for name, counts in GRID.items():
        seconds = [processor_seconds(work(name.split()[0], count)) for count in counts]
        found[name] = {"counts": counts, "seconds": [float(f"{each:.3g}") for each in seconds]}
        print(name, *(f"{count}: {each:.3g} s" for count, each in zip(counts, seconds, strict=True)), flush=True)
    DATA.write_text(json.dumps({"torch": torch.__version__, "seconds": found}, indent=1) + "\n")


def plot(path: str) -> None:
    """Draw what was measured."""
    measured = json.loads(DATA.read_text())["seconds"]
    with plt.style.context("lyapkit.plots.paper"):
        figure, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True, layout="constrained")
        for ax, (name, points) in zip(axes, measured.items(), strict=True):
            label, _, fixed = name.partition(" (")
            ax.loglog(points["counts"], points["seconds"], "o-")
            ax.set_xlabel(label)
            ax.set_title(fixed.removesuffix(")"))
            ax.grid(True, which="major", linewidth=0.4)
        axes[0].set_ylabel("processor time (s)")
        figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", help="draw the figure instead")
    arguments = parser.parse_args()
    if arguments.plot:
        plot(arguments.plot)
    else:
        measure()


if __name__ == "__main__":
    main()
