"""The weakly coupled residual recurrent network (WCRNN) of Dubinin & Effenberger, Neural Networks 2024."""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lyapkit import RecurrentMap
from lyapkit.adapters import register_adapter
from wcrnn_models.errors import suggestion
from wcrnn_models.randomness import RandomSource, as_generator, uniform
from wcrnn_models.residuals import Residual, ResidualSpec, dense

Form = Literal["linear", "A", "B"]
Nonlinearity = Literal["tanh", "identity"]
_FORMS = ("linear", "A", "B")
_NONLINEARITIES = ("tanh", "identity")


class WCRNN(nn.Module):
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
        coupling: gamma >= 0, one number (default 0.01, section 4.1) or one per unit (section 4.3), which has
            shape (N,).
        form: Which of the three equations.
        nonlinearity: sigma; ``"identity"`` is the network "no tanh" of Table 2.
        rng: Where the initial weights are drawn from; None draws from PyTorch's global generator.
        device: Where parameters and buffers live.
        dtype: Their floating-point type. Give it here rather than calling ``.double()`` later: buffers such
            as r = 0.995 are then the float64 number, not the float32 one.

    Attributes:
        recurrent: The affine map N -> N with W_xx and b_xx.
        input: The affine map M -> N with W_sx and b_sx.
        readout: The affine map N -> O.
        residual: R.
        coupling: gamma, shape () or (N,).

    Raises:
        ValueError: If a size is not positive, a name is unknown, gamma is negative or not finite, or gamma
            or R does not fit the number of units.
        TypeError: If ``residual`` or ``coupling`` is of another type.
    """

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
        super().__init__()
        for name, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("output_size", output_size),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if form not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {form!r}")
        if nonlinearity not in _NONLINEARITIES:
            known = ", ".join(_NONLINEARITIES)
            raise ValueError(
                f"nonlinearity must be one of {known}, got {nonlinearity!r}."
                + suggestion(nonlinearity, _NONLINEARITIES)
            )
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.form, self.nonlinearity = form, nonlinearity
        self.residual = _built(residual, hidden_size, dtype)
        self.register_buffer("coupling", _checked_coupling(coupling, hidden_size).to(dtype))
        generator = as_generator(rng)  # once: a seed must not give every layer the same numbers
        self.recurrent = _affine(hidden_size, hidden_size, generator, dtype)
        self.input = _affine(input_size, hidden_size, generator, dtype)
        self.readout = _affine(hidden_size, output_size, generator, dtype)
        self.to(device)

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """One step of the equation in the class docstring.

        Args:
            state: x_t, shape (..., N).
            input: s_t, shape (..., M) with the same leading dimensions.

        Returns:
            x_{t+1}, shape (..., N).

        Raises:
            ValueError: If a last dimension is not N or M.
            TypeError: If a type is not the network's.
        """
        self._check("state", state, self.hidden_size)
        self._check("input", input, self.input_size)
        return self._advance(state, self.recurrent(state) + self.input(input))

    def forward(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Read out the final state after all inputs.

        Args:
            inputs: s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: x_1, shape (B, N) or (N,); zeros by default.

        Returns:
            Outputs, shape (B, O) for inputs (T, B, M), (O,) for inputs (T, M).

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        state, drives = self._prepare(inputs, initial_state)
        for drive in drives:
            state = self._advance(state, self._driven(state, drive))
        output: Tensor = self.readout(state)
        return output.squeeze(0) if inputs.ndim == 2 else output

    def states(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """All states x_2, ..., x_{T+1}: entry t is the state after input t.

        Args:
            inputs: s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: x_1, shape (B, N) or (N,); zeros by default.

        Returns:
            States, shape (T, B, N) for inputs (T, B, M), (T, N) for inputs (T, M).

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        state, drives = self._prepare(inputs, initial_state)
        trajectory = []
        for drive in drives:
            state = self._advance(state, self._driven(state, drive))
            trajectory.append(state)
        states = torch.stack(trajectory)
        return states.squeeze(1) if inputs.ndim == 2 else states

    def extra_repr(self) -> str:
        """The sizes, form, nonlinearity and coupling, for ``print(model)``."""
        coupling = f"{self.coupling.item():g}" if self.coupling.ndim == 0 else f"{self.hidden_size} values"
        return (
            f"input_size={self.input_size}, hidden_size={self.hidden_size}, output_size={self.output_size}, "
            f"form={self.form!r}, nonlinearity={self.nonlinearity!r}, coupling={coupling}"
        )

    def _prepare(self, inputs: Tensor, initial_state: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The initial state, shape (B, N), and b_xx + W_sx s_t + b_sx for every t, each (B, N)."""
        self._check("inputs", inputs, self.input_size)
        if inputs.ndim not in (2, 3) or len(inputs) == 0:
            raise ValueError(
                f"inputs must have shape (T, B, {self.input_size}) or (T, {self.input_size}) with T >= 1, "
                f"time first, got {tuple(inputs.shape)}"
            )
        batched = inputs.unsqueeze(1) if inputs.ndim == 2 else inputs  # (T, B, M)
        batch = batched.shape[1]
        if initial_state is None:
            state = inputs.new_zeros(batch, self.hidden_size)
        else:
            self._check("initial_state", initial_state, self.hidden_size)
            allowed: tuple[tuple[int, ...], ...] = ((self.hidden_size,), (batch, self.hidden_size))
            if inputs.ndim == 2:
                allowed = allowed[:1]
            if tuple(initial_state.shape) not in allowed:
                raise ValueError(
                    f"initial_state must have shape {' or '.join(map(str, allowed))} for inputs of shape "
                    f"{tuple(inputs.shape)}, got {tuple(initial_state.shape)}"
                )
            state = initial_state.expand(batch, self.hidden_size)
        projected = functional.linear(batched, self.input.weight, self.input.bias + self.recurrent.bias)  # (T, B, N)
        return state, projected.unbind()

    def _driven(self, state: Tensor, projected_input: Tensor) -> Tensor:
        """u_t = W_xx x_t + (b_xx + W_sx s_t + b_sx), shape (B, N)."""
        return torch.addmm(projected_input, state, self.recurrent.weight.t())

    def _advance(self, state: Tensor, drive: Tensor) -> Tensor:
        """x_{t+1} from x_t and u_t, shape (..., N)."""
        carried: Tensor = self.residual(state)
        if self.form == "B":
            return self._sigma(torch.addcmul(carried, self.coupling, drive))
        if self.form == "A":
            carried = self._sigma(carried)
        return torch.addcmul(carried, self.coupling, self._sigma(drive))

    def _sigma(self, value: Tensor) -> Tensor:
        return torch.tanh(value) if self.nonlinearity == "tanh" else value

    def _check(self, name: str, value: Tensor, size: int) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        dtype = self.recurrent.weight.dtype
        if value.dtype != dtype:
            raise TypeError(
                f"{name} must be {dtype} like the network, got {value.dtype}; use .to(torch.{_short(dtype)})"
            )
        if value.ndim == 0 or value.shape[-1] != size:
            raise ValueError(
                f"{name} must have {size} components in its last dimension, got shape {tuple(value.shape)}"
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _built(residual: ResidualSpec | Residual | Tensor, size: int, dtype: torch.dtype) -> Residual:
    if isinstance(residual, Tensor):
        residual = dense(residual)
    if isinstance(residual, ResidualSpec):
        return residual.build(size, dtype=dtype)
    if not isinstance(residual, Residual):
        raise TypeError(
            "residual must be a ResidualSpec such as residuals.scalar(0.995), a Residual or a matrix, got "
            f"{type(residual).__name__}"
        )
    if residual.size != size:
        raise ValueError(f"the residual is for {residual.size} units, but hidden_size is {size}; they must be equal")
    return copy.deepcopy(residual).to(dtype)


def _checked_coupling(coupling: float | Tensor, size: int) -> Tensor:
    if isinstance(coupling, bool) or not isinstance(coupling, (int, float, Tensor)):
        raise TypeError(f"coupling must be a number or a tensor, got {type(coupling).__name__}")
    values = torch.as_tensor(coupling, dtype=torch.float64, device="cpu").detach().clone()
    if values.shape not in ((), (size,)):
        raise ValueError(f"coupling must be one number or {size} values, one per unit, got shape {tuple(values.shape)}")
    if not bool((values.isfinite() & (values >= 0)).all()):
        worst = values[~(values.isfinite() & (values >= 0))].flatten()[0]
        raise ValueError(f"coupling must be finite and >= 0, got {float(worst)}; the paper uses [0.001, 0.1]")
    return values


def _affine(inputs: int, outputs: int, rng: torch.Generator, dtype: torch.dtype) -> nn.Linear:
    """An `nn.Linear` whose weights and biases are U(-1/sqrt(n_in), 1/sqrt(n_in)), drawn from ``rng``."""
    layer = nn.Linear(inputs, outputs, device="meta", dtype=dtype).to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_(uniform(tuple(parameter.shape), -bound, bound, rng))
    return layer


def _as_map(network: WCRNN) -> RecurrentMap:
    from wcrnn_models.adapter import WCRNNMap  # here, because the adapter is about this module's class

    return WCRNNMap(network)


register_adapter(WCRNN, _as_map)
