"""Median times of lyapax, compiled and warm, on workloads of `lyapunov.py`; run with a Python that has it installed.

Prints one line per workload: its name and the median seconds of five calls after one that compiles.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from lyapax import integrators, lyapunov_spectrum, systems

jax.config.update("jax_enable_x64", True)


def median_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Measure the median wall time of five compiled calls."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def network(size: int, steps: int, k: int) -> float:
    """Return the map x' = 0.9 x + 0.1 J tanh x with the weights of `lyapunov.py`."""
    random = np.random.RandomState(0)
    weight = jnp.asarray(4 * random.randn(size, size) / size**0.5)
    start = jnp.asarray(random.randn(size))

    def step(x: jax.Array) -> jax.Array:
        return 0.9 * x + 0.1 * (weight @ jnp.tanh(x))

    return median_seconds(lambda x: lyapunov_spectrum(step, x, 1.0, steps, k=k, renorm_every=10).exponents, start)


def henon(trajectories: int, steps: int) -> float:
    """Return the Hénon map from many initial states under vmap."""
    starts = jnp.asarray(0.1 * np.random.RandomState(0).rand(trajectories, 2))
    step = systems.henon_map()
    return median_seconds(jax.vmap(lambda x: lyapunov_spectrum(step, x, 1.0, steps, renorm_every=10).exponents), starts)


def one(step: Callable[[jax.Array], jax.Array], start: list[float], dt: float, steps: int) -> float:
    """Return a small system from one initial state."""
    spectrum = lambda x: lyapunov_spectrum(step, x, dt, steps, renorm_every=10).exponents  # noqa: E731
    return median_seconds(spectrum, jnp.asarray(start))


if __name__ == "__main__":
    workloads = {
        "henon": lambda: one(systems.henon_map(), [0.1, 0.1], 1.0, 200_000),
        "lorenz": lambda: one(integrators.rk4_step(systems.lorenz(), 0.01), [5.0, 5.0, 25.0], 0.01, 100_000),
        "many": lambda: henon(10_000, 1000),
        "hundred": lambda: network(100, 5000, 100),
        "thousand": lambda: network(1000, 200, 10),
    }
    for name in sys.argv[1:] or workloads:
        print(name, workloads[name](), flush=True)
