"""The map of one or several stacked built-in cells, shared by `nn.RNNCell` and `nn.LSTM`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lyapkit.adapters.elementary import CellKind, CellWeights, cell_step
from lyapkit.adapters.elementary_derivatives import stacked_derivatives
from lyapkit.cell_derivatives import AffineCell
from lyapkit.recurrent_map import RecurrentMap


@dataclass(frozen=True)
class Layer:
    """One layer of a stack: its weights and the sizes of its parts.

    Attributes:
        weights: Function that reads the module's *current* weights, so that the map follows training.
        emitted_size: Units passed to the next layer (H, or P with a projection).
        cell_size: Memory cells of an LSTM (H), otherwise 0.
    """

    weights: Callable[[], CellWeights]
    emitted_size: int
    cell_size: int

    @property
    def state_size(self) -> int:
        """Components of the layer's flat state."""
        return self.emitted_size + self.cell_size


class StackedCells(RecurrentMap):
    """Built-in cells, stacked; the flat state is (h, c) of layer 0, then (h, c) of layer 1, ...

    Args:
        module: The PyTorch module that owns the weights.
        kind: The kind of cell.
        layers: The layers, from the input upwards.
        input_size: Number of inputs M.
    """

    def __init__(self, module: nn.Module, kind: CellKind, layers: Sequence[Layer], input_size: int) -> None:
        self.module = module
        self.kind: CellKind = kind
        self.layers = tuple(layers)
        self._input_size = input_size
        self._sizes = [layer.state_size for layer in self.layers]

    def describe(self) -> str:
        """Name the cells and count the layers."""
        count = len(self.layers)
        kind = self.kind.partition("_")[0].upper()
        return f"{type(self).__name__} of {count} {kind} {'layer' if count == 1 else 'layers'}"

    @property
    def state_size(self) -> int:
        """Sum of the sizes of (h, c) over the layers."""
        return sum(self._sizes)

    @property
    def input_size(self) -> int:
        """The module's own input size."""
        return self._input_size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the module's weights."""
        return self.layers[0].weights().weight_ih.dtype

    @property
    def device(self) -> torch.device:
        """Device of the module's weights."""
        return self.layers[0].weights().weight_ih.device

    @property
    def unit_names(self) -> list[str]:
        """``h[0]``, ``c[0]``, ... with a prefix ``layer1.`` if there are several layers."""
        names: list[str] = []
        for index, layer in enumerate(self.layers):
            prefix = f"layer{index}." if len(self.layers) > 1 else ""
            names += [f"{prefix}h[{unit}]" for unit in range(layer.emitted_size)]
            names += [f"{prefix}c[{unit}]" for unit in range(layer.cell_size)]
        return names

    @property
    def batch_first(self) -> bool:
        """The module's own layout of sequences, in which analyses take inputs."""
        return bool(getattr(self.module, "batch_first", False))

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Step every layer, each with the new hidden state of the layer below as its input."""
        assert input is not None, "built-in layers always have an input"
        below = input
        after = []
        for layer, part in zip(self.layers, torch.split(state, self._sizes, dim=-1), strict=True):
            part = cell_step(self.kind, layer.weights(), part, below)
            below = part[..., : layer.emitted_size]
            after.append(part)
        return torch.cat(after, dim=-1)

    def output(self, state: Tensor) -> Tensor:
        """Return the hidden state of the last layer, as the module does."""
        start = self.state_size - self._sizes[-1]
        return state[..., start : start + self.layers[-1].emitted_size]

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the module's own parameters."""
        return self.module.named_parameters(remove_duplicate=False)

    def cell_derivatives(self) -> Sequence[AffineCell] | None:
        """Return the layers' derivatives; None for layers with a projection."""
        return stacked_derivatives(self.kind, [layer.weights() for layer in self.layers])
