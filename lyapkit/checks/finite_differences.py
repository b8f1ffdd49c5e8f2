"""Comparison of a step's derivatives with finite differences, component by component.

Along a direction v, a component of J v is compared with (f(x + h v) - f(x)) / h, (f(x) - f(x - h v)) / h and their
mean, for several lengths h. A component is *right* if one of them agrees with it. It is *wrong* if the differences
ahead and behind agree with one another for two neighbouring lengths, which tells the derivative, and J v is another
number. Otherwise, nothing is said: at a kink the two sides differ, across a jump a difference grows as h shrinks, and
rounding makes it random. So neither kinks nor jumps, strong curvature nor rounding make a right derivative look wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Precision:
    """Resolution of finite differences in a floating-point type.

    Attributes:
        lengths: Lengths h, relative to the size of each component, descending.
        tolerance: Relative deviation that the error of a difference may explain.
        loose: The same for the longest h of a step that is rounded more coarsely inside than its type.
    """

    lengths: tuple[float, ...]
    tolerance: float
    loose: float = 3e-2


PRECISION = {
    torch.float64: Precision((1e-4, 1e-5, 1e-6, 1e-7, 1e-8), 1e-4),
    torch.float32: Precision((3e-2, 1e-2, 3e-3, 1e-3, 3e-4), 1e-2),
}


@dataclass(frozen=True)
class Comparison:
    """Derivatives of P states along D directions, beside the findings of differences.

    Attributes:
        exact: Derivative J v, shape (D, P, N).
        difference: The difference that comes closest to it.
        deviation: Relative deviation, shape (D, P, N); 0 where nothing can be said.
        right: True where they agree.
        wrong: True where they disagree. Where neither holds, nothing can be said.
    """

    exact: Tensor
    difference: Tensor
    deviation: Tensor
    right: Tensor
    wrong: Tensor

    def or_else(self, other: Comparison) -> Comparison:
        """Take this comparison, and the other one where this one says nothing."""
        silent = ~(self.right | self.wrong)
        return Comparison(
            *(
                torch.where(silent, getattr(other, name), getattr(self, name))
                for name in ("exact", "difference", "deviation", "right", "wrong")
            )
        )


def compare(
    step: Callable[[Tensor], Tensor],
    push: Callable[[Tensor, Tensor], Tensor],
    states: Tensor,
    directions: Tensor,
    precision: Precision | None = None,
) -> Comparison:
    """Compare J v with finite differences.

    Args:
        step: Function f from states (..., P, N) to the next ones.
        push: Function from states (P, N) and tangents (P, N, D) to J times the tangents.
        states: States x, shape (P, N).
        directions: Directions v, shape (D, P, N), each component of the size that it has in the map.
        precision: Lengths and tolerance; those of the type by default.
    """
    precision = PRECISION[states.dtype] if precision is None else precision
    info = torch.finfo(states.dtype)
    h = torch.tensor(precision.lengths, dtype=states.dtype, device=states.device).reshape(-1, 1, 1, 1)
    exact = push(states, directions.movedim(0, -1)).movedim(-1, 0)  # (D, P, N)
    here = step(states)
    moved = h * directions  # (K, D, P, N)
    values = step(torch.stack((states + moved, states - moved)))
    ahead, behind = (values[0] - here) / h, (here - values[1]) / h
    found = torch.stack((ahead, behind, (ahead + behind) / 2), dim=1)  # (K, 3, D, P, N)
    noise = ((8 * info.eps * here.abs() + info.tiny) / h).unsqueeze(1)  # (K, 1, 1, P, N)

    size = torch.maximum(found.abs(), exact.abs())
    error = (found - exact).abs()
    finite = torch.isfinite(error)
    resolved = finite & (noise <= 0.3 * precision.tolerance * size)
    right = (resolved & (error <= precision.tolerance * size + noise)).flatten(0, 1).any(dim=0)
    right |= ~resolved.flatten(0, 1).any(dim=0) & (finite[0] & (error[0] <= noise[0])).any(dim=0)

    pairs = torch.cat((found[:-1, :2], found[1:, :2]), dim=1)  # both sides of two neighbouring lengths
    room, span = noise[1:, 0], pairs.amax(dim=1) - pairs.amin(dim=1)
    settled = span <= precision.tolerance / 3 * pairs.abs().amax(dim=1) + room
    off = (pairs - exact).abs() > 3 * precision.tolerance * size[:-1].amax(dim=1, keepdim=True) + 3 * noise[1:]
    told = torch.isfinite(pairs).all(dim=1) & settled & off.all(dim=1)  # (K - 1, D, P, N)
    # a step that rounds inside is flat, or a line, between the numbers that it can return
    rounded = finite[0, 2] & (error[0, 2] <= precision.loose * size[0, 2])
    rounded = rounded & ((pairs - found[0, 2]).abs().amin(dim=1) > 3 * error[0, 2])
    wrong = ~right & (told[0] | (told & ~rounded).any(dim=0))
    # where it returns numbers of float32 only, only the longest length tells something
    single = (
        (values.float() == values).flatten(0, 2).all(dim=0) & (here.float() == here) & (states.dtype != torch.float32)
    )
    smallest = (torch.finfo(torch.float32).eps * here.abs() + torch.finfo(torch.float32).tiny) / h[0]
    told = finite[0].all(dim=0) & (smallest <= 0.1 * precision.loose * size[0].amax(dim=0))
    told &= (found[0, 0] - found[0, 1]).abs() <= precision.loose * size[0].amax(dim=0)
    wrong = torch.where(single, told & (error[0] > 3 * precision.loose * size[0]).all(dim=0), wrong)
    right &= ~wrong

    relative = torch.where(resolved, error / torch.where(size > 0, size, 1.0), torch.inf).flatten(0, 1)
    deviation, place = relative.min(dim=0)
    differences = found.flatten(0, 1).gather(0, place.unsqueeze(0)).squeeze(0)
    return Comparison(exact, differences, torch.where(right | wrong, deviation, 0).nan_to_num(posinf=0.0), right, wrong)
