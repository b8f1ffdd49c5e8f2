"""The products of a loss, each prepared once, and what that cost."""

from __future__ import annotations

from collections.abc import Callable

from lyapkit.curvature.products.difference_check import Products
from lyapkit.curvature.products.operators import BlockProduct


class PreparedProducts:
    """The products of another, kept: a trajectory, a graph or the Jacobian of the outputs is then computed once.

    Args:
        products: what prepares them.
        now: the time in seconds.

    Attributes:
        seconds: what the preparation of each operator took, by its name.
    """

    def __init__(self, products: Products, now: Callable[[], float]) -> None:
        self._products = products
        self._now = now
        self._made: dict[str, BlockProduct] = {}
        self.seconds: dict[str, float] = {}

    def hessian(self) -> BlockProduct:
        """The map V -> H V, (P, b) -> (P, b)."""
        return self._prepared("hessian", self._products.hessian)

    def ggn(self) -> BlockProduct:
        """The map V -> J^T H_L J V, (P, b) -> (P, b)."""
        return self._prepared("ggn", self._products.ggn)

    def residual(self) -> BlockProduct:
        """The map V -> (H - J^T H_L J) V, (P, b) -> (P, b)."""
        return self._prepared("residual", self._products.residual)

    def _prepared(self, name: str, prepare: Callable[[], BlockProduct]) -> BlockProduct:
        if name not in self._made:
            start = self._now()
            self._made[name] = prepare()
            self.seconds[name] = self._now() - start
        return self._made[name]
