"""Leading exponents of a random network of thousands of units on a GPU: time, value, and the matrix products alone."""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import lyapkit
from lyapkit.systems.flows import runge_kutta_step

PUBLISHED = 22_000, 133.0
"""Tangent steps and seconds of a published run on an A100 or H100 (N = 4096, k = 1024, Runge-Kutta, float64)."""


def network(size: int, gain: float, device: str) -> lyapkit.RecurrentMap:
    """Return dx/dt = -x + J tanh x by Runge-Kutta steps of 0.1, with J drawn on the processor: the same everywhere."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(size, size, generator=generator, dtype=torch.float64).mul_(gain / size**0.5).to(device)
    start = torch.randn(size, generator=generator, dtype=torch.float64).to(device)

    def velocity(state: Tensor) -> Tensor:
        return torch.tanh(state) @ weight.T - state

    return lyapkit.as_map(runge_kutta_step(velocity, 0.1), state=start)


def seconds(call: Callable[[], object], device: str) -> float:
    """Measure the wall time of one call."""
    call()  # compiles and allocates
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def floor(size: int, k: int, products: int, dtype: torch.dtype, device: str) -> float:
    """Measure the seconds of the matrix products of the frame and nothing else."""
    matrix, frame = (torch.randn(rows, size, dtype=dtype, device=device) for rows in (size, k))
    return seconds(lambda: [frame @ matrix for _ in range(products)], device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    name = "processor" if given.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{name}, torch {torch.__version__}, N={given.size}, k={given.k}, Runge-Kutta steps of 0.1, {given.steps} steps"
    )
    map = network(given.size, 3.0, given.device)
    start = lyapkit.lyapunov_spectrum(map, steps=given.steps, k=1, rng=0)
    print(f"leading exponent per unit of time: {start.lyapunov_exponent.values[0, 0] / 0.1:.4f} (published 0.2311)")
    for dtype in (torch.float64, torch.float32):
        taken = seconds(
            lambda dtype=dtype: lyapkit.lyapunov_spectrum(
                map, steps=given.steps, k=given.k, rng=0, transient=0, frame_dtype=dtype
            ),
            given.device,
        )
        bound = floor(given.size, given.k, 4 * given.steps, dtype, given.device)
        steps, published = PUBLISHED
        print(
            f"frames of {dtype}: {taken:.2f} s, {taken / bound:.2f} times the products alone; "
            f"{steps:,} steps would take {taken / given.steps * steps:.0f} s (published {published:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
