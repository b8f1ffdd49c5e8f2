"""Adapters of `nn.RNN`, `nn.GRU` and `nn.LSTM`: any number of layers, projections, biases on or off."""

from __future__ import annotations

from functools import partial
from typing import cast

from torch import Tensor, nn

from lyapkit.adapters.elementary import CellKind, CellWeights
from lyapkit.adapters.stacked import Layer, StackedCells
from lyapkit.adapters.unchanged import refuse_changed


def layer_map(module: nn.RNNBase) -> StackedCells:
    """Return the map of a built-in layer; the state is (h, c) of every layer.

    Raises:
        ValueError: If the module is bidirectional (its backward half reads the future, so it is not a recurrent map),
            its dropout is active, or it has a ``forward`` of its own or hooks.
    """
    refuse_changed(module, next(builtin for builtin in (nn.LSTM, nn.GRU, nn.RNN) if isinstance(module, builtin)))
    if module.bidirectional:
        raise ValueError(
            "a bidirectional layer is not a recurrent map: its backward half starts at the end of the "
            "sequence. Analyse each direction as a layer of its own."
        )
    if module.training and module.dropout > 0:
        raise ValueError(f"dropout={module.dropout} is active, so a step is not deterministic. Call .eval() first.")
    kind = layer_kind(module)
    emitted_size = module.proj_size or module.hidden_size
    cells = module.hidden_size if kind == "lstm" else 0
    layers = [Layer(partial(layer_weights, module, index), emitted_size, cells) for index in range(module.num_layers)]
    return StackedCells(module, kind, layers, module.input_size)


def layer_kind(module: nn.RNNBase) -> CellKind:
    """Return the kind of cell that the layers of a module are made of."""
    kinds = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "GRU": "gru", "LSTM": "lstm"}
    return cast(CellKind, kinds[module.mode])


def layer_weights(module: nn.RNNBase, index: int, suffix: str = "") -> CellWeights:
    """Return the current weights of one layer; ``suffix="_reverse"`` for the backward direction."""

    def weight(name: str) -> Tensor | None:
        return getattr(module, f"{name}_l{index}{suffix}", None)

    weight_ih, weight_hh = weight("weight_ih"), weight("weight_hh")
    assert weight_ih is not None
    assert weight_hh is not None
    return CellWeights(weight_ih, weight_hh, weight("bias_ih"), weight("bias_hh"), weight("weight_hr"))
