"""Maps made of a function, and custom derivatives, right and wrong."""

import torch
from torch import Tensor

from lyapkit import RecurrentMap


class Steps(RecurrentMap):
    """A map whose step is the function given, as a third party's would be."""

    state_size, device, unit_names = 2, torch.device("cpu"), ("a", "b")

    def __init__(self, function, input_size: int = 0, dtype: torch.dtype = torch.float64) -> None:
        self.function = function
        self._input_size = input_size
        self._dtype = dtype

    input_size = property(lambda self: self._input_size)
    dtype = property(lambda self: self._dtype)

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        return self.function(state) if input is None else self.function(state, input)


class Scaled(torch.autograd.Function):
    """0.4 x, with derivatives that claim to be ``forward_slope`` and ``backward_slope``."""

    forward_slope = backward_slope = 0.4

    @staticmethod
    def forward(x):
        return 0.4 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @classmethod
    def jvp(cls, ctx, tangent):
        return cls.forward_slope * tangent

    @classmethod
    def backward(cls, ctx, gradient):
        return cls.backward_slope * gradient

    @staticmethod
    def vmap(info, in_dims, x):
        return 0.4 * x, in_dims[0]


class WrongForward(Scaled):
    forward_slope = 0.8


class WrongBackward(Scaled):
    backward_slope = 0.8


class BackwardOnly(torch.autograd.Function):
    """sin x, by an old-style function without jvp, vmap and setup_context."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.cos(ctx.saved_tensors[0])


class WrongBackwardOnly(BackwardOnly):
    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.sin(ctx.saved_tensors[0])
