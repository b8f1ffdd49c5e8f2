"""The average power spectrum of the sequences of a task, whose peak is its characteristic frequency (section 4.2)."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.results import provenance
from wcrnn_models.errors import UserError
from wcrnn_models.tasks.task import Task


def power_spectrum(task: Task, samples: int = 10_000) -> xr.Dataset:
    """Return the power spectrum of training inputs, averaged over samples, and the frequency where it peaks.

        P(phi_k) = mean over samples of sum over components of |sum_t s_t exp(-i phi_k t)|^2 / T,  phi_k = 2 pi k / T

    Frequency 0, the mean of a sequence, has no part in the peak. The characteristic frequency of sMNIST is
    2 pi / 28 = 0.224, that of its rows; rotational residuals of this angle learn it fastest (Fig. 4).

    Args:
        task: Where the sequences come from: its first training batches.
        samples: How many sequences, or all of one epoch if there are fewer.

    Returns:
        A Dataset over ``frequency`` (radians per step, from 0 to pi) with ``power``, the attribute
        ``characteristic_frequency``, and ``prominence``: peak over mean power without frequency 0, 1 for a flat
        spectrum.

    Raises:
        UserError: If ``samples`` is below 1, or the sequences are shorter than 2 steps or constant.

    Example:
        >>> import numpy as np
        >>> from wcrnn_models.tasks import ArrayTask, power_spectrum
        >>> waves = np.cos(2 * np.pi * np.outer(np.ones(8), np.arange(64)) / 16)
        >>> spectrum = power_spectrum(ArrayTask(waves, np.zeros(8, int), waves, np.zeros(8, int)))
        >>> round(spectrum.attrs["characteristic_frequency"] * 16 / (2 * np.pi), 6)
        1.0
    """
    if samples < 1:
        raise UserError(f"samples must be at least 1, got {samples}.")
    steps = task.sequence_length
    if steps < 2:
        raise UserError(f"a spectrum needs sequences of at least 2 steps, got {steps}.")
    total, count = torch.zeros(steps // 2 + 1, dtype=torch.float64), 0
    for iteration in range(task.iterations_per_epoch):
        inputs = task.train_batch(iteration)[0][:, : samples - count]
        total += _power(inputs)
        count += inputs.shape[1]
        if count >= samples:
            break
    power = (total / count).numpy()
    if not power[1:].any():
        raise UserError("the sequences are constant in time, so their spectrum has no peak.")
    peak = 1 + int(np.argmax(power[1:]))
    return xr.Dataset(
        {"power": xr.Variable(("frequency",), power, {"long_name": "average power", "units": "1"})},
        {
            "frequency": xr.Variable(
                ("frequency",),
                2 * math.pi * np.arange(power.size) / steps,
                {"long_name": "angular frequency", "units": "radians per step"},
            )
        },
        provenance({"samples": count}, dtype=torch.float64, device=torch.device("cpu"))
        | {
            "analysis": "power_spectrum",
            "task": task.name,
            "samples": count,
            "steps": steps,
            "characteristic_frequency": 2 * math.pi * peak / steps,
            "prominence": float(power[peak] / power[1:].mean()),
        },
    )


def characteristic_frequency(task: Task, samples: int = 10_000) -> float:
    """Return the peak of `power_spectrum` in radians per step: the angle for ``residuals.rotation``.

    Args:
        task: Where the sequences come from.
        samples: How many.

    Raises:
        UserError: If `power_spectrum` refuses the sequences.
    """
    return float(power_spectrum(task, samples).attrs["characteristic_frequency"])


def _power(inputs: Tensor) -> Tensor:
    """Sum over samples and components of |DFT|^2 / T: shape (T, B, M) to (T // 2 + 1,)."""
    transformed = torch.fft.rfft(inputs.double(), dim=0)
    power: Tensor = transformed.abs().square().sum(dim=(1, 2)) / len(inputs)
    return power
