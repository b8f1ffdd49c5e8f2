r"""Is my network chaotic?
======================

It is when its leading Lyapunov exponent is positive. A number alone does not tell: it needs an error bar, and a run
that is long enough. Here a random network is run until its leading exponent is known well enough, by itself and under
noise, which makes the same network forget.

    python examples/is_it_chaotic.py
"""

# %%
# A run that stops by itself
# --------------------------
# x' = J tanh x with weights from N(0, g^2 / N). With ``until=`` the run goes on until the standard error of the
# leading exponent is at most 0.002; it respects that growth at successive steps is correlated. The first 200 steps
# bring the state onto its attractor and the frame into its place, and are not counted.

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr

import lyapkit
from lyapkit import systems

SIZE, GAIN = 200, 2.0
weight = (
    GAIN
    * torch.randn(
        SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    / SIZE**0.5
)
alone = lyapkit.lyapunov_spectrum(
    systems.tanh_network(weight),
    k=80,
    until=0.002,
    max_steps=20_000,
    transient=200,
    rng=0,
)

# %%
# The verdict
# -----------
# ``probability_positive`` is the probability that the leading exponent is positive, given its error. ``converged``
# says whether the stop rule was reached. The Kaplan-Yorke dimension is how many directions the attractor fills; it
# needs enough exponents to close, and says when it had too few.


def report(name: str, spectrum: xr.Dataset) -> None:
    """Print what decides."""
    one = spectrum.isel(trajectory=0)
    exponent, error = float(one.lyapunov_exponent[0]), float(one.standard_error[0])
    dimension = float(one.kaplan_yorke_dimension)
    its_error = float(one.kaplan_yorke_dimension_error)
    print(f"{name}, after {int(one.last_step)} steps, converged: {bool(one.converged)}")
    print(f"  lambda_1 = {exponent:.4f} +- {error:.4f}")
    print(f"  P(lambda_1 > 0) = {float(one.probability_positive):.3f}")
    print(f"  Kaplan-Yorke dimension {dimension:.1f} +- {its_error:.1f}")


report("by itself", alone)

# %%
# The same network under noise
# ----------------------------
# Input of variance 4 drives the units into saturation, where tanh is flat. The exponents are now *conditional*: they
# say whether two copies that get the same input end up in the same state.

VARIANCE = 4.0
noise = VARIANCE**0.5 * torch.randn(
    20_000, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)
driven = lyapkit.lyapunov_spectrum(
    systems.tanh_network(weight, driven=True),
    noise,
    k=80,
    until=0.002,
    transient=200,
    rng=0,
)
report("under noise", driven)

# %%
# Two plots
# ---------
# A: running means of the leading exponents, by itself (blue) and under noise (orange), with the values that
# mean-field theory gives for infinitely many units (dashed). B: sums of exponents; where they cross zero is the
# Kaplan-Yorke dimension.

theory = [
    systems.tanh_mean_field(GAIN, variance).leading_exponent
    for variance in (0.0, VARIANCE)
]
with plt.style.context("lyapkit.plots.paper"):
    _, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
    for spectrum, value, name in (
        (alone, theory[0], "by itself"),
        (driven, theory[1], "under noise"),
    ):
        lyapkit.plots.running_exponents(
            spectrum.isel(exponent=[0]), ax=left, reference=[value], label=name, alpha=1
        )
    left.lines[-1].set_label("theory")  # the last dashed one; both mean the same
    left.legend()
    left.set_title("A", fontweight="bold")
    lyapkit.plots.kaplan_yorke(alone, ax=right)
    right.set_title("B", fontweight="bold")

# %%
# Is it true?
# -----------
# Finite networks fall short of the theory by a few 1/N.

for spectrum, value in ((alone, theory[0]), (driven, theory[1])):
    measured = float(spectrum.lyapunov_exponent[0, 0])
    print(f"measured {measured:.4f}, infinitely many units {value:.4f}")
    assert abs(measured - value) < 5 / SIZE
assert np.round(float(alone.probability_positive[0]), 6) == 1
assert float(driven.probability_positive[0]) < 1e-6
