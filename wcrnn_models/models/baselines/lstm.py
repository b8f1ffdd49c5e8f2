"""The LSTM of Table 2: PyTorch's own, with 47 units about as large as a WCRNN of 100."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lyapkit.adapters.elementary import cell_step
from lyapkit.adapters.layers import layer_weights
from wcrnn_models.models.baselines.hidden_and_cells import HiddenAndCells
from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.randomness import RandomSource


class LSTM(HiddenAndCells):
    """`torch.nn.LSTM` of one layer with an affine readout of its last hidden state h.

    i, f, o = sigmoid of, and g = tanh of, an affine map of (s_t, h_t), each with its own weights; then

        c_{t+1} = f c_t + i g,    h_{t+1} = o tanh(c_{t+1}).

    The flat state is (h, c), of 2 H components, so an LSTM of 47 units has 94 exponents. `forward` without an initial
    state runs PyTorch's fused layer; `step` and `states` are written out in elementary operations, which have forward
    and second derivatives, and agree with it to rounding. Initial weights are PyTorch's, U(-1/sqrt(H), 1/sqrt(H)).

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Units H; the paper has 47, about 10,000 parameters.
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
        >>> model = baselines.LSTM(1, 47, 10, rng=0)
        >>> model.state_size, sum(parameter.numel() for parameter in model.parameters())
        (94, 9880)
    """

    recurrent_parameters = ("recurrent.weight_hh_*", "recurrent.bias_hh_*")

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
        self.recurrent = nn.LSTM(input_size, hidden_size, device="meta", dtype=draw.dtype).to_empty(device="cpu")
        draw.fill(self.recurrent, 1 / math.sqrt(hidden_size))
        self.readout = draw.affine(hidden_size, output_size)
        self.to(device)

    def forward(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Read out the last hidden state after all inputs, or every one; see `RecurrentNetwork.forward`.

        Args:
            inputs: The sequence s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: The pair (h, c), shape (B, 2 H) or (2 H,); zeros by default.

        Returns:
            Outputs, shape (B, O) for inputs (T, B, M), (O,) for inputs (T, M); if every state is read out, with T
            before them.

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        state = self._initial(inputs, initial_state)
        hidden, cell = (part.contiguous().unsqueeze(0) for part in torch.split(state, self.hidden_size, dim=-1))
        emitted, (final, _) = self.recurrent(self._batched(inputs), (hidden, cell))
        return self._read(emitted if self.outputs_at == "every" else final.squeeze(0), inputs)

    def _project(self, inputs: Tensor) -> Tensor:
        return inputs

    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        return cell_step("lstm", layer_weights(self.recurrent, 0), state, projected)
