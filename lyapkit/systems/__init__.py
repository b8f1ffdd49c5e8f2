"""Reference maps whose Lyapunov exponents are known, each with the source of its values."""

from lyapkit.systems.maps import cat_map as cat_map
from lyapkit.systems.maps import henon as henon
from lyapkit.systems.maps import logistic as logistic
from lyapkit.systems.products import MatrixProduct as MatrixProduct
from lyapkit.systems.products import gaussian_product_exponents as gaussian_product_exponents
from lyapkit.systems.reference import ReferenceSystem as ReferenceSystem

__all__ = ["MatrixProduct", "ReferenceSystem", "cat_map", "gaussian_product_exponents", "henon", "logistic"]
