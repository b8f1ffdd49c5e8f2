"""Lyapunov spectra by generic autodiff against the textbook loop, a hand-written NumPy loop, lyapax, and the floor."""

import argparse
import pathlib
import platform
import subprocess

import numpy as np
import torch
from timing import median_seconds, row

import lyapkit
from wcrnn_models import WCRNN, residuals


def textbook(network: WCRNN, inputs: torch.Tensor) -> torch.Tensor:
    """Run Algorithm 1 word for word: torch.autograd.functional.jacobian and a QR decomposition at every step."""
    state = torch.zeros(network.hidden_size, dtype=torch.float64)
    frame = torch.eye(network.hidden_size, dtype=torch.float64)
    total = torch.zeros(network.hidden_size, dtype=torch.float64)
    for input in inputs:
        jacobian = torch.autograd.functional.jacobian(lambda x, s=input: network.step(x, s), state)
        with torch.no_grad():
            state = network.step(state, input)
        frame, r = torch.linalg.qr(jacobian @ frame)
        total += r.diagonal().abs().log()
    return total / len(inputs)


def numpy_loop(weight: np.ndarray, start: np.ndarray, steps: int, every: int) -> np.ndarray:
    """Iterate x' = 0.9 x + 0.1 J tanh x with its Jacobian by hand, QR every few steps."""
    state, size = start.copy(), len(start)
    frame, total = np.eye(size), np.zeros(size)
    for step in range(1, steps + 1):
        slope = 1 - np.tanh(state) ** 2
        frame = 0.9 * frame + 0.1 * (weight @ (slope[:, None] * frame))
        state = 0.9 * state + 0.1 * (weight @ np.tanh(state))
        if step % every == 0:
            frame, r = np.linalg.qr(frame)
            total += np.log(np.abs(np.diag(r)))
    return total / steps


def driven(size: int, steps: int, batch: int) -> None:
    network = WCRNN(1, size, 10, residual=residuals.scalar(0.995), rng=0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(steps, batch, 1, generator=generator, dtype=torch.float64)
    print(f"\ndriven WCRNN, N={size}, T={steps}, full spectrum, float64")
    ours = lyapkit.lyapunov_spectrum(network, inputs[:, 0]).lyapunov_exponent.values[0]
    plain = textbook(network, inputs[:, 0]).sort(descending=True).values.numpy()
    print(f"largest difference of an exponent: {np.abs(ours - plain).max():.1e}")
    slow = median_seconds(lambda: textbook(network, inputs[:, 0]))
    row("textbook loop", slow)
    alone = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, inputs[:, 0]))
    row("lyapkit, generic autodiff", alone, slow)
    every = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, inputs[:, 0], qr_interval=1))
    row("lyapkit, QR at every step", every, slow)
    together = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, inputs)) / batch
    row(f"lyapkit, {batch} sequences at once, per sequence", together, alone)
    print(f"lyapkit / floor: {alone / floor(size, size, steps, torch.float64):.1f}")


def floor(size: int, k: int, steps: int, dtype: torch.dtype) -> float:
    """Measure one product of the frame with a matrix per step, and nothing else."""
    matrix, frame = torch.randn(size, size, dtype=dtype), torch.randn(k, size, dtype=dtype)
    seconds = median_seconds(lambda: [frame @ matrix for _ in range(steps)])
    row(f"floor: {steps} products ({k}, {size}) x ({size}, {size})", seconds)
    return seconds


def autonomous(size: int, steps: int, peer: dict[str, float]) -> None:
    random = np.random.RandomState(0)
    weight, start = 4 * random.randn(size, size) / size**0.5, random.randn(size)
    network = rate_network(weight, start)
    print(f"\nautonomous x' = 0.9 x + 0.1 J tanh x, N={size}, {steps} steps, full spectrum")
    by_hand = median_seconds(lambda: numpy_loop(weight, start, steps, 10))
    row("NumPy loop with a hand-written Jacobian, QR every 10 steps", by_hand)
    double = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, steps=steps))
    row("lyapkit, float64", double, by_hand)
    single = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, steps=steps, frame_dtype=torch.float32))
    row("lyapkit, float32 frames", single, by_hand)
    against(peer, "autonomous", double)
    print(f"lyapkit / floor: {double / floor(size, size, steps, torch.float64):.1f}")


def rate_network(weight: np.ndarray, start: np.ndarray) -> lyapkit.RecurrentMap:
    tensor = torch.tensor(weight)
    return lyapkit.as_map(lambda x: 0.9 * x + 0.1 * (tensor @ torch.tanh(x)), state=torch.tensor(start))


def large(size: int, peer: dict[str, float]) -> None:
    random = np.random.RandomState(0)
    network = rate_network(4 * random.randn(size, size) / size**0.5, random.randn(size))
    print(f"\nthe same with N={size}")
    leading = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, steps=200, k=10, rng=0))
    row("lyapkit, 10 leading exponents, 200 steps", leading)
    against(peer, "leading", leading)
    full = median_seconds(lambda: lyapkit.lyapunov_spectrum(network, steps=200))
    row("lyapkit, full spectrum, 200 steps", full)
    print(f"lyapkit / floor: {full / floor(size, size, 200, torch.float64):.1f}")


def many(trajectories: int, steps: int, peer: dict[str, float]) -> None:
    map = lyapkit.systems.henon().map
    starts = torch.tensor(0.1 * np.random.RandomState(0).rand(trajectories, 2))
    print(f"\n{trajectories} trajectories of the Henon map, {steps} steps")
    for interval in (10, "auto"):
        seconds = median_seconds(
            lambda q=interval: lyapkit.lyapunov_spectrum(map, steps=steps, initial_state=starts, qr_interval=q)
        )
        row(f"lyapkit, QR interval {interval}", seconds)
        against(peer, "henon", seconds)


def against(peer: dict[str, float], name: str, seconds: float) -> None:
    if name in peer:
        row("lyapax, compiled and warm, QR every 10 steps", peer[name])
        print(f"lyapax / lyapkit: {peer[name] / seconds:.2f}")


def measure_peer(python: str | None) -> dict[str, float]:
    """Measure medians of lyapax in an environment of its own."""
    if python is None:
        print("lyapax is not measured; give --lyapax-python, the interpreter of an environment that has it.")
        return {}
    script = pathlib.Path(__file__).with_name("lyapax_peer.py")
    lines = subprocess.run([python, script], check=True, capture_output=True, text=True).stdout.split("\n")
    return {name: float(seconds) for name, seconds in (line.split() for line in lines if line)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lyapax-python", help="interpreter of an environment with lyapax")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.threads} threads")
    peer = measure_peer(arguments.lyapax_python)
    driven(size=100, steps=784, batch=32)
    autonomous(size=100, steps=5000, peer=peer)
    large(size=1000, peer=peer)
    many(trajectories=10_000, steps=1000, peer=peer)


if __name__ == "__main__":
    main()
