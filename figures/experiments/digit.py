"""States and terms of a trained network that is shown one digit: Fig. 1."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from figures.experiments.base import describe, train_all
from lyapkit.results import provenance
from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.sweeps.layout import read_result, run_name
from wcrnn_models.tasks import SequentialMNIST
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset
from wcrnn_models.training.saved import load_checkpoint

SAMPLE = 0
"""Number of the digit in the test set: the first."""

SHOWN_UNITS = 6
"""Number of units whose states are kept, evenly spaced."""

FROM_STEP = 14 * 28
"""Step from which on the first step of the brightest pixel is looked at, the middle of the image."""


CONFIG = preset("smnist", r=0.995, learning_rate=0.02, epochs=2, test_size=2000, evaluate_every=50)
"""Configuration of the network, a weakly subcritical one."""


def measure(runs: Path, *, progress: bool, config: TrainConfig = CONFIG) -> xr.DataTree:
    """Measure states, terms of eq. (11) and class probabilities of a network that is shown a digit.

    The digit itself is not part of the result, only its number in the test set.

    Args:
        runs: Folder of the trainings; an existing one is not repeated.
        progress: Whether to show a table of the run.
        config: Configuration of the network.

    Returns:
        A tree with the child ``digit``, the result of `pass_through`.

    Raises:
        UserError: If the training failed, or MNIST is missing.
    """
    train_all([config], runs, progress=progress)
    run = runs / run_name(config)
    result = read_result(run)
    assert result is not None  # it has ended
    checkpoint = load_checkpoint(run / result.checkpoints["final"])
    assert isinstance(checkpoint.model, WCRNN)
    inputs, labels = SequentialMNIST(dtype=torch.float64).test_samples(torch.tensor([SAMPLE]))
    dataset = pass_through(checkpoint.model.double(), inputs[:, 0], FROM_STEP)
    dataset.attrs = provenance(
        asdict(config), dtype=torch.float64, device=torch.device("cpu"), checkpoint_sha256=checkpoint.sha256
    )
    dataset.attrs |= {"sample": SAMPLE, "label": int(labels[0]), "iteration": checkpoint.iteration}
    tree = xr.DataTree.from_dict({"digit": dataset})
    tree.attrs = describe("digit", 1)
    return tree


@torch.no_grad()
def pass_through(model: WCRNN, inputs: torch.Tensor, from_step: int) -> xr.Dataset:
    """Return the states and terms of a network that reads one sequence.

    Args:
        model: A network with a linear residual, eq. (11), of classes.
        inputs: Inputs s_1, ..., s_D, shape (D, 1), of the network's type.
        from_step: Step from which to look for the largest input, counted from 0.

    Returns:
        ``state`` (step, unit): x_t for t = 1, ..., D + 1, of evenly spaced units; ``marked_step``, the step t of the
        largest input; ``residual_term``, ``coupled_term`` and ``next_state`` (unit), the terms and the sum of
        x_{t+1} = R x_t + gamma tanh(W x_t + S_t) there; and ``probability`` (class), the softmax of the readout of
        x_{D+1}.
    """
    states = torch.cat([torch.zeros(1, model.hidden_size, dtype=inputs.dtype), model.states(inputs)])
    marked = from_step + int(inputs[from_step:, 0].argmax())
    before, after = states[marked], states[marked + 1]
    residual_term = model.residual(before)
    coupled_term = model.coupling * torch.tanh(model.recurrent(before) + model.input(inputs[marked]))
    probability = torch.softmax(model.readout(states[-1]), dim=0)
    count = min(SHOWN_UNITS, model.hidden_size)
    units = np.linspace(0, model.hidden_size - 1, count).round().astype(int)
    terms = {"residual_term": residual_term, "coupled_term": coupled_term, "next_state": after}
    return xr.Dataset(
        {
            "state": (("step", "unit"), states[:, units].numpy(), {"long_name": "network state", "units": "1"}),
            **{name: ("unit", values[units].numpy(), {"units": "1"}) for name, values in terms.items()},
            "probability": ("class", probability.numpy(), {"long_name": "class probability", "units": "1"}),
            "marked_step": ((), marked + 1, {"long_name": "time step of the terms", "units": "step"}),
        },
        {
            "step": ("step", np.arange(1, len(states) + 1), {"long_name": "time step"}),
            "unit": ("unit", units + 1, {"long_name": "number of the unit, from 1"}),
            "class": ("class", np.arange(len(probability)), {"long_name": "class"}),
        },
    )
