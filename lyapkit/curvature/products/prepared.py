"""The products of a loss, each prepared once, and the time of their preparation."""

from __future__ import annotations

from collections.abc import Callable

from lyapkit.curvature.products.difference_check import Products
from lyapkit.curvature.products.operators import BlockProduct, Operator


class PreparedProducts:
    """Products that are kept, so that a trajectory, a graph or the Jacobian of the outputs is computed only once.

    Args:
        products: Object that prepares the products.
        now: Function that returns the time in seconds.

    Attributes:
        seconds: Time that the preparation of each operator took, by its name.
    """

    def __init__(self, products: Products, now: Callable[[], float]) -> None:
        self._products = products
        self._now = now
        self._made: dict[Operator, BlockProduct] = {}
        self.seconds: dict[Operator, float] = {}

    def product(self, operator: Operator) -> BlockProduct:
        """Return the map V -> A V of an operator A, (P, b) -> (P, b)."""
        if operator not in self._made:
            start = self._now()
            self._made[operator] = self._products.product(operator)
            self.seconds[operator] = self._now() - start
        return self._made[operator]
