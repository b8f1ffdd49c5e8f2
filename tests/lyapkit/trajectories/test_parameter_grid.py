"""A grid over parameters of one map in one call: a parameter is an input that does not change."""

import math
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state

import lyapkit


def test_the_logistic_map_over_its_parameter() -> None:
    rates = torch.linspace(2.5, 3.4, 10, dtype=torch.float64)  # fixed points, then orbits of period 2
    start = torch.tensor([0.3], dtype=torch.float64)
    family = lyapkit.as_map(lambda x, rate: rate * x * (1 - x), state=start, input=start)
    inputs = rates.unsqueeze(-1).expand(3000, -1, -1)
    grid = lyapkit.lyapunov_spectrum(family, inputs, transient=1000, trajectory_names=rates)
    assert grid.trajectory.values.tolist() == rates.tolist()
    for rate in rates.tolist():
        single = lyapkit.as_map(lambda x, rate=rate: rate * x * (1 - x), state=start)
        one = lyapkit.lyapunov_spectrum(single, steps=3000, transient=1000)
        found = float(grid.lyapunov_exponent.sel(trajectory=rate)[0])
        assert found == pytest.approx(float(one.lyapunov_exponent[0, 0]), abs=1e-12)
        # f'(x*) = 2 - r; over the period, f'(x1) f'(x2) = 4 + 2 r - r^2
        exact = math.log(abs(2 - rate)) if rate < 3 else math.log(abs(4 + 2 * rate - rate**2)) / 2
        if abs(rate - 3) > 1e-6:
            assert found == pytest.approx(exact, abs=1e-9)


SIZE, MEMBERS, STEPS = 6, 24, 120


class Cell(nn.Module):
    """x' = tanh(W x + V s + b), of layers that `torch.vmap` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.into = nn.Linear(SIZE, SIZE, bias=False), nn.Linear(1, SIZE)

    def forward(self, state: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.within(state) + self.into(given))


def cells() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Cell().double() for _ in range(MEMBERS)]


def alone(cell: nn.Module) -> lyapkit.RecurrentMap:
    return lyapkit.as_map(cell, state=torch.zeros(SIZE).double(), input=torch.zeros(1).double())


def ensemble() -> tuple[lyapkit.RecurrentMap, torch.Tensor]:
    """One map of input and weights, and the weights of all members, (G, P)."""
    stacked, _ = stack_module_state(cells())
    flat = torch.cat([value.detach().flatten(1) for value in stacked.values()], dim=1)
    template = Cell().double()
    shapes = {name: value.shape[1:] for name, value in stacked.items()}

    def step(state: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        parts = given[1:].split([math.prod(shape) for shape in shapes.values()])
        weights = {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        return functional_call(template, weights, (state, given[:1]))

    example = torch.zeros(1 + flat.shape[1], dtype=torch.float64)
    return lyapkit.as_map(step, state=torch.zeros(SIZE).double(), input=example), flat


@pytest.mark.parametrize("chunk", [MEMBERS, 10])
def test_stacked_weights_give_what_a_loop_gives(chunk: int) -> None:
    signal = torch.randn(STEPS, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    family, flat = ensemble()
    found = []
    for some in flat.split(chunk):
        drive = signal.unsqueeze(1).expand(-1, len(some), -1)
        inputs = torch.cat((drive, some.expand(STEPS, -1, -1)), dim=-1)
        found.append(lyapkit.lyapunov_spectrum(family, inputs, qr_interval=1).lyapunov_exponent.values)
    loop = [
        lyapkit.lyapunov_spectrum(alone(cell), signal, qr_interval=1).lyapunov_exponent.values[0] for cell in cells()
    ]
    np.testing.assert_allclose(np.concatenate(found), loop, rtol=0, atol=1e-12)


def test_one_call_is_faster_than_a_loop() -> None:
    signal = torch.randn(STEPS, 1, dtype=torch.float64)
    family, flat = ensemble()
    inputs = torch.cat((signal.unsqueeze(1).expand(-1, MEMBERS, -1), flat.expand(STEPS, -1, -1)), dim=-1)
    begin = time.process_time()
    lyapkit.lyapunov_spectrum(family, inputs)
    together = time.process_time() - begin
    begin = time.process_time()
    for cell in cells():
        lyapkit.lyapunov_spectrum(alone(cell), signal)
    one_by_one = time.process_time() - begin
    assert together < one_by_one / 2, f"{together:.2f} s together, {one_by_one:.2f} s one by one"
