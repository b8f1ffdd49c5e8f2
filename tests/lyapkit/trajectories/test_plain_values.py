"""What a network holds besides its weights."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit
from lyapkit.trajectories.plain_values import HiddenPart, alike, plain_values


class Holder(nn.Module):
    """A module that holds anything as an attribute."""

    def __init__(self, held) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, dtype=torch.float64))
        self.register_buffer("buffer", torch.rand(2, dtype=torch.float64))
        self.held = held

    def forward(self, x):
        """Take a step."""
        return self.weight * x


class Slots:
    """An object without a dictionary."""

    __slots__ = ("value",)

    def __init__(self, value) -> None:
        self.value = value


def values(held) -> list[tuple[str, object]]:
    return plain_values(lyapkit.as_map(Holder(held), state=torch.zeros(2, dtype=torch.float64)))


def scaled(factor: float):
    return lambda x: factor * x


DIFFERENT = {
    "numbers": (0.1, 0.2),
    "types": (1, 1.0),
    "texts": ("a", "b"),
    "lists": ([1, [2, 3]], [1, [2, 4]]),
    "lengths": ((1, 2), (1, 2, 3)),
    "keys": ({"a": 1}, {"b": 1}),
    "sets": ({1, 2}, {1, 3}),
    "tensors": (torch.zeros(2), torch.tensor([0.0, 1e-30])),
    "dtypes": (torch.zeros(2), torch.zeros(2).double()),
    "arrays": (np.zeros(2), np.ones(2)),
    "closures": (scaled(1.0), scaled(2.0)),
    "defaults": (functools.partial(pow, 2), functools.partial(pow, 3)),
    "slots": (Slots(1), Slots(2)),
    "functions": (torch.tanh, torch.relu),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_plain_differences_are_seen_and_those_of_weights_are_not(name: str) -> None:
    one, other = DIFFERENT[name]
    assert not alike(values(one), values(other))
    assert alike(values(one), values(one))  # of two networks with different weights and buffers


def test_equal_plain_values_are_alike() -> None:
    for make in (lambda: float("nan"), lambda: [1, {"a": torch.ones(2)}], lambda: scaled(2.0), lambda: Slots((1, 2))):
        assert alike(values(make()), values(make()))


def test_objects_that_hold_each_other_end() -> None:
    ring: list[object] = []
    ring.append(ring)
    assert alike(values(ring), values(ring))


@pytest.mark.parametrize(
    "hold", [lambda part: lambda: part, lambda part: lambda part=part: part], ids=["closure", "default"]
)
def test_a_function_must_not_hold_a_part_of_the_network(hold) -> None:
    module = Holder(None)
    for part in (module, module.weight):
        module.held = hold(part)
        with pytest.raises(HiddenPart, match="held"):
            plain_values(lyapkit.as_map(module, state=torch.zeros(2, dtype=torch.float64)))
