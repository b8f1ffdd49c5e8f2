"""A recipe for modules that take a whole sequence: how to pass one step of them."""

from __future__ import annotations


def one_step(state: object = "N", input: object = "M") -> str:
    """Return the recipe as a sentence, for the given numbers of state and input components."""
    return (
        "Pass a module that takes a whole sequence and its hidden state as one step: "
        f"lambda h, s: net(s.view(1, 1, {input}), h.view(1, {state}))[1].view({state}). "
        "If it takes no hidden state, write its step out as a function f(state, input)."
    )
