"""Predictions of the theory about a network before it is measured: the one source for analyses, tables and plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from wcrnn_models.models.baselines import S4D, ResidualElman
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.models.residuals import Residual
from wcrnn_models.models.wcrnn import WCRNN

Regime = Literal["subcritical", "critical", "supercritical"]


@dataclass(frozen=True)
class Predictions:
    """Exponents, their bounds, and how gradients and curvature are distributed over time.

    Attributes:
        exponents: Log |eigenvalues of R|, which eq. (13) predicts the Lyapunov exponents to be in the limit of weak
            coupling, in nats per step, descending, shape (N,). Exact for `S4D`, whose memory is linear.
        lower_bounds: No exponent of that rank of a full spectrum lies below, for any input and any number of steps,
            see `bounds`.
        upper_bounds: No exponent of that rank lies above, also where only the leading ones are computed.
        regime: Subcritical, critical or supercritical, by the largest |eigenvalue of R| (section 3); with a
            nonlinear residual the class is less strict (section 4.4).
    """

    exponents: NDArray[np.float64]
    lower_bounds: NDArray[np.float64]
    upper_bounds: NDArray[np.float64]
    regime: Regime

    @property
    def rate(self) -> float:
        """The largest exponent, at which gradients grow back in time (eq. 15)."""
        return float(self.exponents[0])

    def gradient_norm(self, last_norm: ArrayLike, steps_back: ArrayLike) -> NDArray[np.float64]:
        """Predict |dL/dx_t| = |(R^T)^(D-t) dL/dx_D|, about |lambda_max|^(D-t) |dL/dx_D|, by eq. (15).

        The error is O(gamma) for each step back, and compounds: see `carried_back`.

        Exact in the Euclidean norm for residuals that scale every vector alike, as r I and r times a rotation do;
        otherwise the rate of the slowest direction. `carried_back` has the whole vectors.

        Args:
            last_norm: The norm |dL/dx_D|.
            steps_back: D - t, of the same shape or one that fits.
        """
        return np.asarray(last_norm) * np.exp(self.rate * np.asarray(steps_back, dtype=np.float64))

    def curvature_weight(self, steps_back: ArrayLike, other_steps_back: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the factor |lambda_max|^((D-k) + (D-m)) of eq. (14) that steps k and m carry in the Hessian.

        The weak coupling changes it by a factor of up to (1 + kappa/|lambda_max|)^((D-k) + (D-m)), with kappa as in
        `carried_back`, which need not be near 1.

        Args:
            steps_back: D - k.
            other_steps_back: D - m; D - k by default, the weight of a step with itself.
        """
        back = np.asarray(steps_back, dtype=np.float64)
        total = back + (back if other_steps_back is None else np.asarray(other_steps_back, dtype=np.float64))
        weight: NDArray[np.float64] = np.exp(self.rate * total)
        return weight

    def to_dataset(self) -> xr.Dataset:
        """Return the predictions as a Dataset over ``exponent``, to be written beside measured exponents."""
        texts = {
            "residual_log_magnitude": (self.exponents, "log |eigenvalue of R|"),
            "exponent_lower_bound": (self.lower_bounds, "lower bound of the Lyapunov exponent"),
            "exponent_upper_bound": (self.upper_bounds, "upper bound of the Lyapunov exponent"),
        }
        rank = np.arange(1, self.exponents.size + 1)
        return xr.Dataset(
            {
                name: xr.Variable(("exponent",), values, {"long_name": text, "units": "nats per step"})
                for name, (values, text) in texts.items()
            },
            {"exponent": xr.Variable(("exponent",), rank, {"long_name": "rank of a Lyapunov exponent, from 1"})},
            {"regime": self.regime},
        )

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> Predictions:
        """Return the predictions that `to_dataset` wrote, also after a file was read.

        Args:
            ds: A Dataset with its variables and attribute, others may be among them.

        Raises:
            ValueError: If one is missing.
        """
        names = ("residual_log_magnitude", "exponent_lower_bound", "exponent_upper_bound")
        missing = [name for name in names if name not in ds]
        if missing or ds.attrs.get("regime") not in get_args(Regime):
            raise ValueError(f"the Dataset holds no predictions: it lacks {', '.join(missing) or 'a known regime'}.")
        exponents, lower, upper = (np.asarray(ds[name].values, dtype=np.float64) for name in names)
        return cls(exponents, lower, upper, ds.attrs["regime"])


def predict(network: RecurrentNetwork) -> Predictions | None:
    """Return the predictions for a network with its present weights, computed in float64.

    Args:
        network: Any network.

    Returns:
        None for gated networks (LSTM, UR-LSTM), of which the theory says nothing.

    Example:
        >>> from wcrnn_models import WCRNN, predict, residuals
        >>> predictions = predict(WCRNN(1, 4, 1, residual=residuals.scalar(0.9), coupling=0.01, rng=0))
        >>> predictions.regime, round(predictions.rate, 4)
        ('subcritical', -0.1054)
        >>> bool((predictions.upper_bounds < 0).all())  # not even the coupling can make it chaotic
        True
    """
    if isinstance(network, WCRNN):
        return _of_residual(network)
    if isinstance(network, ResidualElman):
        size = network.hidden_size
        weight = _exact(network.recurrent.weight)
        lower, upper = bounds(torch.ones(size, dtype=torch.float64), _norm(weight))
        return Predictions(np.zeros(size), lower.numpy(), upper.numpy(), "critical")
    if isinstance(network, S4D):
        exponents = network.exponents().cpu().numpy()
        unknown = np.full(exponents.size, np.inf)  # layers feed each other, so finite-time exponents have no bound
        return Predictions(exponents, -unknown, unknown, "subcritical")
    return None


def bounds(singular_values: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Compute bounds of the Lyapunov exponents of any product of matrices J_t with |J_t - R| <= reach.

    By Weyl's inequality sigma_i(J_t) lies within sigma_i(R) -+ reach. Singular values of a product are log-majorised by
    the products of singular values (Horn), and eigenvalues by singular values (Weyl), so the k largest exponents that
    a QR method finds with the full frame sum to at most sum_{i<=k} log(sigma_i(R) + reach), after any number of steps.
    Hence

        (1/(N-k+1)) sum_{i>=k} log(sigma_i - reach)  <=  exponent_k  <=  (1/k) sum_{i<=k} log(sigma_i + reach).

    Args:
        singular_values: Of R, float64, shape (N,), in any order.
        reach: A bound of the spectral norm of every J_t - R; for eq. (11) it is |diag(gamma) W_xx|, as |tanh'| <= 1.

    Returns:
        Lower and upper bounds, shape (N,), descending; -inf where J_t may be singular.

    Raises:
        ValueError: If ``reach`` is negative or not a number.

    Example:
        >>> low, high = bounds(torch.tensor([1.0, 0.5], dtype=torch.float64), 0.0)
        >>> high.exp().round(decimals=4).tolist()  # the second exponent is at most half of the sum
        [1.0, 0.7071]
    """
    if not reach >= 0:
        raise ValueError(f"reach must be at least 0, got {reach}.")
    values = singular_values.sort(descending=True).values
    count = torch.arange(1, len(values) + 1, dtype=values.dtype, device=values.device)
    upper = (values + reach).log().cumsum(0) / count
    smallest = (values - reach).clamp(min=0).log().flip(0)  # log 0 = -inf
    return (smallest.cumsum(0) / count).flip(0), upper


def carried_back(residual: Residual, gradient: Tensor, steps: int) -> Tensor:
    """Carry whole vectors back by eq. (15): dL/dx_t = (R^T)^(D-t) dL/dx_D + O(gamma).

    As printed, eq. (15) has the gradient at f^t on both sides; the one on the right is meant to be that at f^D.
    O(gamma) is for a fixed number of steps: with kappa = |diag(gamma) W_xx|, the product of the Jacobians of D - t
    steps deviates from the power of R by up to (|R| + kappa)^(D-t) - |R|^(D-t), which exceeds |R|^(D-t) itself once
    (D - t) kappa exceeds about 0.7 |R|.

    Args:
        residual: R.
        gradient: The gradient dL/dx_D, shape (..., N).
        steps: How many steps back to go.

    Returns:
        For D - t = 0, ..., steps, float64, shape (steps + 1, ..., N).

    Raises:
        ValueError: If ``steps`` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}.")
    matrix, vectors = _exact(residual.matrix()), [gradient.detach().double()]
    for _ in range(steps):
        vectors.append(vectors[-1] @ matrix)  # rows: (R^T g)^T = g^T R
    return torch.stack(vectors)


def _of_residual(network: WCRNN) -> Predictions:
    exponents = network.residual.log_magnitudes().cpu().numpy()
    matrix = _exact(network.residual.matrix())
    coupling = _exact(network.coupling).expand(network.hidden_size)
    reach = _norm(coupling.unsqueeze(-1) * _exact(network.recurrent.weight))
    lower, upper = bounds(torch.linalg.svdvals(matrix), reach)
    if not network.equation.is_linear:
        lower = torch.full_like(lower, -torch.inf)  # tanh' of the residual may be anything down to 0
    tolerance = network.hidden_size * torch.finfo(network.readout.weight.dtype).eps
    radius = float(np.exp(exponents[0]))
    regime: Regime = "critical"
    if abs(radius - 1) > tolerance:
        regime = "subcritical" if radius < 1 else "supercritical"
    return Predictions(exponents, lower.cpu().numpy(), upper.cpu().numpy(), regime)


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64)


def _norm(matrix: Tensor) -> float:
    """Return the spectral norm."""
    return float(torch.linalg.matrix_norm(matrix, ord=2))
