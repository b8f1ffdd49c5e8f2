r"""Track exponents while a network learns
======================================

Weights are kept at chosen iterations, and the exponents of each are measured on the same input. In a weakly coupled
network they stay where the residual puts them; a gated network finds its memory while it learns. In a training loop of
your own, a tracker measures on the way.

    python examples/exponents_while_training.py
"""

# %%
# Train, and keep weights
# -----------------------
# ``save_at`` names iterations whose weights are kept as further checkpoints; the untrained and the last network are
# kept anyway. An interrupted run goes on where it stopped when `wcrnn_models.train` is called again. Here two
# networks learn the adding problem: a WCRNN with the residual 0.99 I, and an LSTM.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr

import lyapkit
from wcrnn_models import TrainConfig, list_checkpoints, load_checkpoint, predict, train
from wcrnn_models.tasks import AddingProblem

LENGTH = 30
common = {
    "length": LENGTH,
    "epochs": 8,
    "iterations_per_epoch": 100,
    "test_size": 500,
    "save_at": (25, 50, 100, 200, 400, 600),
}
configs = {
    "WCRNN, r = 0.99": TrainConfig(
        hidden_size=24, r=0.99, coupling=0.02, learning_rate=0.2, **common
    ),
    "LSTM": TrainConfig(
        model="lstm", hidden_size=12, learning_rate=0.5, gradient_clip=1.0, **common
    ),
}

# %%
# Measure every checkpoint
# ------------------------
# Each spectrum is labelled with its training iteration, and `xarray.concat` puts them together. Test sequences are
# strung together, so that there are enough steps for small errors.

# (600, 1, 2)
inputs = (
    next(AddingProblem(LENGTH).test_batches())[0][:, :20]
    .transpose(0, 1)
    .reshape(-1, 1, 2)
    .double()
)
training, rms = {}, {}
with tempfile.TemporaryDirectory() as folder:
    for name, config in configs.items():
        result = train(config, Path(folder) / name)
        rms[name] = result.best_metric
        spectra = []
        for path in list_checkpoints(Path(folder) / name):
            checkpoint = load_checkpoint(path)
            network = checkpoint.model.double()
            spectrum = lyapkit.lyapunov_spectrum(network, inputs, transient=50)
            spectrum = spectrum[["lyapunov_exponent", "standard_error"]]
            spectra.append(spectrum.assign_coords(checkpoint=checkpoint.iteration))
            predictions = predict(network)
            if predictions is not None:  # the theory says nothing of an LSTM
                exponents = spectrum.lyapunov_exponent.values[0]
                assert (predictions.lower_bounds <= exponents).all()
                assert (exponents <= predictions.upper_bounds).all()
        training[name] = xr.concat(
            spectra, "checkpoint", join="exact", combine_attrs="drop_conflicts"
        )
        print(
            f"{name}: best RMS {rms[name]:.3f}; always answering 1 gives {6**-0.5:.3f}"
        )

# %%
# Two plots
# ---------

with plt.style.context("lyapkit.plots.paper"):
    _, axes = plt.subplots(1, 2, figsize=(7, 2.8))
    for ax, (name, ds) in zip(axes, training.items(), strict=True):
        lyapkit.plots.exponents_over_checkpoints(ds, ax=ax, lines=8)
        ax.set_title(name)
    axes[0].axhline(np.log(0.99), color="black", linestyle="--", linewidth=0.8)

# %%
# In a loop of your own
# ---------------------
# `lyapkit.Tracker` measures a network every few iterations of any training loop, on the same inputs each time. Here a
# GRU learns to remember the first of 10 numbers. The measurement does not disturb the training: modes, gradients and
# random numbers are put back, so that the weights are the same to the last bit with and without it. With Lightning,
# pass ``tracker.lightning_callback()`` to the trainer instead.


def learn(every: int) -> tuple[torch.nn.GRU, lyapkit.Tracker, list[float]]:
    """Train a GRU, measured every so many iterations."""
    torch.manual_seed(0)
    gru, readout = torch.nn.GRU(1, 12), torch.nn.Linear(12, 1)
    parameters = [*gru.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    tracker = lyapkit.Tracker(gru, probe, every=every, k=3, transient=50)
    errors = []
    for iteration in range(301):
        tracker(iteration)
        numbers = torch.randn(10, 32, 1)
        error = (readout(gru(numbers)[0][-1]) - numbers[0]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    return gru, tracker, errors


probe = torch.randn(250, 1, 1, generator=torch.Generator().manual_seed(1))
gru, tracker, errors = learn(every=30)
own = tracker.result["lyapunov_spectrum"]

# %%
# A: the leading exponents on the way. B: the error. The network learns when its memory has become long enough.

with plt.style.context("lyapkit.plots.paper"):
    _, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
    lyapkit.plots.exponents_over_checkpoints(own, ax=left)
    left.set_title("A", fontweight="bold")
    right.semilogy(errors, linewidth=0.8)
    right.set_xlabel("training iteration")
    right.set_ylabel("mean squared error")
    right.set_title("B", fontweight="bold")

# %%
# Is it true?
# -----------
# The dashed line is log 0.99. The mean of the WCRNN's exponents stays there, while it learns; above, all of them were
# between the bounds that hold for the weights of the time. The leading exponent of the LSTM, which sets how long it
# remembers, has come from far below zero to nearly zero.

mean = training["WCRNN, r = 0.99"].lyapunov_exponent.mean(["trajectory", "exponent"])
leading = training["LSTM"].isel(trajectory=0, exponent=0)
print(f"WCRNN, mean exponent: {mean.values.round(4).tolist()}")
print(f"log 0.99: {np.log(0.99):.4f}")
print(f"LSTM, leading exponent: {leading.lyapunov_exponent.values.round(3).tolist()}")
assert np.allclose(mean, np.log(0.99), atol=5e-4)
assert leading.lyapunov_exponent[0] < -0.3
assert abs(leading.lyapunov_exponent[-1]) < 0.05
assert max(rms.values()) < 0.35

seldom, *_ = learn(every=301)
for one, other in zip(gru.parameters(), seldom.parameters(), strict=True):
    assert torch.equal(one, other)
first, last = own.lyapunov_exponent.isel(trajectory=0, exponent=0).values[[0, -1]]
print(f"GRU, leading exponent: {first:.3f} at first, {last:.3f} at last")
assert last > first + 0.1
assert np.mean(errors[-20:]) < 0.5 * np.mean(errors[:20])
