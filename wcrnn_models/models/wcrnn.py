"""The weakly coupled residual recurrent network (WCRNN) of Dubinin & Effenberger, Neural Networks 2024."""

from __future__ import annotations

import copy
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from wcrnn_models.errors import suggestion
from wcrnn_models.models.equations import FORMS, Equation, equation
from wcrnn_models.models.initial_weights import InitialWeights
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.models.residuals import Residual, ResidualSpec, dense
from wcrnn_models.models.residuals.base import check_fits, rounded
from wcrnn_models.names import Form, Nonlinearity
from wcrnn_models.randomness import RandomSource

_NONLINEARITIES = get_args(Nonlinearity)


class WCRNN(RecurrentNetwork):
    """A recurrent network whose memory is set by a fixed residual R and a weak coupling gamma.

    With the drive u_t = W_xx x_t + b_xx + W_sx s_t + b_sx, one step is

    - form ``"linear"``, eq. (11):  x_{t+1} = R x_t + gamma sigma(u_t)
    - form ``"A"``, eq. (18):       x_{t+1} = sigma(R x_t) + gamma sigma(u_t)
    - form ``"B"``, eq. (19):       x_{t+1} = sigma(R x_t + gamma u_t)

    and the output is an affine readout of the final state (section 3). The three affine maps are trained and
    start from U(-1/sqrt(n_in), 1/sqrt(n_in)) in weights and biases, the default of `torch.nn.Linear` (section
    4); R and gamma are buffers. Weights are drawn in float64 and rounded to ``dtype``.

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Units N.
        output_size: Components O of the output.
        residual: R, as a `ResidualSpec` (such as ``residuals.scalar(0.995)``), a `Residual` (which is
            copied), or a matrix of shape (N, N).
        coupling: Coupling gamma >= 0, one number (default 0.01, section 4.1) or one per unit (section 4.3), which has
            shape (N,).
        form: Which of the three equations.
        nonlinearity: Nonlinearity sigma; ``"identity"`` is the network "no tanh" of Table 2.
        rng: Where the initial weights are drawn from; None draws from PyTorch's global generator.
        device: Where parameters and buffers live.
        dtype: Their floating-point type. Give it here rather than calling ``.double()`` later: buffers such
            as r = 0.995 are then the float64 number, not the float32 one.

    Attributes:
        recurrent: The affine map N -> N with W_xx and b_xx.
        input: The affine map M -> N with W_sx and b_sx.
        readout: The affine map N -> O.
        residual: R.
        coupling: Coupling gamma, shape () or (N,).
        recurrent_parameters: The names of W_xx and b_xx, for ``parameters=`` of lyapkit's analyses of curvature.

    Raises:
        ValueError: If a size is not positive, a name is unknown, gamma is negative or not finite, or gamma
            or R does not fit the number of units or is too large for ``dtype``.
        TypeError: If a size is not an integer, or ``residual`` or ``coupling`` is of another type.
    """

    recurrent_parameters = ("recurrent.weight", "recurrent.bias")
    coupling: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        residual: ResidualSpec | Residual | Tensor,
        coupling: float | Tensor = 0.01,
        form: Form = "linear",
        nonlinearity: Nonlinearity = "tanh",
        rng: RandomSource = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size)
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
        if nonlinearity not in _NONLINEARITIES:
            known = ", ".join(_NONLINEARITIES)
            raise ValueError(
                f"nonlinearity must be one of {known}, got {nonlinearity!r}."
                + suggestion(nonlinearity, _NONLINEARITIES)
            )
        draw = InitialWeights(rng, dtype)
        self.form, self.nonlinearity = form, nonlinearity
        self.residual = _built(residual, hidden_size, draw.dtype)
        self.register_buffer("coupling", _checked_coupling(coupling, hidden_size, draw.dtype))
        self.recurrent = draw.affine(hidden_size, hidden_size)
        self.input = draw.affine(input_size, hidden_size)
        self.readout = draw.affine(hidden_size, output_size)
        self.to(device)

    @property
    def equation(self) -> Equation:
        """The equation of the form and the nonlinearity."""
        return equation(self.form, self.nonlinearity)

    def extra_repr(self) -> str:
        """Return the sizes, form, nonlinearity and coupling, for ``print(model)``."""
        coupling = f"{self.coupling.item():g}" if self.coupling.ndim == 0 else f"{self.hidden_size} values"
        return f"{super().extra_repr()}, form={self.form!r}, nonlinearity={self.nonlinearity!r}, coupling={coupling}"

    def _project(self, inputs: Tensor) -> Tensor:
        """Compute b_xx + W_sx s_t + b_sx, shape (..., N)."""
        return functional.linear(inputs, self.input.weight, self.input.bias + self.recurrent.bias)

    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        """Return x_{t+1}, shape (..., N), from x_t and the projected input."""
        return self.equation.advance(self.residual(state), self._driven(state, projected), self.coupling)

    def _driven(self, state: Tensor, projected_input: Tensor) -> Tensor:
        """Compute u_t = W_xx x_t + (b_xx + W_sx s_t + b_sx), shape (..., N)."""
        if state.ndim == 2:  # one fused operation where PyTorch has one
            return torch.addmm(projected_input, state, self.recurrent.weight.t())
        return projected_input + functional.linear(state, self.recurrent.weight)


def _built(residual: ResidualSpec | Residual | Tensor, size: int, dtype: torch.dtype) -> Residual:
    if isinstance(residual, Tensor):
        residual = dense(residual)
    if isinstance(residual, ResidualSpec):
        return residual.build(size, dtype=dtype)
    if not isinstance(residual, Residual):
        raise TypeError(
            "residual must be a ResidualSpec such as residuals.scalar(0.995), a Residual or a matrix, got "
            f"{type(residual).__name__}."
        )
    if residual.size != size:
        raise ValueError(f"the residual is for {residual.size} units, but hidden_size is {size}; they must be equal.")
    return rounded(copy.deepcopy(residual), dtype)


def _checked_coupling(coupling: float | Tensor, size: int, dtype: torch.dtype) -> Tensor:
    if isinstance(coupling, bool) or not isinstance(coupling, (int, float, Tensor)):
        raise TypeError(f"coupling must be a number or a tensor, got {type(coupling).__name__}.")
    values = torch.as_tensor(coupling, dtype=torch.float64, device="cpu").detach().clone()
    if values.shape not in ((), (size,)):
        raise ValueError(
            f"coupling must be one number or {size} values, one per unit, got shape {tuple(values.shape)}."
        )
    if not bool((values.isfinite() & (values >= 0)).all()):
        worst = values[~(values.isfinite() & (values >= 0))].flatten()[0]
        raise ValueError(f"coupling must be finite and >= 0, got {float(worst)}; the paper uses [0.001, 0.1].")
    check_fits("coupling", values, dtype)
    return values.to(dtype)
