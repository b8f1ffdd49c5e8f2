"""Lyapunov spectra beside traced and plain steps, loops by hand, lyapax, and the floor (the matrix products alone).

    python benchmarks/lyapunov.py [--lyapax-python PYTHON] [--threads N] [--only WORD]

on an otherwise idle machine. Each number is the median of five calls after one that is not counted. Traced and plain
steps are measured on shorter runs, of two lengths, and continued in a straight line to the length of the row.
The goal of a row is the time of lyapax, or that of plain steps where lyapax has no such run.
"""

from __future__ import annotations

import argparse
import pathlib
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from by_hand import numpy_loop, textbook
from timing import median_seconds
from torch import Tensor
from ways import Way, walking

import lyapkit
from lyapkit import RecurrentMap, systems
from wcrnn_models import WCRNN, residuals

DOUBLE = torch.float64
HEADINGS = ("work", "lyapkit", "traced", "plain", "by hand", "lyapax", "floor", "times faster than the goal", "goal")


@dataclass(frozen=True)
class Work:
    """A row of the table.

    Attributes:
        name: What is measured.
        steps: Steps of the run.
        run: Computes a spectrum of so many steps.
        few: Steps of the longer of two runs by which traced steps are measured; plain steps take half as many.
        by_hand: The same in a loop by hand; None for none.
        floor: Frames (..., k, N) that are multiplied by a matrix at every step; None where a step is no product.
        peer: Name of the row in `lyapax_peer.py`; empty where lyapax has no such run.
    """

    name: str
    steps: int
    run: Callable[[int], object]
    few: int
    by_hand: Callable[[], object] | None = None
    floor: tuple[int, ...] | None = None
    peer: str = ""

    def seconds(self, way: Way) -> float:
        """Measure the time of the run by one of lyapkit's ways."""
        with walking(way):
            if way == "as chosen":
                return median_seconds(lambda: self.run(self.steps))
            steps = self.few if way == "traced" else self.few // 2
            long, short = median_seconds(lambda: self.run(steps)), median_seconds(lambda: self.run(steps // 2))
            return long + (long - short) / (steps - steps // 2) * (self.steps - steps)

    def floor_seconds(self) -> float | None:
        """Measure the products of the frames with a matrix at every step, and nothing else."""
        if self.floor is None:
            return None
        size = self.floor[-1]
        matrix, frame = torch.randn(size, size, dtype=DOUBLE), torch.randn(self.floor, dtype=DOUBLE)
        return median_seconds(lambda: [frame @ matrix for _ in range(self.steps)])


def rate_network(size: int) -> tuple[RecurrentMap, np.ndarray, np.ndarray]:
    """Return the map x' = 0.9 x + 0.1 J tanh x, J and the initial state; `lyapax_peer.py` has the same."""
    random = np.random.RandomState(0)
    weight, start = 4 * random.randn(size, size) / size**0.5, random.randn(size)
    tensor = torch.tensor(weight)
    step = lambda x: 0.9 * x + 0.1 * (tensor @ torch.tanh(x))  # noqa: E731
    return lyapkit.as_map(step, state=torch.tensor(start)), weight, start


def autonomous() -> list[Work]:
    """Return the work that lyapax does, too."""
    henon, lorenz = systems.henon().map, systems.lorenz().map
    many = torch.tensor(0.1 * np.random.RandomState(0).rand(10_000, 2))
    hundred, weight, start = rate_network(100)
    thousand = rate_network(1000)[0]
    spectrum = lyapkit.lyapunov_spectrum
    return [
        Work("Henon, 200,000 steps", 200_000, lambda n: spectrum(henon, steps=n), 2_000, peer="henon"),
        Work("Lorenz, 100,000 Runge-Kutta steps", 100_000, lambda n: spectrum(lorenz, steps=n), 1_000, peer="lorenz"),
        Work(
            "Henon, 10,000 trajectories x 1,000",
            1_000,
            lambda n: spectrum(henon, steps=n, initial_state=many),
            600,
            peer="many",
        ),
        Work(
            "rate network of 100 units, 5,000 steps",
            5_000,
            lambda n: spectrum(hundred, steps=n),
            1_000,
            lambda: numpy_loop(weight, start, 5_000, 10),
            (100, 100),
            "hundred",
        ),
        Work(
            "rate network of 1,000 units, k = 10, 200 steps",
            200,
            lambda n: spectrum(thousand, steps=n, k=10, rng=0),
            100,
            floor=(10, 1000),
            peer="thousand",
        ),
    ]


def driven() -> list[Work]:
    """Return work on driven networks."""
    generator = torch.Generator().manual_seed(0)
    network = WCRNN(1, 100, 10, residual=residuals.scalar(0.995), rng=0, dtype=DOUBLE)
    pixels = torch.rand(784, 1, generator=generator, dtype=DOUBLE)
    inputs = torch.randn(1000, 32, 3, generator=generator, dtype=DOUBLE)
    torch.manual_seed(0)
    lstm, gru = torch.nn.LSTM(3, 50).double(), torch.nn.GRU(3, 50).double()
    spectrum = lyapkit.lyapunov_spectrum
    by_hand = lambda: textbook(network, pixels)  # noqa: E731
    return [
        Work("WCRNN of 100 units, T = 784", 784, lambda n: spectrum(network, pixels[:n]), 600, by_hand, (100, 100)),
        Work("LSTM(3, 50), T = 1,000, all 100", 1000, lambda n: spectrum(lstm, inputs[:n, 0]), 600, None, (100, 100)),
        Work("the same, k = 5", 1000, lambda n: spectrum(lstm, inputs[:n, 0], k=5), 600, None, (5, 100)),
        Work("GRU(3, 50), 32 sequences, T = 1,000", 1000, lambda n: spectrum(gru, inputs[:n]), 600, None, (32, 50, 50)),
    ]


def agreement(threads: int) -> str:
    """Compare exponents of the driven network with those of the textbook loop, so that both do the same work."""
    network = WCRNN(1, 100, 10, residual=residuals.scalar(0.995), rng=0, dtype=DOUBLE)
    pixels: Tensor = torch.rand(784, 1, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    ours = lyapkit.lyapunov_spectrum(network, pixels).lyapunov_exponent.values[0]
    theirs = textbook(network, pixels).sort(descending=True).values.numpy()
    return (
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {threads} threads; exponents of the "
        f"WCRNN differ from the textbook loop's by at most {np.abs(ours - theirs).max():.1e}"
    )


def measure_peer(python: str | None) -> dict[str, float]:
    """Measure medians of lyapax in an environment of its own."""
    if python is None:
        print("lyapax is not measured; give --lyapax-python, the interpreter of an environment that has it.\n")
        return {}
    script = pathlib.Path(__file__).with_name("lyapax_peer.py")
    lines = subprocess.run([python, script], check=True, capture_output=True, text=True).stdout.split("\n")
    return {name: float(seconds) for name, seconds in (line.split() for line in lines if line)}


def shown(seconds: float | None) -> str:
    """Write seconds with three digits."""
    return "" if seconds is None else f"{seconds:#.3g} s"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lyapax-python", help="interpreter of an environment with lyapax")
    parser.add_argument("--only", default="", help="measure only the rows whose name has this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peer = measure_peer(arguments.lyapax_python)
    print(f"{agreement(arguments.threads)}\n\n| {' | '.join(HEADINGS)} |")
    print(f"| --- |{' ---: |' * (len(HEADINGS) - 1)}")
    for work in (*autonomous(), *driven()):
        if arguments.only not in work.name:
            continue
        ours, traced, plain = (work.seconds(way) for way in ("as chosen", "traced", "plain"))
        by_hand = None if work.by_hand is None else median_seconds(work.by_hand)
        theirs = peer.get(work.peer)
        goal, name = (plain, "plain") if theirs is None else (theirs, "lyapax")
        cells = [shown(seconds) for seconds in (ours, traced, plain, by_hand, theirs, work.floor_seconds())]
        print(f"| {work.name} | {' | '.join(cells)} | {goal / ours:.2f} | {name}, {shown(goal)} |", flush=True)


if __name__ == "__main__":
    main()
