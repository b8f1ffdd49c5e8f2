"""Time of analyses while another process keeps the same cores busy.

    python benchmarks/contention.py [--only WORD] [--processor-time]

Each analysis runs in a process of its own, with one thread on an idle machine, and then with PyTorch's default number
of threads and with one thread while as many processes spin as there are cores. Smallest of three calls after one that
is not counted. No number in the column of ratios should exceed 2. Where the machine is not idle, --processor-time takes
the processor's time as the quiet one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from ways import Way, walking

import lyapkit
from wcrnn_models import WCRNN, residuals

REPEATS = 3
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def analyses() -> dict[str, tuple[Way, Callable[[], object]]]:
    """Return the analyses, by name: how they walk, and what they do."""
    generator = torch.Generator().manual_seed(0)
    double = torch.float64
    network = WCRNN(1, 100, 10, residual=residuals.scalar(0.995), rng=0, dtype=double)
    pixels = torch.rand(784, 32, 1, generator=generator, dtype=double)
    labels = torch.randint(10, (32,), generator=generator)
    torch.manual_seed(0)
    gru, lstm = torch.nn.GRU(3, 50).double(), torch.nn.LSTM(3, 50).double()
    inputs = torch.randn(400, 3, generator=generator, dtype=double)
    weights = 1.5 * torch.randn(400, 400, generator=generator, dtype=double) / 20
    start = torch.randn(400, generator=generator, dtype=double)
    large = lyapkit.as_map(lambda x: torch.tanh(weights @ x), state=start)
    one, rest = pixels[:, 0], torch.zeros(3, dtype=double)

    loss = torch.nn.functional.cross_entropy
    return {
        "lyapunov_spectrum, plain": ("plain", lambda: lyapkit.lyapunov_spectrum(network, one[:300])),
        "lyapunov_spectrum, traced": ("traced", lambda: lyapkit.lyapunov_spectrum(network, one)),
        "lyapunov_spectrum, machine code": ("as chosen", lambda: lyapkit.lyapunov_spectrum(network, one)),
        "the same, 32 sequences": ("as chosen", lambda: lyapkit.lyapunov_spectrum(network, pixels[:300], k=20)),
        "the same, LSTM of 50": ("as chosen", lambda: lyapkit.lyapunov_spectrum(lstm, inputs)),
        "the same, 400 units": ("as chosen", lambda: lyapkit.lyapunov_spectrum(large, steps=100)),
        "covariant_vectors": ("as chosen", lambda: lyapkit.covariant_vectors(gru, inputs, transient=50)),
        "variational_term": ("as chosen", lambda: lyapkit.variational_term(network, one[:200])),
        "gradient_propagation": (
            "as chosen",
            lambda: lyapkit.gradient_propagation(network, pixels[:200], labels, loss=loss),
        ),
        "hessian_spectrum": (
            "as chosen",
            lambda: lyapkit.hessian_spectrum(network, [(pixels[:50], labels)], loss, k=2, rng=0),
        ),
        "fixed_points": (
            "as chosen",
            lambda: lyapkit.fixed_points(gru, rest, n_starts=50, rng=0),
        ),
    }


def measure(name: str) -> None:
    """Print wall and processor time of an analysis."""
    way, analysis = analyses()[name]
    times = []
    with walking(way):
        for _ in range(REPEATS + 1):
            began, processor = time.perf_counter(), time.process_time()
            analysis()
            times.append((time.perf_counter() - began, time.process_time() - processor))
    print(*(min(column) for column in zip(*times[1:], strict=True)))


def measured(name: str, threads: int | None) -> tuple[float, float]:
    """Measure an analysis in a process of its own: wall and processor time."""
    environment = {key: value for key, value in os.environ.items() if key not in THREADS}
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    command = [sys.executable, __file__, "--measure", name]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    wall, processor = map(float, found.split()[-2:])
    return wall, processor


def spin() -> None:
    """Keep a core busy for ever."""
    while True:
        pass


@contextmanager
def busy_cores() -> Iterator[None]:
    """Run a spinning process for each core."""
    spinners = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.terminate()
            spinner.join()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="measure only the analyses whose name has this")
    parser.add_argument("--processor-time", action="store_true", help="take the processor's time as the quiet one")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    print("| analysis | one thread, quiet | default threads, beside a busy process | ratio | one thread, beside it |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in analyses():
        if arguments.only not in name:
            continue
        quiet = measured(name, 1)[arguments.processor_time]
        with busy_cores():
            default, single = measured(name, None)[0], measured(name, 1)[0]
        print(f"| {name} | {quiet:.2f} s | {default:.2f} s | {default / quiet:.1f} | {single:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
