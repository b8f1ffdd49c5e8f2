"""Lyapunov exponents, covariant vectors and the variational term."""

from lyapkit.lyapunov.covariant import covariant_vectors as covariant_vectors
from lyapkit.lyapunov.differentiable import lyapunov_exponents as lyapunov_exponents
from lyapkit.lyapunov.spectrum import lyapunov_spectrum as lyapunov_spectrum
from lyapkit.lyapunov.variational import variational_term as variational_term

__all__ = ["covariant_vectors", "lyapunov_exponents", "lyapunov_spectrum", "variational_term"]
