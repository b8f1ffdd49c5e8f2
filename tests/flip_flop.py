"""A network trained to remember three bits: the textbook example of fixed points in a trained network."""

import torch
from torch import Tensor, nn

BITS, UNITS, STEPS, BATCH = 3, 24, 25, 64


def pulses(generator: torch.Generator, batch: int = BATCH, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Pulses of +1 and -1 on each channel, (T, B, 3), and for each the last one, which is to be remembered."""
    happens = torch.rand(steps, batch, BITS, generator=generator) < 0.2
    happens[0] = True
    inputs = happens * (2.0 * torch.randint(0, 2, happens.shape, generator=generator) - 1)
    targets = inputs.clone()
    for step in range(1, steps):
        targets[step] = torch.where(inputs[step] != 0, inputs[step], targets[step - 1])
    return inputs, targets


def trained(seed: int = 0, iterations: int = 400) -> tuple[nn.GRU, nn.Linear, float]:
    """A GRU with its readout, and its final mean squared error, in float64."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network, readout = nn.GRU(BITS, UNITS), nn.Linear(UNITS, BITS)
    parameters = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        inputs, targets = pulses(generator)
        loss = (readout(network(inputs)[0]) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return network.double().requires_grad_(False), readout.double().requires_grad_(False), float(loss.detach())
