"""Lyapunov exponents and the variational term."""

from lyapkit.lyapunov.spectrum import lyapunov_spectrum as lyapunov_spectrum
from lyapkit.lyapunov.variational import variational_term as variational_term

__all__ = ["lyapunov_spectrum", "variational_term"]
