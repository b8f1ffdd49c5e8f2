"""Exponents, gradients and curvature of untrained networks against r, over many instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from figures.experiments.base import describe
from figures.experiments.instances import exponent_bounds, over_grid, prepared
from figures.paper import STRENGTH_CLASSES
from lyapkit import gradient_propagation, hessian_spectrum, lyapunov_spectrum
from lyapkit.results import provenance
from wcrnn_models import WCRNN
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset

TASKS = ("smnist", "psmnist", "add100")
STRENGTHS = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.0025, 1.01)
"""Residual strengths r."""

RATE = 0.1
"""Learning rate of the configurations; nothing is trained."""


@dataclass(frozen=True)
class Effort:
    """Size of the measurements.

    Attributes:
        instances: Number of network instances.
        samples: Number of test samples of gradients and Hessians.
        eigenvalues: Number of leading eigenvalues of each Hessian.
    """

    instances: int
    samples: int
    eigenvalues: int


EFFORT = Effort(instances=10, samples=64, eigenvalues=20)
"""Effort of an hour on one core."""


def measure(runs: Path, *, progress: bool, effort: Effort = EFFORT) -> xr.DataTree:
    """Measure several instances one after the other; nothing is trained or kept.

    Args:
        runs: Not used.
        progress: Whether to say what is being measured.
        effort: Size of the measurements.

    Returns:
        A tree with the children ``exponents`` (task, seed, r), ``gradients`` and ``curvature`` (seed, r): the results
        of the functions of these names.

    Raises:
        UserError: If the data set is missing.
    """
    seeds, classes = ("seed", range(effort.instances)), ("r", STRENGTH_CLASSES)
    grids: dict[str, tuple[Callable[..., xr.Dataset], Sequence[tuple[str, Sequence[object]]]]] = {
        "exponents": (
            lambda task, seed, r: exponents(_config(task, seed, r)),
            (("task", TASKS), seeds, ("r", STRENGTHS)),
        ),
        "gradients": (
            lambda seed, r: gradients(_config("smnist", seed, r), effort.samples),
            (seeds, classes),
        ),
        "curvature": (
            lambda seed, r: curvature(_config("smnist", seed, r), effort.samples, effort.eigenvalues),
            (seeds, classes),
        ),
    }
    children = {}
    for name, (measured, axes) in grids.items():
        if progress:
            print(f"initial_dynamics: {name}", flush=True)
        origin = provenance(asdict(effort), dtype=torch.float64, device=torch.device("cpu"))
        children[name] = over_grid(measured, axes).assign_attrs(origin | {"analysis": name})
    tree = xr.DataTree.from_dict(children)
    tree.attrs = describe("initial_dynamics", effort.instances)
    return tree


def exponents(config: TrainConfig) -> xr.Dataset:
    """Measure all Lyapunov exponents of an untrained network along a test sequence.

    Args:
        config: Configuration of the network.

    Returns:
        ``mean``, ``smallest`` and ``largest`` of the exponents in nats per step; ``lower_bound`` and ``upper_bound``,
        which no exponent of this network can leave, whatever the input.
    """
    network, inputs, _, _ = prepared(config, 1)
    found = lyapunov_spectrum(network, inputs).lyapunov_exponent.values
    lower, upper = exponent_bounds(config)
    return xr.Dataset(
        {
            "mean": found.mean(),
            "smallest": found.min(),
            "largest": found.max(),
            "lower_bound": lower,
            "upper_bound": upper,
        }
    )


def gradients(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure the rate at which gradients grow back in time, eq. (15), beside the leading exponent.

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``rate`` of the L-infinity norm and ``leading_exponent`` in nats per step, means over the samples that have a
        gradient; and ``share`` of these samples. The cross-entropy of a sample has no gradient where rounding makes
        the probability of the right class 1.
    """
    network, inputs, targets, loss = prepared(config, count)
    found = gradient_propagation(network, inputs, targets, loss, rng=0).sel(norm="inf")
    has = np.isfinite(found.growth_rate)
    return xr.Dataset(
        {
            "rate": float(found.growth_rate.where(has).mean()),
            "leading_exponent": float(found.leading_exponent.where(has).mean()),
            "share": float(has.mean()),
        }
    )


def curvature(config: TrainConfig, count: int, eigenvalues: int) -> xr.Dataset:
    """Return the ``largest`` and the ``median`` of the leading |eigenvalues| of the Hessian of the recurrent weights.

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.
        eigenvalues: Number of leading eigenvalues.
    """
    network, inputs, targets, loss = prepared(config, count)
    found = hessian_spectrum(
        network, (inputs, targets), loss, k=eigenvalues, parameters=WCRNN.recurrent_parameters, tolerance=1e-3, rng=0
    )
    magnitude = np.abs(found.eigenvalue.values)
    return xr.Dataset({"largest": magnitude.max(), "median": np.median(magnitude)})


def _config(task: str, seed: int, r: float) -> TrainConfig:
    return preset(task, learning_rate=RATE, seed=seed, r=r)
