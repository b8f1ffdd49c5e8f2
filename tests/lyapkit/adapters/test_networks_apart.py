"""Networks that differ in more than their weights, or keep something between calls, do not step as one."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit

MORE = "the networks differ in more than parameters and buffers"


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def config(ds) -> dict:
    return json.loads(ds.attrs["config_json"])


class Hidden(nn.Module):
    """A map whose parameter is a plain number, which no stack of weights shows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.weight = factor, nn.Parameter(torch.eye(2, dtype=torch.float64))

    def forward(self, x):
        """Scale the state."""
        return self.factor * (self.weight @ x)


def test_weights_that_no_stack_shows_are_stepped_one_network_after_the_other() -> None:
    maps = [lyapkit.as_map(Hidden(factor), state=torch.ones(2, dtype=torch.float64)) for factor in (0.5, 0.25)]
    for steps in (20, 300):
        ds = lyapkit.lyapunov_spectrum(maps, steps=steps)
        np.testing.assert_allclose(ds.lyapunov_exponent.values, np.log([[0.5, 0.5], [0.25, 0.25]]), atol=1e-12)
        assert config(ds)["networks_not_together_because"] == MORE


class Gained(nn.Module):
    """A driven network with a plain number before its input."""

    def __init__(self, weight: torch.Tensor, gain: float) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(weight), gain

    def forward(self, x, u):
        """Take a step."""
        return torch.tanh(self.weight @ x + self.gain * u)


def test_plain_numbers_count_even_if_the_first_steps_do_not_show_them() -> None:
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double() / 2
    inputs = drawn(60, 3)
    inputs[:20] = 0
    maps = [
        lyapkit.as_map(Gained(weight, gain), state=torch.zeros(3).double(), input=torch.zeros(3).double())
        for gain in (0.5, 2.0)
    ]
    for check in (True, False):
        together = lyapkit.lyapunov_spectrum(maps, inputs, check=check)
        assert config(together)["networks_not_together_because"] == MORE
        apart = [lyapkit.lyapunov_spectrum(map, inputs, check=check).lyapunov_exponent.values[0] for map in maps]
        np.testing.assert_allclose(together.lyapunov_exponent.values, apart, rtol=1e-10)


class Tiny(nn.Module):
    """A plain number that is far below the other component."""

    def __init__(self, factor: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.factor, self.weight = factor, nn.Parameter(torch.tensor(0.9, dtype=dtype))

    def forward(self, x):
        """Take a step."""
        return torch.stack((self.weight * x[0], self.factor * x[1]))


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_plain_numbers_count_however_small_they_are(dtype: torch.dtype, scale: float) -> None:
    maps = [lyapkit.as_map(Tiny(factor * scale, dtype), state=torch.ones(2, dtype=dtype)) for factor in (1, 8)]
    ds = lyapkit.lyapunov_spectrum(maps, steps=30)
    expected = np.log([[0.9, scale], [0.9, 8 * scale]])
    np.testing.assert_allclose(ds.lyapunov_exponent.values, expected, atol=1e-6)


class Counting(nn.Module):
    """A step that changes after a number of calls."""

    def __init__(self, weight: torch.Tensor, late: int) -> None:
        super().__init__()
        self.weight, self.late, self.calls = nn.Parameter(weight), late, 0

    def forward(self, h, u):
        """Take a step, and count it."""
        self.calls += 1
        return torch.tanh(self.weight @ h + u.sum() + (0.3 if self.calls > self.late else 0))


@pytest.mark.parametrize("late", range(24, 42, 3))
@pytest.mark.parametrize("count", [1, 2])
def test_a_count_of_calls_is_refused_as_for_a_single_network(count: int, late: int) -> None:
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)).double()
    inputs = drawn(40, 2)
    for analysis in (lyapkit.lyapunov_spectrum, lyapkit.states):
        maps = [
            lyapkit.as_map(
                Counting(weight * factor, late), state=torch.zeros(4).double(), input=torch.zeros(2).double()
            )
            for factor in (1.0, 0.9)[:count]
        ]
        with pytest.raises(ValueError, match=r"changed during the run|hidden state"):
            analysis(maps, inputs)


class Closed(nn.Module):
    """A function that holds the network, which a copy of the network would share."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.multiply = lambda x: self.weight @ x

    def forward(self, x):
        """Take a step."""
        return torch.tanh(self.multiply(x))


def test_functions_that_hold_a_network_keep_their_own() -> None:
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()
    start = torch.full((4,), 0.1).double()
    maps = {name: lyapkit.as_map(Closed(weight * (1 + name)), state=start) for name in (0.0, 1e-13)}
    ds = lyapkit.lyapunov_spectrum(maps, steps=50)
    assert config(ds)["networks_not_together_because"].startswith("a function holds a part of a network")
    for name, map in maps.items():
        alone = lyapkit.lyapunov_spectrum(map, steps=50).lyapunov_exponent.values[0]
        np.testing.assert_array_equal(ds.lyapunov_exponent.sel(trajectory=name).values, alone)
