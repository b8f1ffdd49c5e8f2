"""Modules are found inside of maps, closures, methods and partial functions."""

import functools

import torch
from torch import nn

from lyapkit import as_map
from lyapkit.checks.modules import modules_of


def test_modules_inside_maps_and_functions_are_found() -> None:
    cell, head, recurrent = nn.Linear(2, 2), nn.Linear(2, 2), nn.GRU(1, 2)

    class Holder:
        def __init__(self) -> None:
            self.cell = cell

        def step(self, state, input):
            return cell(input + state)

    def closure(state, input):
        return head(cell(input + state))

    example = {"state": torch.zeros(2), "input": torch.zeros(2)}
    maps = (
        cell,
        as_map(recurrent),
        as_map(closure, **example),
        closure,
        Holder().step,
        functools.partial(lambda module, state, input: module(input + state), cell),
        as_map(functools.partial(lambda module, state, input: module(input + state), cell), **example),
    )
    for model in maps:
        assert (recurrent if model is maps[1] else cell) in modules_of(model)
    assert head in modules_of(as_map(closure, **example))
    assert modules_of(3) == []
