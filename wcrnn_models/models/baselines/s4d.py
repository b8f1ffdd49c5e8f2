"""S4D: stacked diagonal state space layers, a convolution for training and a recurrence for analysis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wcrnn_models.models.baselines.diagonal_layer import DiagonalLayer
from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.models.network import RecurrentNetwork, check_sizes
from wcrnn_models.randomness import RandomSource


class S4D(RecurrentNetwork):
    """The diagonal form of S4 (Gu, Goel & Re 2021; Gu, Gupta, Goel & Re 2022) with a readout at the last step.

    Inputs are mapped to H features, u = W_sx s_t + b_sx; every layer is a bank of linear state space models, one for
    each feature, followed by a nonlinear mixing of the features at the same time step,

        x_{t+1} = exp(dt A) x_t + (exp(dt A) - 1) / A u,    y = 2 Re(C x_{t+1}) + D u,
        u' = LayerNorm(u + GLU(W GELU(y) + b)),

    with P complex modes per feature (half of the "state size" of S4), whose conjugates are implied. `forward` without
    an initial state convolves the whole sequence by FFT; `step` and `states` run the recurrence. Both agree to
    rounding.

    The flat state holds real and imaginary parts of the modes of every layer, then the H features that the last
    layer emits, which the readout reads and no step does. Memory is linear and layers feed forward only, so the
    exponents are known: dt Re A, twice for every mode, and -inf for the emitted features.

    The variant: S4D-Lin, A = -1/2 + i pi n, zero-order hold, dt log-uniform in [0.001, 0.1], B = 1, complex Gaussian C,
    normalisation after the residual, no dropout. The paper's row S4 is quoted from Gu et al., with 300,000 parameters;
    34 features, 16 modes and 2 layers are about as large as its other networks.

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Features H.
        output_size: Components O of the output.
        layers: Number of layers.
        modes: Complex modes P per feature.
        rng: Where the initial weights are drawn from; None draws from PyTorch's global generator.
        device: Where the parameters live.
        dtype: Their floating-point type; float32 or float64, which have a complex partner.

    Raises:
        ValueError: If a size is not positive or ``dtype`` is neither float32 nor float64.
        TypeError: If a size is not an integer.

    Example:
        >>> import torch
        >>> from wcrnn_models import baselines
        >>> model = baselines.S4D(1, 34, 10, rng=0)
        >>> model.state_size, sum(parameter.numel() for parameter in model.parameters())
        (2210, 9802)
    """

    recurrent_parameters = ("layers.*.log_step", "layers.*.log_decay", "layers.*.frequency")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        layers: int = 2,
        modes: int = 16,
        rng: RandomSource = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size)
        check_sizes(layers=layers, modes=modes)
        draw = InitialWeights(rng, dtype)
        if draw.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"dtype must be torch.float32 or torch.float64, which have a complex partner, got {draw.dtype}."
            )
        self.input = draw.affine(input_size, hidden_size)
        self.layers = nn.ModuleList(DiagonalLayer(hidden_size, modes, draw) for _ in range(layers))
        self.readout = draw.affine(hidden_size, output_size)
        self.modes = modes
        self.to(device)

    @property
    def state_size(self) -> int:
        """2 H P for every layer, and H emitted features."""
        return self.hidden_size * (2 * self.modes * len(self.layers) + 1)

    @property
    def unit_names(self) -> list[str]:
        """``layer0.re[2,5]`` for the real part of mode 5 of feature 2, ``.im`` alike, then ``h[0]``, ..."""
        modes = [(feature, mode) for feature in range(self.hidden_size) for mode in range(self.modes)]
        names = [
            f"layer{layer}.{part}[{feature},{mode}]"
            for layer in range(len(self.layers))
            for part in ("re", "im")
            for feature, mode in modes
        ]
        return names + [f"h[{feature}]" for feature in range(self.hidden_size)]

    def emitted(self, state: Tensor) -> Tensor:
        """Return the features after the last layer, shape (..., H)."""
        return state[..., -self.hidden_size :]

    def forward(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Read out the features of the last step, or of every step; see `RecurrentNetwork.forward`.

        Args:
            inputs: The sequence s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: Flat state, shape (B, N) or (N,), from which the recurrence is run; zeros by default, with
                which the sequence is convolved.

        Returns:
            Outputs, shape (B, O) for inputs (T, B, M), (O,) for inputs (T, M); if every step is read out, with T
            before them.

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        if initial_state is not None:
            return super().forward(inputs, initial_state)
        self._initial(inputs, None)  # checks
        features = self._project(self._batched(inputs))
        *below, last = self._stack()
        for layer in below:
            features = layer.convolve(features)
        last_features = last.convolve(features) if self.outputs_at == "every" else last.convolve_last(features)
        return self._read(last_features, inputs)

    def exponents(self) -> Tensor:
        """Return the Lyapunov exponents, which no input changes: float64, shape (N,), nats per step, descending."""
        rates = torch.cat([layer.rates().flatten().repeat(2) for layer in self._stack()])
        emitted = rates.new_full((self.hidden_size,), -torch.inf)
        return torch.cat((rates, emitted)).sort(descending=True).values

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        return f"{super().extra_repr()}, modes={self.modes}"

    def _project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.input(inputs)
        return projected

    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        *parts, _ = torch.split(state, self.hidden_size * self.modes, dim=-1)
        features, after = projected, []
        for index, layer in enumerate(self._stack()):
            real, imaginary, features = layer.step(parts[2 * index], parts[2 * index + 1], features)
            after += [real, imaginary]
        return torch.cat((*after, features), dim=-1)

    def _stack(self) -> list[DiagonalLayer]:
        return [layer for layer in self.layers if isinstance(layer, DiagonalLayer)]
