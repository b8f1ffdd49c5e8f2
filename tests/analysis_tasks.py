"""Analyses of small networks, and their results as arrays, to be done again elsewhere and compared to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit


class Cell(nn.Module):
    """A driven map with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.input = nn.Linear(4, 4).double(), nn.Linear(2, 4).double()
        self.register_buffer("gain", torch.tensor(1.1, dtype=torch.float64))

    def forward(self, state, input):
        return torch.tanh(self.gain * self.recurrent(state) + self.input(input))


class Reader(nn.Module):
    """A whole model around a built-in layer."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.readout = nn.LSTM(2, 4).double(), nn.Linear(4, 1).double()

    def forward(self, inputs):
        return self.readout(self.core(inputs)[0][-1])


def analysis_tasks(seed: int = 0) -> dict[str, Callable[[], Any]]:
    """Return analyses by name, all of networks that are made here; equal seeds give equal ones."""
    torch.manual_seed(seed)
    lstm, gru, elman = nn.LSTM(2, 5), nn.GRU(2, 4).double(), nn.RNN(2, 4).double()
    cell = lyapkit.as_map(Cell(), state=torch.zeros(4).double(), input=torch.zeros(2).double())
    reader = Reader()
    drive = torch.randn(300, 2, 2)
    wide, targets = drive.double(), torch.randn(2, 1).double()
    henon = lyapkit.systems.henon().map
    batch = (wide[:8], targets)
    return {
        "float32 spectrum": lambda: lyapkit.lyapunov_spectrum(lstm, drive[:60], rng=0),
        "traced spectrum": lambda: lyapkit.lyapunov_spectrum(lstm, drive, rng=0),
        "leading exponents": lambda: lyapkit.lyapunov_spectrum(gru, wide[:60], k=2, rng=0),
        "spectrum of a module": lambda: lyapkit.lyapunov_spectrum(cell, wide[:60], rng=0),
        "autonomous spectrum": lambda: lyapkit.lyapunov_spectrum(henon, steps=100),
        "variational term": lambda: lyapkit.variational_term(cell, wide[:40]),
        "covariant vectors": lambda: lyapkit.covariant_vectors(elman, wide[:60], rng=0),
        "exponents with a graph": lambda: lyapkit.lyapunov_exponents(cell, wide[:30]),
        "gradients": lambda: lyapkit.gradient_propagation(elman, wide[:20], targets, mse_loss, readout=first, rng=0),
        "hessian": lambda: lyapkit.hessian_spectrum(reader, batch, mse_loss, k=3, rng=0),
        "density": lambda: lyapkit.spectral_density(reader, batch, mse_loss, rng=0),
        "curvature by step": lambda: lyapkit.curvature_by_step(elman, batch, mse_loss, readout=first, k=2, rng=0),
    }


def first(outputs: torch.Tensor) -> torch.Tensor:
    """A readout without parameters."""
    return outputs[..., :1]


def arrays(result: Any) -> dict[str, np.ndarray]:
    """The numbers of a result, by name."""
    if isinstance(result, torch.Tensor):
        return {"": result.detach().numpy()}
    return {str(name): variable.values for name, variable in result.data_vars.items()}


def differing(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Names of the variables whose bits differ."""
    return [
        name
        for name in {**found, **expected}
        if name not in found or name not in expected or found[name].tobytes() != expected[name].tobytes()
    ]
