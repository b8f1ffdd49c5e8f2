"""Nested states in words."""

import torch

from lyapkit.adapters.leaves import structure_in_words


def test_structures_in_words() -> None:
    x = torch.zeros(1)
    assert structure_in_words(x) == "a tensor"
    assert structure_in_words(None) == "None"
    assert structure_in_words({"h": x, "s": [x, (x, 1.0)]}) == "a dict {'h': tensor, 's': [tensor, (tensor, float)]}"
    assert structure_in_words(3.0) == "a float"
