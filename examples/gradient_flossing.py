"""Gradient flossing
=================

Give a random network longer memory before it learns anything: the leading Lyapunov exponents of an untrained `nn.RNN`
are pushed towards zero by gradient descent on sum_i lambda_i^2 (Engelken, "Gradient flossing: improving gradient
descent through dynamic control of Jacobians", NeurIPS 2023). Perturbations, and with them gradients, then neither
fade nor explode there. The figure shows the spectra of the first of four sequences, the printed table means over all
four.

    python examples/gradient_flossing.py
"""

import matplotlib.pyplot as plt
import torch
import xarray as xr
from torch import nn

import lyapkit

UNITS, FLOSSED, STEPS, ITERATIONS = 32, 8, 30, 101


def spectrum(network: nn.Module, inputs: torch.Tensor) -> xr.Dataset:
    """All exponents, along inputs that flossing has not seen."""
    return lyapkit.lyapunov_spectrum(network, inputs, transient=50)


torch.manual_seed(0)
network = nn.RNN(1, UNITS)
unseen = torch.randn(250, 4, 1)
before = spectrum(network, unseen)
optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
for iteration in range(ITERATIONS):
    inputs = torch.randn(STEPS, 4, 1)  # (T, B, M)
    exponents = lyapkit.lyapunov_exponents(
        network, inputs, k=FLOSSED, transient=5, rng=iteration
    )
    loss = exponents.square().sum(dim=-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if iteration % 20 == 0:
        print(f"iteration {iteration:3d}: sum of squared exponents {loss.item():.4f}")
after = spectrum(network, unseen)
with plt.style.context("lyapkit.plots.paper"):
    ax = lyapkit.plots.lyapunov_spectrum(before, label="before")
    lyapkit.plots.lyapunov_spectrum(after, ax=ax, label="after", marker="s")
    ax.legend()
print("exponent      before   after   (nats per step, mean of 4 sequences)")
table = [
    ds.lyapunov_exponent.mean("trajectory").values[:FLOSSED] for ds in (before, after)
]
for rank, (old, new) in enumerate(zip(*table, strict=True), start=1):
    print(f"lambda_{rank}   {old:9.3f} {new:7.3f}")
assert abs(table[0]).min() > 0.3
assert abs(table[1]).max() < 0.15
