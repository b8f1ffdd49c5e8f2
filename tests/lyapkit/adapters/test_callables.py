"""Callables as maps."""

import pytest
import torch

from lyapkit import (
    as_map,
)


def test_an_example_state_may_be_overwritten_afterwards() -> None:
    example = torch.tensor([0.5, 2.0]).double()
    map = as_map(lambda x: x, state=example)
    example.zero_()
    assert map.initial_state(1).tolist() == [[0.5, 2.0]]


def test_the_refusal_of_random_numbers_is_not_explained_by_shapes() -> None:
    with pytest.raises(ValueError, match="draws random numbers"):
        as_map(lambda x: x + torch.randn_like(x), state=torch.zeros(2))
