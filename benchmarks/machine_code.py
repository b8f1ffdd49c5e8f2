"""Measure whole spectra with steps in machine code and with traced steps, one after the other, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import torch
from timing import median_seconds

import lyapkit
from lyapkit import systems
from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.recording import Untraceable


def rows() -> dict[str, Callable[[], object]]:
    """Return the work to be measured, by name."""
    double = torch.float64
    henon, lorenz = systems.henon().map, systems.lorenz().map
    generator = torch.Generator().manual_seed(0)
    weights = 0.4 * torch.randn(100, 100, generator=generator, dtype=double)
    start = torch.randn(100, generator=generator, dtype=double)
    rate = lyapkit.as_map(lambda x: 0.9 * x + 0.1 * (weights @ torch.tanh(x)), state=start)
    many = 0.1 * torch.rand(10_000, 2, generator=generator, dtype=double)
    lstm, gru = torch.nn.LSTM(3, 50).double(), torch.nn.GRU(3, 50).double()
    inputs = torch.randn(1000, 32, 3, generator=generator, dtype=double)
    return {
        "Henon, 20,000 steps": lambda: lyapkit.lyapunov_spectrum(henon, steps=20_000),
        "Lorenz, 5,000 steps": lambda: lyapkit.lyapunov_spectrum(lorenz, steps=5_000),
        "10,000 Henon x 1,000": lambda: lyapkit.lyapunov_spectrum(henon, steps=1_000, initial_state=many),
        "100 units, 5,000 steps": lambda: lyapkit.lyapunov_spectrum(rate, steps=5_000),
        "LSTM of 50, 1,000 steps": lambda: lyapkit.lyapunov_spectrum(lstm, inputs[:, :1]),
        "the same, k = 5": lambda: lyapkit.lyapunov_spectrum(lstm, inputs[:, :1], k=5),
        "GRU of 50, 32 sequences": lambda: lyapkit.lyapunov_spectrum(gru, inputs),
    }


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| work | machine code | traced |\n| --- | ---: | ---: |")
    for name, work in rows().items():
        compiled = median_seconds(work, repeats=3)
        with patch.object(CompiledTangents, "where_it_pays", side_effect=Untraceable("switched off")):
            traced = median_seconds(work, repeats=3)
        print(f"| {name} | {compiled:.3f} s | {traced:.3f} s |", flush=True)


if __name__ == "__main__":
    main()
