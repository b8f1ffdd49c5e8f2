"""Find directions that only rounding keeps alive.

Several steps may annihilate a direction together, as a delay line in rotated coordinates does. No single step shows
this: each shrinks the direction a little, and its rounding fills in a rest. A nilpotent block of m rows then fades by
about eps^(1/m) per step, instead of vanishing after m steps. Such growth changes with the size of the rounding, and no
other growth does. So some windows are repeated with larger rounding, and their growth is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Decomposition
from lyapkit.lyapunov.graded import GradedProduct

STEPS = 64
ROUNDS = 2
"""Twice as many steps as the state has components are repeated, and at most 64. Rounding takes m steps to replace a
whole block of m rows, and hits each of its directions once in m steps."""

NATS = 1.0
"""Largest difference between the sums of log |R_ii| that does not count as the effect of rounding."""


def repeated_steps(size: int) -> int:
    """Return the number of steps to repeat for N components."""
    return min(ROUNDS * size, STEPS)


def _rounded(frame: Tensor, generator: torch.Generator) -> Tensor:
    """Return frames (B, N, k) whose entries are rounded to 10 digits (float64), or 4 (float32)."""
    noise = torch.randn(frame.shape[1:], generator=generator, dtype=torch.float64, device="cpu").to(frame)
    rounded: Tensor = frame * (1 + torch.finfo(frame.dtype).eps ** (5 / 8) * noise)
    return rounded


class Repetition:
    """Repetition of some windows. Before it, each entry of the frame is rounded to 10 digits (float64) or 4 (float32).

    The rounding is relative to each entry: zeros remain, and so does everything that rests on them.

    Args:
        frame: Frame before the first window, shape (B, N, k).
        order: Column of the frame at the start of the run that each column continues, shape (B, k).
    """

    def __init__(self, frame: Tensor, order: Tensor) -> None:
        self._frame, self._order = frame, order
        self._left = repeated_steps(frame.shape[-2])
        self._difference = torch.zeros(order.shape, dtype=torch.float64, device=frame.device)
        self._generator = torch.Generator().manual_seed(3)

    @property
    def over(self) -> bool:
        """True if no more steps are repeated."""
        return self._left <= 0

    def follow(self, pushes: Sequence[Callable[[Tensor], Tensor]], part: Decomposition) -> None:
        """Repeat a window, as long as steps are left to repeat.

        Args:
            pushes: Functions that carry a frame over each step of the window.
            part: Result of the decomposition at its end.
        """
        if self.over or not pushes:
            return
        self._left -= len(pushes)
        frame = _rounded(self._frame, self._generator)
        for push in pushes:
            frame = push(frame)
        self._frame, r = torch.linalg.qr(frame)
        difference = part.log_growth - r.diagonal(dim1=-2, dim2=-1).abs().double().log()
        self._difference = self._difference.scatter_add(-1, self._order, difference)
        if part.order is not None:
            self.move(part.order)

    def move(self, order: Tensor) -> None:
        """Bring columns into another order, (B, k)."""
        self._frame = self._frame.gather(-1, order.unsqueeze(-2).expand_as(self._frame))
        self._order = self._order.gather(-1, order)

    def differs(self) -> Tensor:
        """Return true for directions with a different growth, shape (B, k), in their order at the start of the run."""
        return torch.isfinite(self._difference) & (self._difference.abs() > NATS)


class RepeatedProduct:
    """Repetition of the first steps of a product of Jacobians, with frames rounded as in `Repetition`.

    Args:
        batch: Number of trajectories, B.
        size: State size, N.
        device: Device of the Jacobians.
        steps: Largest number of steps to repeat.
    """

    def __init__(self, batch: int, size: int, device: torch.device, steps: int) -> None:
        self._plain = self._twin = GradedProduct.identity(batch, size, device)
        self._left = min(repeated_steps(size), steps)
        self._generator = torch.Generator().manual_seed(3)
        self._resolved: Tensor | None = None

    def follow(self, push: Callable[[Tensor], Tensor], plain: GradedProduct) -> None:
        """Repeat a step, as long as steps are left to repeat.

        Args:
            push: Function that multiplies a frame by the step's Jacobian.
            plain: Product with this step.
        """
        if self._left > 0:
            self._left -= 1
            self._resolved = None
            self._plain = plain
            self._twin = self._twin.after(lambda frame: push(_rounded(frame, self._generator)))

    @property
    def resolved(self) -> Tensor:
        """Number of leading singular values that do not change with the rounding of the repeated steps, shape (B,)."""
        if self._resolved is None:
            difference = self._plain.log_singular_values() - self._twin.log_singular_values()
            steady = ~(torch.isfinite(difference) & (difference.abs() > NATS))
            self._resolved = steady.to(torch.int64).cumprod(dim=-1).sum(dim=-1)
        return self._resolved
