r"""Test a property of your network
===============================

A network often has a property by design: it forgets, it keeps to a bound, its exponents are known in a special case.
Such a property can be tested for any weights and any input, so that a later change of the code cannot break it
unnoticed. `lyapkit.testing` has what such tests need. It draws networks and inputs with
`Hypothesis <https://hypothesis.readthedocs.io>`__, compares exponents within the errors of the run, and prints the
numbers of the smallest network that fails.

    python examples/properties_of_your_network.py
"""

# %%
# A network of your own
# ---------------------
# A leaky network, x' = (1 - a) x + a g W tanh(x) + a s, whose weights W are scaled to the spectral norm 1. Two
# properties follow, whatever W and the input s are:
#
# - without recurrent weights, g = 0, all exponents are log(1 - a);
# - the Jacobian differs from (1 - a) I by a matrix of norm a g at most, so that all exponents lie between
#   log(1 - a - a g) and log(1 - a + a g). For g < 1 the network forgets.

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import lyapkit
from lyapkit.testing import assert_exponents

NETWORK = """
import torch
from torch import nn

import lyapkit


class Leaky(nn.Module):
    def __init__(self, units, leak, gain, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(units, units, generator=generator, dtype=torch.float64)
        weight = weight / torch.linalg.matrix_norm(weight, ord=2)
        self.weight = nn.Parameter(weight)
        self.leak, self.gain, self.seed = leak, gain, seed

    def extra_repr(self):
        return f"{len(self.weight)}, {self.leak}, {self.gain}, {self.seed}"

    def forward(self, state, input):
        drive = self.gain * self.weight @ torch.tanh(state) + input
        return (1 - self.leak) * state + self.leak * drive

    def as_map(self):
        zeros = torch.zeros(len(self.weight), dtype=torch.float64)
        return lyapkit.as_map(self, state=zeros, input=zeros)
"""

# %%
# The tests
# ---------
# A file for pytest. ``st.builds`` makes a strategy of any class: Hypothesis draws its arguments.
# `lyapkit.testing.inputs` draws inputs of any length and scale that fit a model. `lyapkit.testing.assert_exponents`
# compares exponents with a closed form, or with the middle of an interval ``within`` half of its width. The last test
# checks the map itself.

TESTS = """
import math

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from leaky import Leaky
from lyapkit.testing import assert_exponents, check_map, inputs

settings.register_profile(
    "quick", max_examples=15, deadline=None, derandomize=True,
    phases=[Phase.generate, Phase.shrink],
)
settings.load_profile("quick")

leaks, seeds, units = st.floats(0.1, 0.4), st.integers(0, 1000), st.integers(1, 6)


def networks(gains):
    return st.builds(Leaky, units=units, leak=leaks, gain=gains, seed=seeds)


@given(st.data(), networks(gains=st.just(0)))
def test_without_recurrence_it_leaks(data, network):
    s = data.draw(inputs(network.as_map(), max_steps=5))
    expected = [math.log(1 - network.leak)] * len(network.weight)
    assert_exponents(network.as_map(), s, expected)


@given(st.data(), networks(gains=st.floats(0.1, 0.9)))
def test_it_forgets_at_a_rate_between_its_bounds(data, network):
    s = data.draw(inputs(network.as_map(), max_steps=5))
    low = math.log(1 - network.leak - network.leak * network.gain)
    high = math.log(1 - network.leak + network.leak * network.gain)
    middle = [(low + high) / 2] * len(network.weight)
    assert_exponents(network.as_map(), s, middle, within=(high - low) / 2)


@given(networks(gains=st.floats(0.1, 0.9)))
def test_its_map_keeps_all_promises(network):
    check_map(network.as_map())
"""


def run_pytest(network: str) -> str:
    """Write the network and its tests into a folder, and return what pytest says."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "leaky.py").write_text(network)
        (Path(folder) / "test_leaky.py").write_text(TESTS)
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short"]
        done = subprocess.run(
            command, cwd=folder, env=dict(os.environ), capture_output=True, text=True
        )
    return done.stdout


report = run_pytest(NETWORK)
print(report)
assert "3 passed" in report

# %%
# A mistake, and what is said about it
# ------------------------------------
# Somebody forgets the leak in front of the drive. Hypothesis finds it, and shrinks it to the simplest network that
# shows it: one unit. The message has the numbers in a table. ``extra_repr`` above is what makes it say which network it
# was.

BROKEN = NETWORK.replace("self.leak * drive", "drive")
report = run_pytest(BROKEN)
print(report)
assert "1 failed, 2 passed" in report
assert "1 of 1 exponents" in report

# %%
# What the run knew
# -----------------
# `assert_exponents` returns the run that it looked at, so that a test can also say how small its errors must be. Here
# the network has recurrent weights, and its exponents are spread between the two bounds.

namespace = {}
exec(NETWORK, namespace)
network = namespace["Leaky"](units=12, leak=0.2, gain=0.9, seed=1).as_map()
inputs = torch.randn(2000, 12, generator=torch.Generator().manual_seed(1)).double()
low, high = np.log(0.8 - 0.18), np.log(0.8 + 0.18)
run = assert_exponents(
    network, inputs, [(low + high) / 2] * 12, within=(high - low) / 2
)
print(f"largest standard error: {float(run.standard_error.max()):.1g}")
assert run.error_reliable.all()
assert run.standard_error.max() < 0.1 * (high - low)

with plt.style.context("lyapkit.plots.paper"):
    ax = lyapkit.plots.lyapunov_spectrum(run)
    for bound in (low, high):
        ax.axhline(bound, color="black", linestyle="--", linewidth=0.8)

# %%
# Weakly coupled networks
# -----------------------
# `wcrnn_models.testing` has the theory of WCRNNs as assertions: exponents keep to their rigorous bounds under any
# input, and approach log|eigenvalues| of the residual in proportion to the coupling.

from wcrnn_models import WCRNN, residuals  # noqa: E402
from wcrnn_models.testing import (  # noqa: E402
    assert_exponents_bounded,
    assert_scaling,
)

residual = residuals.rotation(0.3, r=0.9)
network = WCRNN(1, 6, 1, residual=residual, coupling=0.02, rng=0, dtype=torch.float64)
inputs = torch.randn(400, 1, generator=torch.Generator().manual_seed(2)).double()
assert_exponents_bounded(network, 100 * inputs)
law = assert_scaling(network, inputs, couplings=(0.04, 0.02, 0.01))
print(law.distance.values.round(5))
