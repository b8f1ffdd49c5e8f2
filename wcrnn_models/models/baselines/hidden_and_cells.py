"""Networks whose state is hidden units and cells, as that of an LSTM."""

from __future__ import annotations

from torch import Tensor

from wcrnn_models.models.network import RecurrentNetwork


class HiddenAndCells(RecurrentNetwork):
    """A network with the flat state (h, c), of 2 H components, of which h is read out."""

    @property
    def state_size(self) -> int:
        """2 H: hidden units and cells."""
        return 2 * self.hidden_size

    @property
    def unit_names(self) -> list[str]:
        """``h[0]``, ..., then ``c[0]``, ..."""
        return [f"{part}[{unit}]" for part in "hc" for unit in range(self.hidden_size)]

    def emitted(self, state: Tensor) -> Tensor:
        """Return h, shape (..., H)."""
        return state[..., : self.hidden_size]
