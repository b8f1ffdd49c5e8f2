"""Test properties of your own networks: strategies for Hypothesis, assertions about exponents, a suite for adapters.

Install it with ``pip install "lyapkit[testing]"``. `wcrnn_models.testing` adds residuals and WCRNNs.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401  # imported here, so that one message says that it is missing
except ImportError as error:
    raise ImportError(
        'lyapkit.testing needs Hypothesis, which is not installed; run: pip install "lyapkit[testing]".'
    ) from error

from lyapkit.testing.conformance import check_map as check_map
from lyapkit.testing.exponents import assert_exponents as assert_exponents
from lyapkit.testing.maps import callables as callables
from lyapkit.testing.maps import cells as cells
from lyapkit.testing.maps import inputs as inputs
from lyapkit.testing.maps import layers as layers
from lyapkit.testing.maps import maps as maps
from lyapkit.testing.spectra import KnownMatrix as KnownMatrix
from lyapkit.testing.spectra import matrices as matrices

__all__ = [
    "KnownMatrix",
    "assert_exponents",
    "callables",
    "cells",
    "check_map",
    "inputs",
    "layers",
    "maps",
    "matrices",
]
