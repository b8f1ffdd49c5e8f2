"""Base class of all networks here: one step, all states, and an affine readout of the last or of every one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from wcrnn_models.names import LossOn


class RecurrentNetwork(nn.Module, ABC):
    """x_{t+1} = f(x_t, s_t) with the output W_xo e(x_{T+1}) + b_xo, where e(x) is what the network emits.

    With ``outputs_at = "every"`` there is an output W_xo e(x_{t+1}) + b_xo after every input s_t.

    A subclass says how an input enters a step (`_project`, done for all steps at once) and how a step continues
    (`_update`). lyapkit analyses it through `wcrnn_models.models.network_map.NetworkMap`, unless the subclass
    registers an adapter of its own.

    Args:
        input_size: Components M of the input s_t.
        hidden_size: Units H that are emitted.
        output_size: Components O of the output.

    Attributes:
        outputs_at: Steps that `forward` reads out: ``"last"`` or ``"every"``.
        readout: The affine map H -> O.
        recurrent_parameters: Names and globs of the weights that act on the state x_t, with their biases, for
            ``parameters=`` of lyapkit's analyses of curvature. Learning dynamics are studied for them (section 2.2).
            The weights of the input and the readout, whose curvature may be the largest, are not among them.

    Raises:
        ValueError: If a size is not positive.
        TypeError: If a size is not an integer.
    """

    recurrent_parameters: ClassVar[tuple[str, ...]]
    outputs_at: LossOn = "last"
    readout: nn.Linear

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size

    @property
    def state_size(self) -> int:
        """Components N of the flat state: the hidden units unless a network keeps more."""
        return self.hidden_size

    @property
    def unit_names(self) -> list[str]:
        """One name per component of the state."""
        return [f"x[{unit}]" for unit in range(self.state_size)]

    def emitted(self, state: Tensor) -> Tensor:
        """Return the part of a state that the readout reads: shape (..., N) to (..., H); by default all of it."""
        return state

    @abstractmethod
    def _project(self, inputs: Tensor) -> Tensor:
        """Return the part of a step that the input alone determines, shape (..., M) to (..., P)."""

    @abstractmethod
    def _update(self, state: Tensor, projected: Tensor) -> Tensor:
        """Compute x_{t+1} from x_t, shape (..., N), and the projected input, shape (..., P)."""

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Compute one step of the equation in the class docstring.

        Args:
            state: The state x_t, shape (..., N).
            input: The input s_t, shape (..., M) with the same leading dimensions.

        Returns:
            x_{t+1}, shape (..., N).

        Raises:
            ValueError: If a last dimension is not N or M.
            TypeError: If a type is not the network's.
        """
        self._check("state", state, self.state_size)
        self._check("input", input, self.input_size)
        return self._update(state, self._project(input))

    def forward(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Read out the final state after all inputs, or every state, as ``outputs_at`` says.

        Args:
            inputs: The sequence s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: The state x_1, shape (B, N) or (N,); zeros by default.

        Returns:
            Outputs, shape (B, O) for inputs (T, B, M), (O,) for inputs (T, M); if every state is read out, with T
            before them.

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        if self.outputs_at == "every":
            outputs: Tensor = self.readout(self.emitted(self.states(inputs, initial_state)))
            return outputs
        state, projected = self._prepare(inputs, initial_state)
        for row in projected:
            state = self._update(state, row)
        return self._read(self.emitted(state), inputs)

    def states(self, inputs: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Compute all states x_2, ..., x_{T+1}: entry t is the state after input t.

        Args:
            inputs: The sequence s_1, ..., s_T, shape (T, B, M) or (T, M).
            initial_state: The state x_1, shape (B, N) or (N,); zeros by default.

        Returns:
            States, shape (T, B, N) for inputs (T, B, M), (T, N) for inputs (T, M).

        Raises:
            ValueError: If a shape does not fit.
            TypeError: If a type is not the network's.
        """
        state, projected = self._prepare(inputs, initial_state)
        trajectory = []
        for row in projected:
            state = self._update(state, row)
            trajectory.append(state)
        states = torch.stack(trajectory)
        return states.squeeze(1) if inputs.ndim == 2 else states

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        sizes = f"input_size={self.input_size}, hidden_size={self.hidden_size}, output_size={self.output_size}"
        return sizes if self.outputs_at == "last" else f"{sizes}, outputs_at={self.outputs_at!r}"

    def _read(self, emitted: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs for emitted states (..., B, H), without the batch dimension where the inputs have none."""
        output: Tensor = self.readout(emitted)
        return output.squeeze(-2) if inputs.ndim == 2 else output

    def _prepare(self, inputs: Tensor, initial_state: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the initial state, shape (B, N), and the projected input of every step, each (B, P)."""
        state = self._initial(inputs, initial_state)
        return state, self._project(self._batched(inputs)).unbind()

    def _initial(self, inputs: Tensor, initial_state: Tensor | None) -> Tensor:
        """Return the initial state, shape (B, N), after everything has been checked."""
        self._check("inputs", inputs, self.input_size)
        if inputs.ndim not in (2, 3) or len(inputs) == 0:
            raise ValueError(
                f"inputs must have shape (T, B, {self.input_size}) or (T, {self.input_size}) with T >= 1, "
                f"time first, got {tuple(inputs.shape)}."
            )
        size, batch = self.state_size, self._batched(inputs).shape[1]
        if initial_state is None:
            return inputs.new_zeros(batch, size)
        self._check("initial_state", initial_state, size)
        allowed: tuple[tuple[int, ...], ...] = ((size,), (batch, size))
        if inputs.ndim == 2:
            allowed = allowed[:1]
        if tuple(initial_state.shape) not in allowed:
            raise ValueError(
                f"initial_state must have shape {' or '.join(map(str, allowed))} for inputs of shape "
                f"{tuple(inputs.shape)}, got {tuple(initial_state.shape)}."
            )
        return initial_state.expand(batch, size)

    @staticmethod
    def _batched(inputs: Tensor) -> Tensor:
        """View (T, M) as (T, 1, M)."""
        return inputs.unsqueeze(1) if inputs.ndim == 2 else inputs

    def _check(self, name: str, value: Tensor, size: int) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}.")
        dtype = self.readout.weight.dtype
        if value.dtype != dtype:
            short = str(dtype).removeprefix("torch.")
            raise TypeError(f"{name} must be {dtype} like the network, got {value.dtype}; use .to(torch.{short}).")
        if value.ndim == 0 or value.shape[-1] != size:
            raise ValueError(
                f"{name} must have {size} components in its last dimension, got shape {tuple(value.shape)}."
            )


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are not positive.

    Raises:
        TypeError: If one is not an integer.
        ValueError: If one is below 1; the text names it.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} must be an integer, got {type(size).__name__}.")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
