"""Equations of the paper and its statements on data and untrained networks, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from figures.experiments.base import describe
from figures.experiments.curvature_over_time import RECURRENT, by_step
from figures.experiments.instances import over_grid, prepared
from figures.paper import CHARACTERISTIC_FREQUENCY, STRENGTH_CLASSES
from lyapkit import as_map, curvature_by_step, gradient_propagation, hessian_spectrum
from lyapkit.results import provenance
from wcrnn_models import WCRNN
from wcrnn_models.tasks import power_spectrum
from wcrnn_models.training.build import build_task
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.presets import preset

SEEDS = (0, 1, 2)
COUPLINGS = (1e-4, 1e-3, 1e-2, 1e-1)
ANGLES = tuple(step / 2 for step in range(9))
"""Angular frequencies of rotations, in multiples of the characteristic frequency."""

RATE = 0.1
"""Learning rate of the step that eq. (6) linearises."""

SHIFT = 1e-5
"""Shift of the weights along an eigenvector, each way, in the difference quotient of that step."""


@dataclass(frozen=True)
class Effort:
    """Size of the measurements.

    Attributes:
        samples: Number of sequences of the adding problem.
        images: Number of images of curvature over time and of gradients.
        subset: Number of images of each Hessian that is computed on three choices of images.
        spectrum: Number of images of each power spectrum.
    """

    samples: int
    images: int
    subset: int
    spectrum: int


EFFORT = Effort(samples=16, images=8, subset=24, spectrum=10_000)
"""Effort of minutes on one core."""


def measure(runs: Path, *, progress: bool, effort: Effort = EFFORT) -> xr.DataTree:
    """Measure three instances one after the other; nothing is trained or kept.

    Args:
        runs: Not used.
        progress: Whether to say what is being measured.
        effort: Size of the measurements.

    Returns:
        A tree with the children ``descent``, ``layers``, ``propagation``, ``weak_coupling``, ``gradients``,
        ``phases``, ``samples`` and ``spectra``: the results of the functions of these names, over ``seed`` or
        ``subset`` and the fields in which the networks differ.

    Raises:
        UserError: If the data set is missing.
    """
    strengths = ("r", STRENGTH_CLASSES)
    grids: dict[str, tuple[Callable[..., xr.Dataset], Sequence[tuple[str, Sequence[object]]]]] = {
        "descent": (lambda seed, r: descent(_adding(seed, r), effort.samples), (("seed", SEEDS), strengths)),
        "layers": (lambda seed, r: layers(_adding(seed, r), effort.samples), (("seed", SEEDS), strengths)),
        "propagation": (
            lambda seed, r: propagation(_adding(seed, r), effort.samples),
            (("seed", SEEDS), strengths),
        ),
        "weak_coupling": (
            lambda seed, r: weak_coupling(_image(seed=seed, r=r), effort.images),
            (("seed", SEEDS), strengths),
        ),
        "gradients": (
            lambda seed, coupling: gradients(_adding(seed, 0.995, coupling=coupling), effort.samples),
            (("seed", SEEDS), ("coupling", COUPLINGS)),
        ),
        "phases": (
            lambda seed, multiple: phases(
                _image(seed=seed, r=1.0, residual="rotation", phi=multiple * CHARACTERISTIC_FREQUENCY),
                effort.images,
            ),
            (("seed", SEEDS), ("multiple", ANGLES)),
        ),
        "samples": (
            lambda subset, r: samples(_image(seed=0, r=r), effort.subset, subset),
            (("subset", SEEDS), strengths),
        ),
        "spectra": (
            lambda task, subset: spectrum(task, effort.spectrum, subset),
            (("task", ("smnist", "psmnist")), ("subset", SEEDS)),
        ),
    }
    children = {}
    for name, (measured, axes) in grids.items():
        if progress:
            print(f"untrained: {name}", flush=True)
        children[name] = over_grid(measured, axes).assign_attrs(_attributes(name, effort))
    tree = xr.DataTree.from_dict(children)
    tree.attrs = describe("untrained", len(SEEDS))
    return tree


def descent(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure how far a step of gradient descent is from its linearisation, eq. (6).

    The weights are shifted by +-`SHIFT` along the leading eigenvector of the Hessian, and each is given one step of
    `torch.optim.SGD`. By eq. (6), the difference of the weights after the step is (1 - eta lambda) times that before
    it.

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``eigenvalue``, and ``error``, the 2-norm of the deviation divided by max(1, |1 - eta lambda|).
    """
    network, inputs, targets, loss = prepared(config, count)
    found = hessian_spectrum(network, (inputs, targets), loss, k=1, eigenvectors=True, rng=0)
    vector = torch.tensor(found.eigenvector.isel(rank=0).values)
    start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    ends = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * SHIFT * vector, network.parameters())
        optimiser = torch.optim.SGD(network.parameters(), lr=RATE)
        optimiser.zero_grad()
        loss(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        ends.append(torch.nn.utils.parameters_to_vector(network.parameters()).detach())
    factor = 1 - RATE * float(found.eigenvalue[0])
    deviation = (ends[0] - ends[1]) / (2 * SHIFT) - factor * vector
    return xr.Dataset(
        {"eigenvalue": found.eigenvalue[0].item(), "error": float(deviation.norm()) / max(1, abs(factor))}
    )


def layers(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure how well the contributions of the steps sum to the second term of eq. (7), eq. (9).

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``error``, the deviation of the sum of all contributions from the leading eigenvalue of that term for the
        recurrent parameters, relative to it; ``printed``, the sum of those that eq. (9) prints, divided by it.
    """
    network, inputs, targets, loss = prepared(config, count)
    found = curvature_by_step(network, (inputs, targets), loss, k=1, operator="residual", parameters=RECURRENT, rng=0)
    found = found.isel(rank=0)
    total = float(found.layer_curvature.sum() + found.readout_layer_curvature)
    eigenvalue = float(found.eigenvalue)
    printed = float(found.layer_state_curvature.sum())
    return xr.Dataset({"error": abs(total / eigenvalue - 1), "printed": printed / eigenvalue})


def propagation(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure how far gradients through time are from products of Jacobians, eq. (10).

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``error``, the largest relative deviation of the 2-norm of dL/dx_t, by PyTorch's own backpropagation, from that
        of the product of the Jacobians of all later steps, transposed, with the gradient of the last state.
    """
    network, inputs, targets, loss = prepared(config, count)
    map = as_map(network)

    def advance(state: Tensor, drive: Tensor) -> Tensor:
        """Return the next state of one sequence."""
        return map.step(state[None], drive[None])[0]

    states = [torch.zeros(count, network.hidden_size, dtype=torch.float64, requires_grad=True)]
    for drive in inputs:
        states.append(map.step(states[-1], drive))
    measured = torch.autograd.grad(loss(network.readout(states[-1]), targets), states[1:])
    error, expected = 0.0, measured[-1]
    for step in range(len(inputs) - 1, 0, -1):
        jacobian = torch.func.vmap(torch.func.jacrev(advance))(states[step].detach(), inputs[step])
        expected = torch.einsum("bij,bi->bj", jacobian, expected)
        norms = measured[step - 1].norm(dim=-1), expected.norm(dim=-1)
        error = max(error, float((norms[0] / norms[1] - 1).detach().abs().max()))
    return xr.Dataset({"error": error})


def weak_coupling(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure the share of eq. (14) in the leading curvature of the Gauss-Newton matrix of the recurrent parameters.

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``share``, the curvature by eq. (14) divided by the measured one, along the leading eigenvector.
    """
    found = by_step(config, count).isel(rank=0)
    return xr.Dataset({"share": float(found.weak_coupling_curvature.sum() / found.curvature)})


def gradients(config: TrainConfig, count: int) -> xr.Dataset:
    """Return the ``norm`` of the gradient of the loss with respect to the recurrent parameters (section 4.1).

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.
    """
    network, inputs, targets, loss = prepared(config, count)
    weights = [*network.recurrent.parameters(), *network.input.parameters()]
    found = torch.autograd.grad(loss(network(inputs), targets), weights)
    return xr.Dataset({"norm": float(torch.cat([each.flatten() for each in found]).norm())})


def phases(config: TrainConfig, count: int) -> xr.Dataset:
    """Measure how well the steps agree on the gradient of the input weights (section 4.2, Fig. B.4B).

    Args:
        config: Configuration of the untrained network.
        count: Number of test samples.

    Returns:
        ``coherence``, the norm of the sum of the contributions of all steps, divided by the sum of their norms: 1 where
        all point the same way, 0 where they cancel.
    """
    network, inputs, targets, loss = prepared(config, count)
    found = gradient_propagation(network, inputs, targets, loss, exponent=False, parameter_gradients=True, rng=0)
    found = found.sel(parameter_tensor="input.weight")
    total = np.exp(float(found.log_total_gradient_norm))
    return xr.Dataset({"coherence": float(total / np.exp(found.log_parameter_gradient_norm).sum())})


def samples(config: TrainConfig, count: int, subset: int) -> xr.Dataset:
    """Return the largest eigenvalue of the Hessian of the recurrent weights on a subset of the test set.

    Args:
        config: Configuration of the untrained network.
        count: Number of images in a subset.
        subset: Number of the subset, of the disjoint ones of a random order.
    """
    network, inputs, targets, loss = prepared(config, count, subset)
    found = hessian_spectrum(network, (inputs, targets), loss, k=1, parameters=WCRNN.recurrent_parameters, rng=0)
    return xr.Dataset({"largest": abs(float(found.eigenvalue[0]))})


def spectrum(task: str, count: int, subset: int) -> xr.Dataset:
    """Return ``characteristic_frequency`` and ``prominence`` of the mean power spectrum of training images.

    Args:
        task: Either ``"smnist"`` or ``"psmnist"``.
        count: Number of images.
        subset: Number of the random subset: the first images of a training with this seed.
    """
    found = power_spectrum(build_task(TrainConfig(task=task, seed=subset)), count)  # type: ignore[arg-type]
    return xr.Dataset({name: found.attrs[name] for name in ("characteristic_frequency", "prominence")})


def _attributes(name: str, effort: Effort) -> dict[str, object]:
    return provenance(asdict(effort), dtype=torch.float64, device=torch.device("cpu")) | {"analysis": name}


def _adding(seed: int, r: float, **fields: object) -> TrainConfig:
    return preset("add100", learning_rate=RATE, loss="mse", seed=seed, r=r, **fields)


def _image(**fields: object) -> TrainConfig:
    return preset("smnist", learning_rate=RATE, **fields)
