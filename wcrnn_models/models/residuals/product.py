"""Products of residuals, such as a rotation times a diagonal (section 4.3)."""

from __future__ import annotations

from torch import Tensor, nn

from wcrnn_models.models.residuals.base import Residual, ResidualSpec


class ProductResidual(Residual):
    """R = R_1 R_2 ... R_k: the last factor acts first. Each keeps its own fast product."""

    def __init__(self, factors: list[Residual]) -> None:
        super().__init__()
        self.size = factors[0].size
        self.factors = nn.ModuleList(factors)

    def forward(self, state: Tensor) -> Tensor:
        """Compute R_1 (R_2 (... x)): shape (..., N) to (..., N)."""
        for factor in reversed(self.factors):
            state = factor(state)
        return state

    def chain(self) -> tuple[Residual, ...]:
        """Return the factors, those of a factor that is a product among them."""
        parts = (factor.chain() for factor in self.factors if isinstance(factor, Residual))
        return tuple(factor for part in parts for factor in part)


def product(*factors: ResidualSpec) -> ResidualSpec:
    """Make R = R_1 R_2 ... R_k, where the last factor acts first.

    Section 4.3 multiplies rotations (16) by a diagonal (17). Eigenvalues of a product are not products of eigenvalues,
    except for their determinant: sum_i log|eig_i R| is the sum over the factors.

    Args:
        factors: Recipes of the factors, from left to right.

    Raises:
        TypeError: If a factor is not a `ResidualSpec`.
        ValueError: If there is no factor.

    Example:
        >>> from wcrnn_models import residuals
        >>> spec = residuals.product(residuals.rotation(0.3), residuals.heterogeneous(0.96, 0.04, rng=0))
        >>> spec.description
        'rotation(phi=0.3, r=1) * heterogeneous(r0=0.96, delta_r=0.04)'
        >>> bool((spec.build(6).log_magnitudes() < 0).all())
        True
    """
    for factor in factors:
        if not isinstance(factor, ResidualSpec):
            raise TypeError(
                f"a factor must be a ResidualSpec such as residuals.scalar(0.9), got {type(factor).__name__}; "
                "for a matrix use residuals.dense."
            )
    if not factors:
        raise ValueError("a product needs at least one factor; for the identity use residuals.scalar(1.0).")
    return ResidualSpec(
        " * ".join(factor.description for factor in factors),
        lambda size: ProductResidual([factor.construct(size) for factor in factors]),
    )
