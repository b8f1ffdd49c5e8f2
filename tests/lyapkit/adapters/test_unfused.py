"""Layers and cells stepped without PyTorch's fused kernels."""

import pytest
import torch
from torch import nn

from dense_hessians import LAYERS
from lyapkit.adapters.unfused import unfused


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("initial", [False, True])
def test_unfused_layers_equal_their_own_forward(name: str, initial: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    rows = layer.num_layers * (1 + layer.bidirectional)
    for inputs, batch in ((torch.randn(5, 3, 2).double(), 3), (torch.randn(5, 2).double(), None)):
        if layer.batch_first and batch:
            batch = 5
        hx = None
        if initial:
            shape = (rows,) if batch is None else (rows, batch)
            hx = torch.randn(*shape, layer.proj_size or layer.hidden_size).double()
            if isinstance(layer, nn.LSTM):
                hx = (hx, torch.randn(*shape, layer.hidden_size).double())
        own = layer(inputs, hx)
        with unfused(layer):
            written_out = layer(inputs, hx)
        assert "forward" not in layer.__dict__
        torch.testing.assert_close(written_out, own, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("cell", [nn.RNNCell(2, 3), nn.GRUCell(2, 3), nn.LSTMCell(2, 3)])
def test_unfused_cells_equal_their_own_forward(cell) -> None:
    cell = cell.double()
    for inputs in (torch.randn(4, 2).double(), torch.randn(2).double()):
        own = cell(inputs)
        with unfused(cell):
            torch.testing.assert_close(cell(inputs), own, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(cell(inputs, own), cell(inputs, own))
        again = cell(inputs, own)
        with unfused(cell):
            torch.testing.assert_close(cell(inputs, own), again, rtol=1e-13, atol=1e-13)


def test_unfused_refuses_what_it_cannot_step() -> None:
    layer = nn.GRU(2, 3, num_layers=2, dropout=0.5)
    with unfused(layer), pytest.raises(ValueError, match=r"\.eval\(\)"):
        layer(torch.randn(4, 2))
