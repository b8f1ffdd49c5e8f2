"""The Elman network with an identity residual: Elman_res+clip of Table 2, when its gradient is clipped in training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.randomness import RandomSource


class ResidualElman(RecurrentNetwork):
    """x_{t+1} = x_t + tanh(W_xx x_t + b_xx + W_sx s_t + b_sx), read out at the last state.

    It is eq. (11) with R = I and without the weak coupling, gamma = 1: its exponents are free to move with its weights.
    The paper names the residual and the clipping but writes down neither; the residual is outside of the nonlinearity
    here, as in eq. (11) and in He et al. (2016), and clipping is an option of training (`TrainConfig.gradient_clip`).
    Initial weights and biases are U(-1/sqrt(n_in), 1/sqrt(n_in)), as those of a `WCRNN`.

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Units N; the paper has 100.
        output_size: Components O of the output.
        rng: Where the initial weights are drawn from; None draws from PyTorch's global generator.
        device: Where the parameters live.
        dtype: Their floating-point type.

    Raises:
        ValueError: If a size is not positive or ``dtype`` is not floating-point.
        TypeError: If a size is not an integer.

    Example:
        >>> import torch
        >>> from wcrnn_models import baselines
        >>> baselines.ResidualElman(1, 100, 10, rng=0)(torch.zeros(784, 2, 1)).shape
        torch.Size([2, 10])
    """

    recurrent_parameters = ("recurrent.weight", "recurrent.bias")

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
        draw = InitialWeights(rng, dtype)
        self.recurrent = draw.affine(hidden_size, hidden_size)
        self.input = draw.affine(input_size, hidden_size)
        self.readout = draw.affine(hidden_size, output_size)
        self.to(device)

    def _project(self, inputs: Tensor) -> Tensor:
        """Compute b_xx + W_sx s_t + b_sx, shape (..., N)."""
        return functional.linear(inputs, self.input.weight, self.input.bias + self.recurrent.bias)

    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        return state + torch.tanh(projected + functional.linear(state, self.recurrent.weight))
