"""Define kernels, which carry the states of K networks through a sequence, and a gradient back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from lyapkit.trajectories.buffers import Buffers
from wcrnn_models.models.wcrnn import WCRNN

STEPS_AT_ONCE = 16
"""Number of steps whose part of the gradient is one matrix product. Chosen by measurement (100 units, batches of 128,
CPU): with one, a backward pass takes a tenth longer, and beyond 16 nothing is gained."""

Backward = Callable[[Tensor], Tensor]
"""Function from dL/dx_{T+1}, shape (K, B, N), to dL/dW, shape (K, N, E)."""


class Kernel(ABC):
    """Kernel of K networks of equal sizes and form: their final states, and the gradient with respect to their weights.

    The weights are those of the drive u = W e with the extended state e = (x, 1, s, 0): the state, a one for the
    biases, the input, and a zero where the length would be odd. A kernel keeps the states of one forward pass, until
    the next one.

    Args:
        networks: The K networks, all on one device. Their couplings and residuals are read at every forward pass.

    Attributes:
        width: Length E of an extended state.
        buffers: Memory of states and adjoints.
    """

    def __init__(self, networks: Sequence[WCRNN]) -> None:
        self.networks = tuple(networks)
        first = networks[0]
        self.count, self.units, self.inputs = len(networks), first.hidden_size, first.input_size
        self.width = self.units + 1 + self.inputs
        self.width += self.width % 2  # even, so that rows of states are rows of complex numbers too
        self.buffers = Buffers(first.recurrent.weight)
        self._kept: tuple[int, Backward | None] = 0, None  # the number of the last forward pass, and its transpose

    def forward(self, weight: Tensor, inputs: Sequence[Tensor], *, keep: bool) -> tuple[Tensor, int]:
        """Return the final states from zero initial states.

        Args:
            weight: Weights (W_xx, b_xx + b_sx, W_sx, 0) of every network, shape (K, N, E).
            inputs: One batch of sequences for every network, shape (T, B, M) each.
            keep: True to keep all states for `backward`.

        Returns:
            The states x_{T+1}, shape (K, B, N), and the number of this forward pass.
        """
        number = self._kept[0] + 1
        self._kept = number, None
        states, backward = self._evolve(weight.detach(), inputs, keep)
        self._kept = number, backward
        return states, number

    def backward(self, adjoint: Tensor, number: int) -> Tensor:
        """Compute dL/dW of a numbered forward pass from dL/dx_{T+1}.

        Args:
            adjoint: The gradient dL/dx_{T+1}, shape (K, B, N).
            number: Number that `forward` returned.

        Returns:
            The gradient with respect to ``weight``, shape (K, N, E).

        Raises:
            RuntimeError: If a later forward pass has replaced its states.
        """
        last, backward = self._kept
        if backward is None or last != number:
            raise RuntimeError(
                "the states of this forward pass have been replaced by those of a later one; call backward before the "
                "next forward pass, or use the network itself."
            )
        return backward(adjoint)

    @abstractmethod
    def _evolve(self, weight: Tensor, inputs: Sequence[Tensor], keep: bool) -> tuple[Tensor, Backward | None]:
        """Compute the result of `forward`, and the transpose of this pass if its states are kept."""
