"""Distance of the exponents of untrained networks from those of their residual, against the coupling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import linregress
from torch import Tensor

from figures.experiments.base import describe
from lyapkit import lyapunov_spectrum
from lyapkit.results import provenance
from wcrnn_models import WCRNN, predict, residuals
from wcrnn_models.analysis import exponent_rows
from wcrnn_models.models.predictions import Predictions
from wcrnn_models.models.residuals import ResidualSpec

STRENGTH = 0.8
"""Magnitude of the eigenvalues: so far below 1 that states stay small, also those of a defective residual, which are
about gamma / (1 - r)^2, and units do not saturate where the coupling is weak."""

CONDITION = 100.0
"""Ratio of the largest to the smallest scale of `non_normal`."""

WEAKEST, STRONGEST = 1e-4, 0.1

STRETCH = 10_000
"""Number of steps of a trajectory that are kept at a time."""

RATE = "nats per step"
_RESIDUAL = 1000  # added to seeds of residuals, so that they do not share random numbers with the weights

FITTED = 0.01
"""Largest coupling of the fits, that of section 4.1; above it, units saturate and the law bends."""


@dataclass(frozen=True)
class Effort:
    """Size of the simulations.

    Attributes:
        instances: Number of networks, and of input sequences, of each residual.
        units: Number of units N.
        couplings: Number of values of gamma.
        steps: Number of steps times gamma: the frame needs some 1/gamma steps to find directions whose exponents differ
            by O(gamma).
        fewest: Smallest number of steps.
    """

    instances: int
    units: int
    couplings: int
    steps: float
    fewest: int


EFFORT = Effort(3, 100, 7, steps=30, fewest=4000)
"""Effort of hours on one core."""


def non_normal(size: int, seed: int) -> ResidualSpec:
    """Make R = r S Q S^-1 with Q orthogonal and S a diagonal of scales between 1 and 1/`CONDITION`.

    Its eigenvalues are those of r Q, of magnitude r; its eigenvectors are those of Q times S, no longer orthogonal.
    """
    turned = residuals.orthogonal(STRENGTH, rng=_RESIDUAL + seed).build(size, dtype=torch.float64).matrix()
    scale = torch.logspace(0, -np.log10(CONDITION), size, dtype=torch.float64)
    return residuals.dense(scale[:, None] * turned / scale)


def defective(size: int) -> ResidualSpec:
    """Make R = r diag(J, J, ...) with Jordan blocks J = [[1, 1], [0, 1]], which have one eigenvector for two units."""
    block = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    return residuals.dense(STRENGTH * torch.kron(torch.eye(size // 2, dtype=torch.float64), block))


RESIDUALS: Mapping[str, Callable[[int, int], ResidualSpec]] = MappingProxyType(
    {
        "scalar": lambda size, seed: residuals.scalar(STRENGTH),
        "rotation": lambda size, seed: residuals.rotation(2 * np.pi / 28, STRENGTH),
        "orthogonal": lambda size, seed: residuals.orthogonal(STRENGTH, rng=_RESIDUAL + seed),
        "non-normal": non_normal,
        "defective": lambda size, seed: defective(size),
    }
)
"""Residuals by name, for N units and a seed. The first three are normal."""


def measure(runs: Path, *, progress: bool, effort: Effort = EFFORT) -> xr.DataTree:
    """Measure deviations of Lyapunov exponents from log |eigenvalues of R|, without any training.

    By eq. (12) the variational term is that of the residual up to O(gamma), so the exponents should deviate from eq.
    (13) by O(gamma). Measured are, on inputs uniform in [0, 1] as in the first component of the adding problem,

    - the largest deviation of any rank. With J_t = R + gamma D_t W, D_t = diag tanh', a simple eigenvalue l of R with
      eigenvectors v and w (left) moves by gamma w* D W v / w* v to first order. For a normal R, w = v, and the factor
      is at most |W|. Otherwise |w| |v| / |w* v|, the condition number of the eigenvalue, multiplies it; by Bauer and
      Fike (1960) an eigenvalue moves by no more than cond(V) gamma |W|, V the eigenvectors of R. Hence non-normal
      residuals deviate more, by up to that factor, and where V does not exist (a defective R) the law fails: a Jordan
      block of size 2 is split by O(sqrt(gamma)). Weyl's bounds (`predictions.bounds`) are of the same
      kind for normal residuals, at most log(1 + gamma |W| / r), but do not close for gamma -> 0 for others, since they
      know singular values only.
    - the mean over all ranks, which is the mean of log |det J_t| / N: cancellation leaves
      gamma tr(R^-1 <D_t> W) / N + O(gamma^2). The first-order term is computed along the same trajectory.
    - the rest of the mean without that term, which should be O(gamma^2).

    Each is fitted by a power of gamma, a line in log-log, for gamma up to `FITTED`.

    Args:
        runs: Not used.
        progress: Whether to show a bar for each spectrum.
        effort: Size of the simulations.

    Returns:
        A tree with one child of the same name, over ``residual``, ``seed``, ``coupling``: ``largest_deviation``,
        ``mean_deviation`` and their errors, ``first_order_mean``, ``largest_bound``, ``lyapunov_exponent``,
        ``standard_error`` and ``residual_log_magnitude`` by ``exponent``; and over ``residual``, ``seed``, ``law``
        the fitted ``slope`` with ``slope_error``, and ``eigenvector_condition`` of the residual.
    """
    couplings = np.geomspace(WEAKEST, STRONGEST, effort.couplings)
    of_residual = []
    for name in RESIDUALS:
        instances = []
        for seed in range(effort.instances):
            runs_of_one = [_spectrum(name, gamma, seed, effort, progress) for gamma in couplings]
            instance = _with_slopes(xr.concat(runs_of_one, xr.Variable("coupling", couplings)))
            instances.append(instance.assign(eigenvector_condition=eigenvector_condition(name, seed, effort.units)))
        of_residual.append(xr.concat(instances, xr.Variable("seed", np.arange(effort.instances))))
    dataset = xr.concat(of_residual, xr.Variable("residual", list(RESIDUALS)))
    dataset.coupling.attrs = {"long_name": "coupling", "units": "1"}
    settings = {"units": effort.units, "strength": STRENGTH, "fitted_up_to": FITTED}
    origin = provenance(settings, dtype=torch.float64, device=torch.device("cpu"))
    dataset.attrs = {"analysis": "coupling_law", **origin, **settings}
    tree = xr.DataTree.from_dict({"coupling_law": dataset})
    tree.attrs = describe("coupling_law", effort.instances)
    return tree


def build(name: str, gamma: float, seed: int, units: int) -> WCRNN:
    """Return the untrained network; its weights do not depend on gamma."""
    residual = RESIDUALS[name](units, seed)
    return WCRNN(1, units, 1, residual=residual, coupling=gamma, rng=seed, dtype=torch.float64)


def _spectrum(name: str, gamma: float, seed: int, effort: Effort, progress: bool) -> xr.Dataset:
    network = build(name, gamma, seed, effort.units)
    steps = max(effort.fewest, round(effort.steps / gamma))
    inputs = torch.from_numpy(np.random.default_rng(seed).random((steps, 1)))
    transient = steps // 3
    spectrum = lyapunov_spectrum(network, inputs, transient=transient, rng=seed, progress=progress)
    (_, _, _), (_, mean, mean_error), (_, _, _) = exponent_rows(xr.DataTree.from_dict({"lyapunov_spectrum": spectrum}))
    predictions = predict(network)
    assert predictions is not None
    exponent, error = (spectrum[each].values[0] for each in ("lyapunov_exponent", "standard_error"))
    deviation = exponent - predictions.exponents
    rank = int(np.abs(deviation).argmax())
    values = {
        "largest_deviation": abs(deviation[rank]),
        "largest_error": error[rank],
        "mean_deviation": mean - predictions.exponents.mean(),
        "mean_error": mean_error,
        "first_order_mean": first_order_mean(network, inputs, transient),
        "largest_bound": _largest_bound(predictions),
        "steps": steps - transient,
    }
    dataset = xr.Dataset(
        {key: xr.Variable((), value, {"units": "step" if key == "steps" else RATE}) for key, value in values.items()}
    )
    for key, each in (
        ("lyapunov_exponent", exponent),
        ("standard_error", error.astype(np.float32)),  # for a small file
        ("residual_log_magnitude", predictions.exponents),
    ):
        dataset[key] = xr.Variable(("exponent",), each, {"units": RATE})
    return dataset.assign_coords(exponent=np.arange(1, effort.units + 1))


@torch.no_grad()
def first_order_mean(network: WCRNN, inputs: Tensor, transient: int) -> float:
    """Return the first-order term gamma tr(R^-1 <D_t> W) / N of the mean deviation, <> the average over a trajectory.

    Args:
        network: Network of linear form with one coupling.
        inputs: Inputs s_t, shape (T, M).
        transient: Number of leading steps that do not count.
    """
    state, total = inputs.new_zeros(network.hidden_size), inputs.new_zeros(network.hidden_size)
    for step, stretch in enumerate(torch.split(inputs, STRETCH)):
        states = network.states(stretch, state)
        before = torch.cat((state[None], states[:-1]))
        state = states[-1]
        drive = network.recurrent(before) + network.input(stretch)  # u_t = W_xx x_t + b_xx + W_sx s_t + b_sx
        total += (1 - torch.tanh(drive) ** 2)[max(transient - step * STRETCH, 0) :].sum(dim=0)
    slope = total / (len(inputs) - transient)
    inverse = torch.linalg.inv(network.residual.matrix())
    trace = torch.einsum("ij,j,ji->", inverse, slope, network.recurrent.weight)
    return float(network.coupling * trace / network.hidden_size)


def eigenvector_condition(name: str, seed: int, units: int) -> float:
    """Return cond(V) of the matrix of unit eigenvectors; infinite up to rounding where there are too few of them."""
    matrix = RESIDUALS[name](units, seed).build(units, dtype=torch.float64).matrix().numpy()
    return float(np.linalg.cond(np.linalg.eig(matrix).eigenvectors))


def _largest_bound(predictions: Predictions) -> float:
    """Return a bound that no deviation of any rank can exceed; infinite where a Jacobian may be singular."""
    above = predictions.upper_bounds - predictions.exponents
    below = predictions.exponents - predictions.lower_bounds
    return float(max(above.max(), below.max()))


def _with_slopes(dataset: xr.Dataset) -> xr.Dataset:
    """Add the powers of gamma of the largest deviation, the mean, and the mean without its first-order term."""
    weak = dataset.sel(coupling=slice(None, FITTED * (1 + 1e-9)))
    laws = {
        "largest": weak.largest_deviation,
        "mean": weak.mean_deviation,
        "remainder": weak.mean_deviation - weak.first_order_mean,
    }
    fits = [power_law(weak.coupling.values, each.values) for each in laws.values()]
    dataset["slope"] = ("law", [slope for slope, _ in fits])
    dataset["slope_error"] = ("law", [error for _, error in fits])
    return dataset.assign_coords(law=list(laws))


def power_law(gamma: NDArray[np.float64], deviation: NDArray[np.float64]) -> tuple[float, float]:
    """Return the slope of log |deviation| against log gamma by least squares, and its standard error."""
    fit = linregress(np.log(gamma), np.log(np.abs(deviation)))
    return float(fit.slope), float(fit.stderr)
