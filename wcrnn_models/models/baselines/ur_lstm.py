"""The UR-LSTM of Gu et al., "Improving the gating mechanism of recurrent neural networks", ICML 2020."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from wcrnn_models.models.baselines.hidden_and_cells import HiddenAndCells
from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.randomness import RandomSource, uniform


class URLSTM(HiddenAndCells):
    """An LSTM with tied input gate, Uniform gate initialisation and Refine gate.

    With z = W (s_t, h_t), split into four parts of H components,

        f = sigmoid(z_f + b_f),    r = sigmoid(z_r - b_f),    g = 2 r f + (1 - 2 r) f^2,
        c_{t+1} = g c_t + (1 - g) tanh(z_u + b_u),    h_{t+1} = sigmoid(z_o + b_o) tanh(c_{t+1}).

    The refine gate r moves the effective forget gate g between f^2 and 1 - (1 - f)^2, so that g comes closer to 0 and 1
    than f does, where the gradient of f is not yet flat. The bias is shared by both gates and starts as
    b_f = logit(u) with u ~ U(1/H, 1 - 1/H), so that the initial forget gates are spread uniformly; the other numbers
    start from U(-1/sqrt(H), 1/sqrt(H)), as in `LSTM`. The flat state is (h, c), of 2 H components.

    Gu et al. train networks of 250,000 to 32 million parameters; 47 units are as large as the LSTM of Table 2.

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Units H >= 2.
        output_size: Components O of the output.
        rng: Where the initial weights are drawn from; None draws from PyTorch's global generator.
        device: Where the parameters live.
        dtype: Their floating-point type.

    Raises:
        ValueError: If a size is not positive, there are fewer than 2 units, or ``dtype`` is not floating-point.
        TypeError: If a size is not an integer.

    Example:
        >>> import torch
        >>> from wcrnn_models import baselines
        >>> model = baselines.URLSTM(1, 47, 10, rng=0)
        >>> gates = torch.sigmoid(model.forget_bias)
        >>> bool((gates > 1 / 47).all() and (gates < 46 / 47).all())
        True
    """

    recurrent_parameters = ("recurrent.weight", "bias", "forget_bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        rng: RandomSource = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size)
        if hidden_size < 2:
            raise ValueError("hidden_size must be at least 2, for forget gates between 1/H and 1 - 1/H, got 1.")
        draw = InitialWeights(rng, dtype)
        self.recurrent = nn.Linear(hidden_size, 4 * hidden_size, bias=False, device="meta", dtype=draw.dtype)
        self.input = nn.Linear(input_size, 4 * hidden_size, bias=False, device="meta", dtype=draw.dtype)
        self.to_empty(device="cpu")
        self.bias = nn.Parameter(torch.empty(2 * hidden_size, dtype=draw.dtype))  # of u and o
        draw.fill(self, 1 / math.sqrt(hidden_size))
        gates = uniform((hidden_size,), 1 / hidden_size, 1 - 1 / hidden_size, draw.generator)
        self.forget_bias = nn.Parameter(torch.logit(gates).to(draw.dtype))
        self.readout = draw.affine(hidden_size, output_size)
        self.to(device)

    def _project(self, inputs: Tensor) -> Tensor:
        """Return the part of z from the input with all biases, shape (..., 4 H), in the order f, r, u, o."""
        biases = torch.cat((self.forget_bias, -self.forget_bias, self.bias))
        return functional.linear(inputs, self.input.weight, biases)

    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        hidden, cell = torch.split(state, self.hidden_size, dim=-1)
        driven = projected + functional.linear(hidden, self.recurrent.weight)
        forget, refine, candidate, output = torch.split(driven, self.hidden_size, dim=-1)
        forget, refine = torch.sigmoid(forget), torch.sigmoid(refine)
        effective = 2 * refine * forget + (1 - 2 * refine) * forget.square()
        cell = effective * cell + (1 - effective) * torch.tanh(candidate)
        return torch.cat((torch.sigmoid(output) * torch.tanh(cell), cell), dim=-1)
