"""Loops that others write: Algorithm 1 word for word, and a Jacobian by hand in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wcrnn_models import WCRNN


def textbook(network: WCRNN, inputs: Tensor) -> Tensor:
    """Run Algorithm 1 word for word: torch.autograd.functional.jacobian and a QR decomposition at every step."""
    state = torch.zeros(network.hidden_size, dtype=torch.float64)
    frame = torch.eye(network.hidden_size, dtype=torch.float64)
    total = torch.zeros(network.hidden_size, dtype=torch.float64)
    for input in inputs:
        jacobian = torch.autograd.functional.jacobian(lambda x, s=input: network.step(x, s), state)
        with torch.no_grad():
            state = network.step(state, input)
        frame, r = torch.linalg.qr(jacobian @ frame)
        total += r.diagonal().abs().log()
    return total / len(inputs)


def numpy_loop(weight: np.ndarray, start: np.ndarray, steps: int, every: int) -> np.ndarray:
    """Iterate x' = 0.9 x + 0.1 J tanh x with its Jacobian by hand, QR every few steps."""
    state, size = start.copy(), len(start)
    frame, total = np.eye(size), np.zeros(size)
    for step in range(1, steps + 1):
        slope = 1 - np.tanh(state) ** 2
        frame = 0.9 * frame + 0.1 * (weight @ (slope[:, None] * frame))
        state = 0.9 * state + 0.1 * (weight @ np.tanh(state))
        if step % every == 0:
            frame, r = np.linalg.qr(frame)
            total += np.log(np.abs(np.diag(r)))
    return total / steps
