"""Conversion between flat vectors of parameters and the matrices [W, U, b] of a map's layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from lyapkit.cell_derivatives import AffineCell


class ParameterLayout:
    """Positions of the parameters in a flat vector and in the layers.

    Args:
        parameters: Parameters by name, in the order of the flat vector.
        cells: The layers. Parameters that belong to no layer, such as those of a readout, are left to the caller.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], cells: Sequence[AffineCell]) -> None:
        self.cells = cells
        sizes = [parameter.numel() for parameter in parameters.values()]
        self.size = sum(sizes)
        stops = torch.tensor(sizes, device="cpu").cumsum(0).tolist()
        self._slices = {
            name: slice(stop - size, stop) for name, size, stop in zip(parameters, sizes, stops, strict=True)
        }
        self._by_identity = {id(parameter): self._slices[name] for name, parameter in parameters.items()}

    def to_cells(self, block: Tensor) -> list[Tensor]:
        """Return a block's columns (P, b) as changes of every layer's trained rows, (b, rows, H+M+1), in its type."""
        changes = []
        for cell in self.cells:
            change = cell.weight.new_zeros(block.shape[1], cell.trained_rows, cell.weight.shape[1])
            for place in cell.places:
                where = self._by_identity.get(id(place.parameter))
                if where is not None:
                    part = block[where].T.to(change).reshape(block.shape[1], len(place.rows), -1)
                    change[:, place.rows, place.columns] += part
            changes.append(change)
        return changes

    def from_cells(self, gradients: Sequence[Tensor]) -> Tensor:
        """Apply the transpose of `to_cells`: turn derivatives by the layers' rows into a float64 block (P, b)."""
        probes = gradients[0].shape[0]
        block = gradients[0].new_zeros(self.size, probes, dtype=torch.float64)
        for cell, gradient in zip(self.cells, gradients, strict=True):
            for place in cell.places:
                where = self._by_identity.get(id(place.parameter))
                if where is not None:
                    block[where] += gradient[:, place.rows, place.columns].reshape(probes, -1).T
        return block

    def rows_of(self, names: Collection[str]) -> Tensor:
        """Return the positions of some parameters in the flat vector, in the order of the names."""
        parts = [torch.arange(self._slices[name].start, self._slices[name].stop, device="cpu") for name in names]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device="cpu")
