r"""Analyse your own LSTM
=====================

A network that has been trained in plain PyTorch, and a few lines to see how long it remembers, how its gradients
travel back through time and how its loss is curved. Nothing has to be changed in the network.

    python examples/analyse_your_lstm.py
"""

# %%
# The network and its task
# ------------------------
# An LSTM of 12 units learns the adding problem: of 20 random numbers two are marked, and their sum is wanted. The
# loop is what you would write yourself.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import lyapkit
from wcrnn_models.tasks import AddingProblem

torch.manual_seed(0)
task = AddingProblem(length=20, batch_size=64)
lstm, readout = nn.LSTM(input_size=2, hidden_size=12), nn.Linear(12, 1)
optimizer = torch.optim.Adam([*lstm.parameters(), *readout.parameters()], lr=0.02)
for iteration in range(600):
    inputs, targets = task.train_batch(iteration)  # (T, B, 2), time first, and (B, 1)
    outputs, _ = lstm(inputs)
    loss = nn.functional.mse_loss(readout(outputs[-1]), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"mean squared error {loss.item():.4f}; always answering 1 gives {1 / 6:.4f}")

# %%
# Everything at once
# ------------------
# `lyapkit.analyze` computes four analyses for a batch and returns them as one tree. In float64, the results are not
# limited by rounding. The state of an LSTM is (h, c), so that 12 units have 24 exponents. Twenty steps are few:
# those in which the frame turns into its place are among them, and a standard error from so few steps is uncertain, and
# too small where growth is correlated. It says how much growth fluctuates, not that the exponents have settled; the
# page on error bars has measured how short a run may be.

inputs, targets = next(task.test_batches())
inputs, targets = inputs[:, :64].double(), targets[:64].double()
lstm, readout = lstm.double(), readout.double()
tree = lyapkit.analyze(
    lstm,
    inputs,
    targets,
    nn.functional.mse_loss,
    readout=readout,
    hessian_k=20,
    trajectories=4,
    rng=0,
)
spectrum = tree["lyapunov_spectrum"].to_dataset()
for rank in (1, 2, 24):
    one = spectrum.sel(trajectory=0, exponent=rank)
    exponent, error = float(one.lyapunov_exponent), float(one.standard_error)
    print(f"lambda_{rank:<2} = {exponent:8.4f} +- {error:.4f} nats per step")

# %%
# Four plots
# ----------
# A: the spectrum of one sequence, with standard errors. B: how its exponents converge. C: the gradient dL/dx_t, back
# from the last step, with its rate beside the leading exponent of the same steps, which it tends to as sequences get
# longer. D: the leading eigenvalues of the Hessian, by magnitude.
#
# The leading exponents in A and C differ, although they are of the same sequence: A starts from the identity frame and
# C, which needs one exponent only, from a random tangent. Both have to turn into the leading direction first, and
# twenty steps are too few to forget where they came from. In longer sequences the difference fades.

with plt.style.context("lyapkit.plots.paper"):
    _, axes = plt.subplots(2, 2, figsize=(7, 5))
    lyapkit.plots.lyapunov_spectrum(spectrum, ax=axes[0, 0])
    lyapkit.plots.running_exponents(spectrum, ax=axes[0, 1], lines=8)
    lyapkit.plots.gradient_propagation(
        tree["gradient_propagation"].to_dataset(), ax=axes[1, 0], slopes=0
    )
    lyapkit.plots.hessian_spectrum(tree["hessian_spectrum"].to_dataset(), ax=axes[1, 1])
    for letter, ax in zip("ABCD", axes.flat, strict=True):
        ax.set_title(letter, fontweight="bold")

# %%
# Is it true?
# -----------
# The sum of all exponents is the mean of log \|det J_t\|, whatever the frames did. Here it is from dense Jacobians by
# PyTorch's own LSTM cell, which `lyapkit` has no part in.

cell = nn.LSTMCell(2, 12).double()
cell.load_state_dict(
    {name.removesuffix("_l0"): value for name, value in lstm.state_dict().items()}
)


def step(state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    """One step of the cell on the whole state (h, c)."""
    return torch.cat(cell(input, (state[:12], state[12:])))


state, log_volume = torch.zeros(24, dtype=torch.float64), []
for input in inputs[:, 0]:
    jacobian = torch.autograd.functional.jacobian(lambda x, s=input: step(x, s), state)
    log_volume.append(torch.linalg.slogdet(jacobian).logabsdet.item())
    state = step(state, input).detach()
total = float(spectrum.lyapunov_exponent.sel(trajectory=0).sum())
print(f"sum of the exponents {total:.10f}, mean log |det J| {np.mean(log_volume):.10f}")
assert abs(total - np.mean(log_volume)) < 1e-9
assert loss.item() < 0.02

# %%
# One page for others
# -------------------
# `lyapkit.report` writes all of this to one HTML page: warnings first, then figures and tables, with what each number
# means and where it comes from. The page loads nothing, so that it can be sent and kept. Here the warnings say that
# twenty steps are few.

with TemporaryDirectory() as folder:
    page = lyapkit.report(
        tree, Path(folder) / "lstm.html", title="LSTM, adding problem"
    )
    assert "have not converged" in page.read_text()
    print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB")
