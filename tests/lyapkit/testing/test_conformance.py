"""The suite for adapters fails for a map that breaks one promise, and names it."""

import pytest
import torch
from torch import nn

from lyapkit import as_map
from lyapkit.testing import check_map
from steps import Steps, WrongForward

D = torch.float64


class Detached(Steps):
    """A map with a parameter that its step does not follow."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.eye(2, dtype=D))
        super().__init__(lambda state: torch.tanh(state @ self.weight.detach().T))

    def parameters(self):
        yield "weight", self.weight


class Integers(Steps):
    """A map that says that it computes in whole numbers."""

    dtype = torch.int64


BROKEN = {
    "a parameter without influence": (
        Detached(),
        "^step does not depend on the parameters that `parameters` yields, or is detached from them; yield those",
    ),
    "its type": (Integers(lambda state: state), r"^dtype must be torch.float32 or float64, got torch.int64\.$"),
    "its derivative": (Steps(WrongForward.apply), "deriv|differ|tangent"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(name: str) -> None:
    map, message = BROKEN[name]
    with pytest.raises(AssertionError, match=message):
        check_map(map)


def test_a_step_unlike_the_users_own_is_named() -> None:
    map = Steps(lambda state: 0.5 * state)
    check_map(map, lambda state, _: 0.5 * state)
    with pytest.raises(AssertionError, match="own"):
        check_map(map, lambda state, _: 0.5 * state + 1e-6)


def test_only_maps_are_checked() -> None:
    with pytest.raises(TypeError, match=r"^check_map takes a RecurrentMap, got GRUCell; make one with lyapkit.as_map"):
        check_map(nn.GRUCell(1, 2))
    check_map(as_map(nn.GRUCell(1, 2).to(D)))
