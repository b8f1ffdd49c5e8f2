"""The interface of a recurrent map; with `lyapkit.cell_derivatives`, all that an analysis may ask of a network.

A recurrent map is the function of eq. (1) of Dubinin & Effenberger (2024),

    x_{t+1} = f(x_t, s_t),

on *flat* states: vectors of length ``state_size`` (N) with any leading batch dimensions. Analyses know
nothing else about a network. `lyapkit.as_map` makes a `RecurrentMap` of a PyTorch module or a callable;
third parties subclass `RecurrentMap` and register an adapter with `lyapkit.adapters.register_adapter`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lyapkit.cell_derivatives import AffineCell

Batching = Literal["native", "vmap", "loop"]
"""Treatment of a batch of states by a step: its own operations, `torch.vmap`, or one state after the other."""


class RecurrentMap(ABC):
    """x_{t+1} = f(x_t, s_t) on flat states.

    A subclass answers the abstract members below. `step` must be pure (the same arguments give the same
    result, nothing is changed in place) and differentiable in its state.

    Attributes:
        batching: Treatment of a batch of states by a step. Where it loops over them, the checks take fewer.
    """

    batching: Batching = "native"

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Number N of components of the flat state: as many Lyapunov exponents exist."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Number M of input components per step; 0 for an autonomous map."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Floating-point type of states and inputs."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of states and inputs."""

    @property
    @abstractmethod
    def unit_names(self) -> Sequence[str]:
        """One name per state component, such as ``h[0]``, ``c[3]`` or ``layer1.h[7]``."""

    def describe(self) -> str:
        """Say in a few words what this is, for its ``repr``: the name of the class, unless the map knows better."""
        return type(self).__name__

    def __repr__(self) -> str:
        """Say what this is and how large: ``StackedCells of 1 GRU layer: 3 inputs, state of 20, float32``."""
        inputs = {0: "autonomous", 1: "1 input"}.get(self.input_size, f"{self.input_size} inputs")
        place = "" if self.device.type == "cpu" else f" on {self.device}"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.describe()}: {inputs}, state of {self.state_size}, {dtype}{place}"

    @property
    def batch_first(self) -> bool:
        """True where the network takes sequences as (B, T, M); False, the default, where it takes them time first."""
        return False

    @abstractmethod
    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Advance the state by one step.

        Args:
            state: The state x_t, shape (..., N).
            input: The input s_t, shape (..., M) with the same leading dimensions; None for an autonomous map.

        Returns:
            x_{t+1}, shape (..., N).
        """

    def initial_state(self, batch: int) -> Tensor:
        """Return states to start from, shape (batch, N): zeros unless the map has its own."""
        return torch.zeros(batch, self.state_size, dtype=self.dtype, device=self.device)

    def output(self, state: Tensor) -> Tensor:
        """Return the network's own output in this state, shape (..., O): the state itself by default.

        An LSTM emits the hidden state of its last layer and keeps its cells to itself.
        """
        return state

    @property
    def readout(self) -> Callable[[Tensor], Tensor] | None:
        """The network's own readout of `output`, or None when it has none."""
        return None

    def encode(self, inputs: Any) -> Any:
        """Return what steps read of the model's own inputs, such as embedded tokens; by default the inputs themselves.

        Args:
            inputs: As the whole model takes them.
        """
        return inputs

    def parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Return names and tensors of the parameters that `step` uses, tied ones by each name; none by default."""
        return iter(())

    @property
    def predicted_gradient_rate(self) -> float | None:
        """The rate per step back in time at which theory says gradients grow, or None, the default, where it is silent.

        For a weakly coupled network with the linear residual R it is log |largest eigenvalue of R|, eq. (15).
        """
        return None

    def cell_derivatives(self) -> Sequence[AffineCell] | None:
        """Return the step as affine preactivations and pointwise updates with derivatives, if it has that form.

        It is a second description of `step`, which fast curvature products are made of. Where there is none, the
        default, the same products are computed by automatic differentiation of `step`.

        Returns:
            A `lyapkit.cell_derivatives.AffineCell` with the current weights for every layer, from the input upwards, or
            None. The flat state is that of the first layer, then that of the second, ...; layer 0 reads the input s_t,
            each other layer what the one below emits at the same step.
        """
        return None
