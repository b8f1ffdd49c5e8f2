"""Find directions that only rounding keeps alive.

What several steps annihilate together, as a delay line in rotated coordinates does, no single step shows: each shrinks
a direction a little, and the rounding of each step fills in what is missing. A nilpotent block of m rows then fades by
about eps^(1/m) a step instead of ending after m. Such growth follows the size of the rounding, and no other does. So
some windows are done again with a larger one, and their growth is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Decomposition
from lyapkit.lyapunov.graded import GradedProduct

STEPS = 64
ROUNDS = 2
"""Twice as many steps as the state has components are done again, and at most 64: a block of m rows takes m steps until
rounding has replaced all of it, and each of its directions is hit once in as many."""

NATS = 1.0
"""A larger difference between the sums of log |R_ii| is put down to rounding."""


def repeated_steps(size: int) -> int:
    """Return how many steps are done again for N components."""
    return min(ROUNDS * size, STEPS)


def _rounded(frame: Tensor, generator: torch.Generator) -> Tensor:
    """Return frames (B, N, k) whose entries are rounded to 10 digits (float64), or 4 (float32)."""
    noise = torch.randn(frame.shape[1:], generator=generator, dtype=torch.float64, device="cpu").to(frame)
    rounded: Tensor = frame * (1 + torch.finfo(frame.dtype).eps ** (5 / 8) * noise)
    return rounded


class Repetition:
    """Some windows done again, with each entry of the frame rounded to 10 digits (float64), or 4 (float32), before.

    The rounding is relative to each entry: zeros remain, and so does what rests on them.

    Args:
        frame: The frame before the first window, shape (B, N, k).
        order: Column of the frame at the start of the run that each column continues, shape (B, k).
    """

    def __init__(self, frame: Tensor, order: Tensor) -> None:
        self._frame, self._order = frame, order
        self._left = repeated_steps(frame.shape[-2])
        self._difference = torch.zeros(order.shape, dtype=torch.float64, device=frame.device)
        self._generator = torch.Generator().manual_seed(3)

    @property
    def over(self) -> bool:
        """True if no more steps are done again."""
        return self._left <= 0

    def follow(self, pushes: Sequence[Callable[[Tensor], Tensor]], part: Decomposition) -> None:
        """Do a window again, as long as there are steps left to do.

        Args:
            pushes: The window's steps, each of which carries a frame.
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
        """Return which directions have grown otherwise, shape (B, k), where they were at the start of the run."""
        return torch.isfinite(self._difference) & (self._difference.abs() > NATS)


class RepeatedProduct:
    """The first steps of a product of Jacobians done again, with frames rounded as those of `Repetition`.

    Args:
        batch: B.
        size: N.
        device: Device of the Jacobians.
        steps: Steps to do again, at most.
    """

    def __init__(self, batch: int, size: int, device: torch.device, steps: int) -> None:
        self._plain = self._twin = GradedProduct.identity(batch, size, device)
        self._left = min(repeated_steps(size), steps)
        self._generator = torch.Generator().manual_seed(3)
        self._resolved: Tensor | None = None

    def follow(self, push: Callable[[Tensor], Tensor], plain: GradedProduct) -> None:
        """Do a step again, as long as there are steps left to do.

        Args:
            push: Multiplies a frame by the step's Jacobian.
            plain: The product with this step.
        """
        if self._left > 0:
            self._left -= 1
            self._resolved = None
            self._plain = plain
            self._twin = self._twin.after(lambda frame: push(_rounded(frame, self._generator)))

    @property
    def resolved(self) -> Tensor:
        """Singular values, in their order, that do not follow the rounding of the steps done again, shape (B,)."""
        if self._resolved is None:
            difference = self._plain.log_singular_values() - self._twin.log_singular_values()
            steady = ~(torch.isfinite(difference) & (difference.abs() > NATS))
            self._resolved = steady.to(torch.int64).cumprod(dim=-1).sum(dim=-1)
        return self._resolved
