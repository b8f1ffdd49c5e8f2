"""The theory of weakly coupled networks as assertions: bounds of exponents, and the O(gamma) law."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from lyapkit import lyapunov_spectrum
from lyapkit.checks.named_arguments import named_arguments
from lyapkit.testing.tables import network_in_words, table
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.models.predictions import Predictions, predict
from wcrnn_models.models.wcrnn import WCRNN

COUPLINGS = (0.04, 0.02, 0.01)
"""From where second-order terms are small on down to a hundredth, as in the paper."""


@named_arguments()
def assert_exponents_bounded(
    network: RecurrentNetwork,
    inputs: Any,
    *,
    k: int | None = None,
    initial_state: torch.Tensor | None = None,
    lengths: Any = None,
    rng: torch.Generator | int | None = 0,
) -> xr.Dataset:
    r"""Assert that the exponents of a network keep to their rigorous bounds, by rank.

    The bounds are those of `wcrnn_models.predict`. With the singular values :math:`\sigma_i` of R and the reach
    :math:`\kappa = \|\mathrm{diag}(\gamma) W_{xx}\|_2`,

    .. math::
        \frac{1}{N - k + 1} \sum_{i \ge k} \log(\sigma_i - \kappa) \le \lambda_k
        \le \frac{1}{k} \sum_{i \le k} \log(\sigma_i + \kappa)

    for any input, any weights and any number of steps. It is a theorem about the steps that were made, so nothing but
    rounding is allowed for: a few eps times the condition number of a step, per unit. The frame is decomposed at every
    step.

    Args:
        network: A network that `wcrnn_models.predict` has bounds for: a `WCRNN` or a `baselines.ResidualElman`.
        inputs: Of shape (T, M) or (T, B, M), or a PackedSequence.
        k: Number of leading exponents, all by default. Lower bounds hold for all of them only.
        initial_state: As for `lyapkit.lyapunov_spectrum`.
        lengths: As for `lyapkit.lyapunov_spectrum`.
        rng: Generator or seed of the frame where k < N.

    Returns:
        The Dataset of the run.

    Raises:
        AssertionError: If an exponent is out of its bounds. The message is a table of exponents, errors and bounds.
        TypeError: If the theory has no bounds for such a network.

    Example:
        >>> import torch
        >>> from wcrnn_models import WCRNN, residuals
        >>> from wcrnn_models.testing import assert_exponents_bounded
        >>> network = WCRNN(1, 4, 1, residual=residuals.scalar(0.9), coupling=0.01, rng=0, dtype=torch.float64)
        >>> run = assert_exponents_bounded(network, 100 * torch.randn(50, 1).double())
    """
    predictions = predict(network) if isinstance(network, RecurrentNetwork) else None
    if predictions is None or bool(np.isposinf(predictions.upper_bounds).all()):
        raise TypeError(
            f"the theory has no bounds for the exponents of {type(network).__name__}; give a WCRNN or a ResidualElman."
        )
    run = lyapunov_spectrum(network, inputs, k=k, initial_state=initial_state, lengths=lengths, rng=rng, qr_interval=1)
    found, count = run["lyapunov_exponent"].values, run.sizes["exponent"]
    lower, upper = _widened(predictions, np.finfo(run.attrs["dtype"]).eps)
    lower, upper = lower[:count], upper[:count]
    if count < len(predictions.lower_bounds):
        lower = np.full(count, -np.inf)
    outside = (found < lower) | (found > upper)
    if outside.any():
        error = run["standard_error"].values
        rows = [
            (trajectory, rank + 1, float(found[trajectory, rank]), f"{error[trajectory, rank]:.2g}",
             float(lower[rank]), float(upper[rank]), "outside" if outside[trajectory, rank] else "")
            for trajectory, rank in sorted(np.ndindex(found.shape), key=lambda place: (not outside[place], place))
        ]  # fmt: skip
        header = ("trajectory", "exponent", "found", "error", "lower bound", "upper bound", "")
        raise AssertionError(
            f"{int(outside.sum())} of {found.size} exponents of {network_in_words(network)} are out of their bounds, "
            f"in nats per step over {int(run['last_step'].max())} steps:\n{table(header, rows)}."
        )
    return run


@named_arguments()
def assert_scaling(
    network: WCRNN,
    inputs: Any,
    couplings: Sequence[float] = COUPLINGS,
    *,
    transient: int | None = None,
    tolerance: float = 0.25,
) -> xr.Dataset:
    r"""Assert the O(gamma) law: exponents approach log|eigenvalues of R| in proportion to the coupling.

    The same network, with the same weights and inputs, is run with every coupling. The largest distance

    .. math:: d(\gamma) = \max_i |\lambda_i(\gamma) - \log|\mu_i(R)||

    has to fall like :math:`\gamma^p` with p of at least 1 - ``tolerance``; p is the slope of a straight line through
    log d against log gamma. A distance that is rounding only counts as 0.

    The law is one of runs that have settled. A residual with a non-normal basis and complex pairs adds a distance of
    the order 1/steps, which does not shrink. A defective residual keeps to :math:`\gamma^{1/m}` with the multiplicity
    m, so it fails, rightly.

    Args:
        network: The network. It is copied; its own coupling does not count, but couplings of single units keep their
            ratios, and ``couplings`` are then the largest.
        inputs: Of shape (T, M) or (T, B, M).
        couplings: At least two values of gamma.
        transient: Steps that settle state and frame and are not counted; half of the steps by default. Without them the
            frame adds a distance that grows as gamma shrinks.
        tolerance: How much the order may fall short of 1.

    Returns:
        A Dataset over ``coupling`` with ``distance``, ``lyapunov_exponent`` and ``standard_error``, and p as the
        attribute ``order``.

    Raises:
        AssertionError: If the distance falls more slowly. The message is a table of couplings, distances, and the
            exponents that are farthest away, with their errors.
        TypeError: If the network is no `WCRNN`.
        ValueError: If there are fewer than two couplings, one is not positive, or R has the eigenvalue 0.

    Example:
        >>> import torch
        >>> from wcrnn_models import WCRNN, residuals
        >>> from wcrnn_models.testing import assert_scaling
        >>> network = WCRNN(1, 4, 1, residual=residuals.scalar(0.9), rng=0, dtype=torch.float64)
        >>> run = assert_scaling(network, torch.randn(400, 1, generator=torch.Generator().manual_seed(0)).double())
        >>> run.attrs["order"] > 0.9
        True
    """
    if not isinstance(network, WCRNN):
        raise TypeError(f"assert_scaling takes a WCRNN, got {type(network).__name__}.")
    if len(set(couplings)) < 2 or not all(0 < coupling < math.inf for coupling in couplings):
        raise ValueError(f"couplings must be at least two different positive numbers, got {list(couplings)}.")
    expected = network.residual.log_magnitudes().cpu().numpy()
    if np.isneginf(expected).any():
        raise ValueError(
            "the residual has the eigenvalue 0, whose logarithm is -inf: no exponent approaches it in proportion to "
            "the coupling. Test the other exponents with lyapkit.testing.assert_exponents."
        )
    runs = []
    for coupling in couplings:
        settled = len(inputs) // 2 if transient is None else transient
        runs.append(lyapunov_spectrum(_coupled(network, coupling), inputs, transient=settled))
    found = np.stack([run["lyapunov_exponent"].values for run in runs])  # (coupling, trajectory, exponent)
    distance = np.abs(found - expected)
    largest = distance.max(axis=(1, 2))
    rounding = 64 * len(expected) * np.finfo(runs[0].attrs["dtype"]).eps
    logs = np.log(np.maximum(largest, rounding))
    order = float(np.polyfit(np.log(couplings), logs, 1)[0])
    if (largest > rounding).any() and order < 1 - tolerance:
        rows = []
        for number, (coupling, run) in enumerate(zip(couplings, runs, strict=True)):
            trajectory, rank = np.unravel_index(int(distance[number].argmax()), distance[number].shape)
            error = float(run["standard_error"].values[trajectory, rank])
            rows.append(
                (coupling, float(largest[number]), float(largest[number] / coupling), trajectory, rank + 1,
                 float(found[number, trajectory, rank]), f"{error:.2g}", float(expected[rank]))
            )  # fmt: skip
        header = (
            "coupling", "distance", "distance/coupling", "trajectory", "exponent", "found", "error", "log|eigenvalue|"
        )  # fmt: skip
        raise AssertionError(
            f"exponents of {network_in_words(network)} approach log|eigenvalues of the residual| like coupling^"
            f"{order:.2f}, more slowly than coupling^{1 - tolerance:g}, in nats per step:\n{table(header, rows)}\n"
            "If distances stay the same, the run may not have settled: lengthen it."
        )
    dims = ("coupling", "trajectory", "exponent")
    errors = np.stack([run["standard_error"].values for run in runs])
    units = {"units": "nats per step"}
    return xr.Dataset(
        {
            "distance": xr.Variable(("coupling",), largest, {"long_name": "largest distance of an exponent", **units}),
            "lyapunov_exponent": xr.Variable(dims, found, {"long_name": "Lyapunov exponent", **units}),
            "standard_error": xr.Variable(dims, errors, {"long_name": "standard error of the exponent", **units}),
        },
        {"coupling": xr.Variable(("coupling",), np.asarray(couplings, dtype=np.float64), {"long_name": "coupling"})},
        {"order": order},
    )


def _widened(predictions: Predictions, eps: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lower and upper bounds, moved apart by what rounding of the steps may do to the singular values.

    Rounding moves every singular value by a few eps times the largest. The logarithm of the smallest of N ranks is
    most sensitive to it.
    """
    lower, upper = predictions.lower_bounds, predictions.upper_bounds
    scale, rank = 64 * len(upper) * eps, np.arange(1, len(upper) + 1)
    bounded = np.isfinite(upper)
    with np.errstate(invalid="ignore", over="ignore"):
        each = np.diff(rank * upper, prepend=0.0)  # log(sigma_i + kappa), descending
        above = scale * np.cumsum(np.exp(upper[0] - each)) / rank
        below = scale * np.exp(upper[0] - lower[-1]) if np.isfinite(lower[-1]) else 0.0
    return lower - below, upper + np.where(bounded, above, 0.0)


def _coupled(network: WCRNN, coupling: float) -> WCRNN:
    """Return a copy of a network with another coupling."""
    copied = copy.deepcopy(network)
    own = copied.coupling
    if own.ndim and not bool(own.any()):
        raise ValueError("the couplings of all units are 0, so that their ratios are unknown; give others.")
    with torch.no_grad():
        own.copy_(own / own.max() * coupling if own.ndim else torch.as_tensor(coupling))
    return copied
