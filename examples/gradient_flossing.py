"""Gradient flossing: give a random network longer memory before it learns anything.

The leading Lyapunov exponents of an untrained `nn.RNN` are pushed towards zero by gradient descent on
sum_i lambda_i^2 (Engelken, "Gradient flossing: improving gradient descent through dynamic control of Jacobians",
NeurIPS 2023). Perturbations, and with them gradients, then neither fade nor explode along those directions.

    python examples/gradient_flossing.py
"""

import torch
from torch import Tensor, nn

import lyapkit

UNITS, FLOSSED, STEPS, ITERATIONS = 32, 8, 30, 101


def leading(network: nn.Module, inputs: Tensor) -> Tensor:
    """The exponents to be flossed, along unseen inputs, averaged over the sequences."""
    spectrum = lyapkit.lyapunov_spectrum(network, inputs, k=FLOSSED, transient=50, rng=2)
    return torch.tensor(spectrum.lyapunov_exponent.mean("trajectory").values)


def main() -> None:
    """Floss, and compare the exponents before and after on long sequences that flossing has not seen."""
    torch.manual_seed(0)
    network = nn.RNN(1, UNITS)
    unseen = torch.randn(250, 4, 1)
    before = leading(network, unseen)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for iteration in range(ITERATIONS):
        inputs = torch.randn(STEPS, 4, 1)  # (T, B, M)
        exponents = lyapkit.lyapunov_exponents(network, inputs, k=FLOSSED, transient=5, rng=iteration)
        loss = exponents.square().sum(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % 20 == 0:
            print(f"iteration {iteration:3d}: sum of squared exponents {loss.item():.4f}")
    after = leading(network, unseen)
    print("exponent      before   after   (nats per step)")
    for rank in range(FLOSSED):
        print(f"lambda_{rank + 1}   {before[rank]:9.3f} {after[rank]:7.3f}")


if __name__ == "__main__":
    main()
