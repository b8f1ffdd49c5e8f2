r"""Derivatives that a recurrent map may declare: affine preactivations followed by a pointwise update.

Nearly every recurrent cell, built-in or residual, has the form

.. math:: a_t = W h_{t-1} + U s_t + b, \qquad x_t = \varphi(a_t, x_{t-1}),

where :math:`\varphi` acts on each unit by itself: unit i of x_t depends on the preactivations and the previous state of
unit i only. The derivatives of the affine part are known once and for all; a cell therefore registers phi with its
first and second derivatives, and the recursions of tangents and adjoints through time are written once
(`lyapkit.curvature`).
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
"""Function from weights of the components of phi to second derivatives of their weighted sum."""


class Pointwise(ABC):
    """Pointwise update x' = phi(a, x): G preactivations and C state components of a unit give its C new components.

    The arguments of phi are numbered a_0, ..., a_{G-1}, x_0, ..., x_{C-1} by 0, ..., G+C-1. Component 0 of the state is
    emitted: the cell's own weights and the next layer read it. All operations are out of place.

    Attributes:
        preactivations: Their number G.
        components: Number C of state components of a unit.
        linear_residual: Whether x' = (a fixed linear map of x) + g(a), with the map outside of the trained weights, as
            in eq. (11) of Dubinin & Effenberger (2024).
    """

    preactivations: int = 1
    components: int = 1
    linear_residual: bool = False

    @abstractmethod
    def advance(self, preactivation: Tensor, state: Tensor) -> Tensor:
        """Compute the update.

        Args:
            preactivation: The preactivation a, shape (..., G, H).
            state: The state x, shape (..., C, H).

        Returns:
            The next state x', shape (..., C, H).
        """

    @abstractmethod
    def linearise(self, preactivation: Tensor, state: Tensor) -> tuple[Derivatives, SecondDerivatives]:
        """Return the derivatives at a point.

        Args:
            preactivation: The preactivation a, shape (..., G, H).
            state: The state x, shape (..., C, H).

        Returns:
            d phi_c / d (argument i), by (c, i); and a function from weights l of the components, shape (..., C, H), to
            sum_c l_c d^2 phi_c / d (argument i) d (argument j), by (i, j) with i <= j.
        """


@dataclass(frozen=True)
class Place:
    """Position of a parameter in the matrix [W, U, b] of a cell.

    Attributes:
        parameter: The parameter; a vector fills one column.
        rows: Row of the matrix for each row of the parameter, shape (rows of the parameter,).
        start: Column of the matrix for the parameter's first column.
    """

    parameter: nn.Parameter
    rows: Tensor
    start: int

    @property
    def columns(self) -> slice:
        """Columns of the matrix that the parameter fills."""
        return slice(self.start, self.start + (self.parameter.shape[1] if self.parameter.ndim == 2 else 1))


@dataclass(frozen=True)
class AffineCell:
    r"""One layer of a map: x_t = phi([W, U, b] (h_{t-1}, s_t, 1), x_{t-1}).

    Attributes:
        pointwise: The pointwise update :math:`\varphi`.
        units: Number H of units. The layer's flat state is its C components one after the other, (C*H,).
        weight: The matrix [W, U, b] with the current values, shape (G*H, H+M+1), preactivation after preactivation.
        places: Positions of the parameters. Several may share entries (two biases), which then hold their sum.
        recurrent_rows: Rows of W that have an entry other than zero.
    """

    pointwise: Pointwise
    units: int
    weight: Tensor
    places: Sequence[Place]
    recurrent_rows: slice

    @property
    def inputs(self) -> int:
        """Number of inputs M."""
        return self.weight.shape[1] - self.units - 1

    @cached_property
    def trained_rows(self) -> int:
        """Number of leading rows of the matrix that hold parameters; the rows below, if any, are fixed."""
        return 1 + max(int(place.rows.max()) for place in self.places)
