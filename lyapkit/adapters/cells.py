"""Adapters of `nn.RNNCell`, `nn.GRUCell` and `nn.LSTMCell`."""

from __future__ import annotations

from functools import partial

from torch import nn

from lyapkit.adapters.elementary import CellKind, CellWeights
from lyapkit.adapters.stacked import Layer, StackedCells
from lyapkit.adapters.unchanged import refuse_changed


def cell_map(cell: nn.RNNCellBase) -> StackedCells:
    """Return the map of a built-in cell; the state of an `nn.LSTMCell` is (h, c).

    Raises:
        ValueError: If the cell has a ``forward`` of its own or hooks.
    """
    refuse_changed(cell, _kind(cell)[1])
    return stepped_from_weights(cell)


def stepped_from_weights(cell: nn.RNNCellBase) -> StackedCells:
    """Make the map of a cell's current weights, and ignore anything else that the cell does when it is called."""
    kind, _ = _kind(cell)
    cells = cell.hidden_size if kind == "lstm" else 0
    return StackedCells(cell, kind, [Layer(partial(_weights, cell), cell.hidden_size, cells)], cell.input_size)


def _weights(cell: nn.RNNCellBase) -> CellWeights:
    return CellWeights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)


def _kind(cell: nn.RNNCellBase) -> tuple[CellKind, type[nn.RNNCellBase]]:
    if isinstance(cell, nn.LSTMCell):
        return "lstm", nn.LSTMCell
    if isinstance(cell, nn.GRUCell):
        return "gru", nn.GRUCell
    assert isinstance(cell, nn.RNNCell), "registered for the three built-in cells only"
    return ("rnn_tanh" if cell.nonlinearity == "tanh" else "rnn_relu"), nn.RNNCell
