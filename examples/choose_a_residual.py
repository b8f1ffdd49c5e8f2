r"""Choose a residual for your data
===============================

In a weakly coupled residual network (WCRNN) the residual matrix R is fixed and sets how long, and at which
frequencies, the network remembers. The data say which one is wanted: their power spectrum has a peak, and a residual
that rotates at that frequency keeps what is there.

    python examples/choose_a_residual.py
"""

# %%
# The data
# --------
# Sequences with a rhythm of period 14, buried in noise of twice its amplitude. The two classes are two phases of the
# rhythm. Any arrays of your own do as well: (count, steps) or (count, steps, components) with a label for each.

import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import lyapkit
from wcrnn_models import TrainConfig, load_checkpoint, plots, predict, train
from wcrnn_models.tasks import ArrayTask, power_spectrum

PERIOD, STEPS = 14, 84
random = np.random.default_rng(0)


def sequences(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (count, STEPS, 1) and labels (count,)."""
    labels = random.integers(0, 2, count)
    rhythm = np.cos(2 * np.pi * np.arange(STEPS) / PERIOD + np.pi * labels[:, None])
    return (rhythm + 2 * random.normal(size=rhythm.shape))[:, :, None].astype(
        np.float32
    ), labels


(train_inputs, train_labels), (test_inputs, test_labels) = (
    sequences(2000),
    sequences(500),
)

# %%
# Their characteristic frequency
# ------------------------------
# The angle at which the average power spectrum peaks. ``wcrnn data spectrum smnist`` prints that of a task of the
# paper.

spectrum = power_spectrum(
    ArrayTask(train_inputs, train_labels, test_inputs, test_labels)
)
angle = spectrum.attrs["characteristic_frequency"]
print(f"characteristic frequency {angle:.4f} = 2 pi / {2 * math.pi / angle:.4g}")
assert math.isclose(angle, 2 * math.pi / PERIOD)

# %%
# Three networks
# --------------
# All forget at the same rate, log 0.97 a step, and differ in how their residual turns: not at all, at the
# characteristic frequency, and at half of it.

angles = {"no rotation": None, "characteristic": angle, "half of it": angle / 2}
networks, curves = {}, {}
with tempfile.TemporaryDirectory() as folder:
    data = Path(folder) / "rhythm.npz"
    np.savez(
        data,
        train_inputs=train_inputs,
        train_targets=train_labels,
        test_inputs=test_inputs,
        test_targets=test_labels,
    )
    for name, phi in angles.items():
        config = TrainConfig(
            task="arrays",
            data=str(data),
            input_size=1,
            output_size=2,
            hidden_size=32,
            residual="scalar" if phi is None else "rotation",
            phi=phi,
            r=0.97,
            learning_rate=0.05,
            batch_size=64,
            epochs=4,
            evaluate_every=8,
        )
        curves[name] = train(config, Path(folder) / name)
        networks[name] = load_checkpoint(Path(folder) / name).model.double()
        print(f"{name}: best accuracy {curves[name].best_metric:.3f}")

# %%
# What the theory says, and what is measured
# ------------------------------------------
# `wcrnn_models.predict` gives the exponents for weak coupling, log \|eigenvalues of R\| (eq. 13 of the paper), and
# bounds that hold for the present weights and any input. A rotation does not change the exponents: it changes what is
# remembered, not for how long.

name = "characteristic"
predictions = predict(networks[name])
inputs = np.ascontiguousarray(test_inputs[:1].swapaxes(0, 1))  # (T, 1, 1)
measured = lyapkit.lyapunov_spectrum(networks[name], torch.from_numpy(inputs).double())

# %%
# Three plots
# -----------
# A: the power spectrum of the data. B: learning curves. C: the measured exponents of the network that rotates with
# the data, between the bounds (shaded), with the prediction (dashed).

with plt.style.context("lyapkit.plots.paper"):
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(7, 2.5))
    plots.power_spectrum(spectrum, ax=left)
    for (name, curve), style in zip(curves.items(), ("-", "--", ":"), strict=True):
        middle.plot(curve.iterations, curve.test_metrics, linestyle=style, label=name)
    middle.set_xlabel("training iteration")
    middle.set_ylabel("test accuracy")
    middle.legend(title="rotation", loc="center right")
    lyapkit.plots.lyapunov_spectrum(measured, ax=right)
    ranks = measured["exponent"].values
    right.fill_between(
        ranks,
        predictions.lower_bounds,
        predictions.upper_bounds,
        color="0.85",
        zorder=-1,
    )
    right.plot(ranks, predictions.exponents, color="black", linestyle="--")
    right.set_ylim(
        predictions.lower_bounds.min() - 0.002, predictions.upper_bounds.max() + 0.002
    )
    for letter, ax in zip("ABC", (left, middle, right), strict=True):
        ax.set_title(letter, fontweight="bold")

# %%
# Is it true?
# -----------

exponents = measured["lyapunov_exponent"].values[0]
print(f"predicted {predictions.rate:.5f}")
print(f"measured {exponents.max():.5f} down to {exponents.min():.5f}")
assert (predictions.lower_bounds <= exponents).all()
assert (exponents <= predictions.upper_bounds).all()
assert curves["characteristic"].best_metric > 0.95
assert max(curves["no rotation"].best_metric, curves["half of it"].best_metric) < 0.75
