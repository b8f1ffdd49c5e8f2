"""Test properties of weakly coupled residual networks: strategies for Hypothesis, and the theory as assertions.

Install it with ``pip install "lyapkit[testing]"``. `lyapkit.testing` has what is meant for any network.
"""

from wcrnn_models.testing.laws import assert_exponents_bounded as assert_exponents_bounded
from wcrnn_models.testing.laws import assert_scaling as assert_scaling
from wcrnn_models.testing.strategies import residual_maps as residual_maps
from wcrnn_models.testing.strategies import wcrnns as wcrnns

__all__ = ["assert_exponents_bounded", "assert_scaling", "residual_maps", "wcrnns"]
