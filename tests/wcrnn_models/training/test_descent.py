import copy
import math

import pytest
import torch
from torch import nn

from wcrnn_models.training.descent import descend, gradient_norms


def networks(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    found = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype) for _ in range(3)]
    for network in found:
        for parameter in network.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return found


def differentiate(network, step):
    network.zero_grad()
    generator = torch.Generator().manual_seed(step)
    network(torch.randn(5, 3, generator=generator, dtype=network[0].weight.dtype)).square().mean().backward()


OPTIONS = [dict(lr=0.1, momentum=0.9), dict(lr=0.02, momentum=0.5), dict(lr=0.3, momentum=0.0)]


def test_a_step_is_that_of_each_optimizer():
    ours = networks()
    theirs = copy.deepcopy(ours)
    together, alone = (
        [torch.optim.SGD(n.parameters(), **o) for n, o in zip(chosen, OPTIONS, strict=True)]
        for chosen in (ours, theirs)
    )
    for step in range(4):
        for network in (*ours, *theirs):
            differentiate(network, step)
        descend(together)
        for optimizer in alone:
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            for a, b in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)
    for one, other in zip(together, alone, strict=True):  # what is saved to go on from
        mine, yours = one.state_dict()["state"], other.state_dict()["state"]
        for key, values in yours.items():
            if values.get("momentum_buffer") is not None:
                torch.testing.assert_close(
                    mine[key]["momentum_buffer"], values["momentum_buffer"], rtol=1e-13, atol=1e-15
                )


def test_parameters_without_a_gradient_stay():
    (network, *_) = networks()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network[1].requires_grad_(False)
    before = copy.deepcopy(network[1].state_dict())
    differentiate(network, 0)
    descend([optimizer])
    for name, value in network[1].state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert set(optimizer.state) == set(network[0].parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_are_those_of_all_gradients_of_a_network(dtype):
    several = networks(dtype)
    for step, network in enumerate(several):
        differentiate(network, step)
    expected = [
        math.sqrt(math.fsum(float(entry) ** 2 for p in network.parameters() for entry in p.grad.flatten()))
        for network in several
    ]
    found = gradient_norms([list(network.parameters()) for network in several])
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx(expected, rel=1e-6 if dtype == torch.float32 else 1e-13)
