"""One layer of `S4D`: diagonal state space models, one for each feature, and the mixing of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.randomness import normal, uniform

STEP_SIZES = (0.001, 0.1)
"""Interval of the initial step sizes dt (Gu et al. 2022)."""


class DiagonalLayer(nn.Module):
    """x_{t+1} = exp(dt A) x_t + (exp(dt A) - 1) / A u,  y = 2 Re(C x_{t+1}) + D u,  u' = LayerNorm(u + mix(y)).

    A = -exp(log_decay) + i frequency has a negative real part whatever is learnt, so every mode fades.

    Args:
        features: Number of features H.
        modes: Complex modes P per feature.
        draw: Source and type of the initial weights.
    """

    def __init__(self, features: int, modes: int, draw: InitialWeights) -> None:
        super().__init__()
        dtype, generator = draw.dtype, draw.generator
        low, high = (math.log(size) for size in STEP_SIZES)
        self.log_step = nn.Parameter(uniform((features,), low, high, generator).to(dtype))
        self.log_decay = nn.Parameter(torch.full((features, modes), math.log(0.5), dtype=dtype))
        self.frequency = nn.Parameter((math.pi * torch.arange(modes, dtype=dtype)).repeat(features, 1))
        # real and imaginary parts of variance 1/2 each, shape (H, P, 2)
        self.output = nn.Parameter((normal((features, modes, 2), generator) / math.sqrt(2)).to(dtype))
        self.skip = nn.Parameter(normal((features,), generator).to(dtype))
        self.mix = draw.affine(features, 2 * features)
        self.norm = nn.LayerNorm(features, dtype=dtype)

    def rates(self) -> Tensor:
        """Compute dt Re A, the exponent of every mode: float64, shape (H, P)."""
        with torch.no_grad():
            return -(self.log_step.double().unsqueeze(-1) + self.log_decay.double()).exp()

    def step(self, real: Tensor, imaginary: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute one step of the recurrence.

        Args:
            real: Real parts of the modes, shape (..., H P).
            imaginary: Their imaginary parts.
            features: The features u, shape (..., H).

        Returns:
            The new parts, and u'.
        """
        scaled, gain = self._continuous()
        factor = scaled.exp()
        shape = (*features.shape, -1)
        old_real, old_imaginary = real.reshape(shape), imaginary.reshape(shape)  # (..., H, P)
        drive = features.unsqueeze(-1)
        new_real = factor.real * old_real - factor.imag * old_imaginary + gain.real * drive
        new_imaginary = factor.real * old_imaginary + factor.imag * old_real + gain.imag * drive
        weight_real, weight_imaginary = self.output.unbind(-1)
        filtered = 2 * (weight_real * new_real - weight_imaginary * new_imaginary).sum(dim=-1)
        mixed = self._mix(features, filtered + self.skip * features)
        return new_real.flatten(-2), new_imaginary.flatten(-2), mixed

    def convolve(self, features: Tensor) -> Tensor:
        """Compute u' at all steps for u at all steps, shape (T, B, H), starting from x = 0: by FFT."""
        steps = len(features)
        spectrum = torch.fft.rfft(features, n=2 * steps, dim=0)  # padded: the convolution is not circular
        response = torch.fft.rfft(self._kernel(steps), n=2 * steps, dim=0)
        filtered = torch.fft.irfft(spectrum * response.unsqueeze(1), n=2 * steps, dim=0)[:steps]
        return self._mix(features, filtered + self.skip * features)

    def convolve_last(self, features: Tensor) -> Tensor:
        """Compute u' at the last step alone, shape (B, H), for u at all steps, shape (T, B, H)."""
        filtered = torch.einsum("tbh,th->bh", features, self._kernel(len(features)).flip(0))
        return self._mix(features[-1], filtered + self.skip * features[-1])

    def _continuous(self) -> tuple[Tensor, Tensor]:
        """Compute dt A and (exp(dt A) - 1) / A, complex, shape (H, P)."""
        rate = torch.complex(-self.log_decay.exp(), self.frequency)
        scaled = self.log_step.exp().unsqueeze(-1) * rate
        return scaled, torch.expm1(scaled) / rate

    def _kernel(self, steps: int) -> Tensor:
        """Compute K_j = 2 Re sum_p C_p (exp(dt A_p) - 1) / A_p exp(j dt A_p), shape (T, H)."""
        scaled, gain = self._continuous()
        weight = torch.complex(*self.output.unbind(-1)) * gain
        times = torch.arange(steps, dtype=self.log_step.dtype, device=self.log_step.device)
        powers = (scaled.unsqueeze(-1) * times).exp()  # (H, P, T)
        return 2 * torch.einsum("hp,hpt->th", weight, powers).real

    def _mix(self, features: Tensor, filtered: Tensor) -> Tensor:
        value, gate = self.mix(functional.gelu(filtered)).chunk(2, dim=-1)
        normalised: Tensor = self.norm(features + value * torch.sigmoid(gate))  # GLU, which has no batched tangents
        return normalised
