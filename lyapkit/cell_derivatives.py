"""What a recurrent map may say about its own derivatives: affine preactivations followed by a pointwise update.

Nearly every recurrent cell, built-in or residual, has the form

    a_t = W h_{t-1} + U s_t + b,        x_t = phi(a_t, x_{t-1}),

where phi acts on every unit alike: unit i of x_t depends on the preactivations and on the previous state of unit i
only. The derivatives of the affine part are known once and for all; a cell therefore registers phi with its first and
second derivatives, and the recursions of tangents and adjoints through time are written once (`lyapkit.curvature`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

Derivatives = dict[tuple[int, int], Tensor]
"""Non-zero derivatives by pair of indices; each of shape (..., H), or broadcastable to it where it is constant."""

SecondDerivatives = Callable[[Tensor], Derivatives]
"""From weights of the components of phi to second derivatives of their weighted sum."""


class Pointwise(ABC):
    """x' = phi(a, x), unit by unit: G preactivations and C state components of a unit give its C new components.

    The arguments of phi are numbered a_0, ..., a_{G-1}, x_0, ..., x_{C-1} by 0, ..., G+C-1. Component 0 of the state is
    what the cell emits: what its own weights and the next layer read. Everything is out of place.

    Attributes:
        preactivations: G.
        components: C.
        linear_residual: Whether x' = (a fixed linear map of x) + g(a), with the map outside of the trained weights, as
            in eq. (11) of Dubinin & Effenberger (2024).
    """

    preactivations: int = 1
    components: int = 1
    linear_residual: bool = False

    @abstractmethod
    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """The update.

        Args:
            preactivation: A, shape (..., G, H).
            state: X, shape (..., C, H).

        Returns:
            X', shape (..., C, H).
        """

    @abstractmethod
    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """The derivatives at a point.

        Args:
            preactivation: A, shape (..., G, H).
            state: X, shape (..., C, H).

        Returns:
            d phi_c / d (argument i), by (c, i); and a function from weights l of the components, shape (..., C, H), to
            sum_c l_c d^2 phi_c / d (argument i) d (argument j), by (i, j) with i <= j.
        """


@dataclass(frozen=True)
class Place:
    """Where a parameter sits in the matrix [W, U, b] of a cell.

    Attributes:
        parameter: The parameter; a vector fills one column.
        rows: The matrix' row for each of the parameter's, shape (rows of the parameter,).
        start: The matrix' column of the parameter's first.
    """

    parameter: nn.Parameter
    rows: Tensor
    start: int

    @property
    def columns(self) -> slice:
        """The columns it fills."""
        return slice(self.start, self.start + (self.parameter.shape[1] if self.parameter.ndim == 2 else 1))


@dataclass(frozen=True)
class AffineCell:
    """One layer of a map: x_t = phi([W, U, b] (h_{t-1}, s_t, 1), x_{t-1}).

    Attributes:
        pointwise: Phi.
        units: H; the layer's flat state is its C components one after the other, (C*H,).
        weight: [W, U, b] with the current values, shape (G*H, H+M+1), preactivation after preactivation.
        places: Where the parameters sit. Several may share entries (two biases), which then hold their sum.
        recurrent_rows: The rows of W that are not zero throughout.
    """

    pointwise: Pointwise
    units: int
    weight: Tensor
    places: Sequence[Place]
    recurrent_rows: slice

    @property
    def inputs(self) -> int:
        """M."""
        return self.weight.shape[1] - self.units - 1

    @cached_property
    def trained_rows(self) -> int:
        """The leading rows of the matrix that hold parameters; the rows below, if any, are fixed."""
        return 1 + max(int(place.rows.max()) for place in self.places)
