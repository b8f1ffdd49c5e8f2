"""The adapters that let lyapkit analyse any `RecurrentNetwork`, and what it may know of a WCRNN beyond its step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from lyapkit import RecurrentMap
from lyapkit.adapters import register_adapter
from lyapkit.cell_derivatives import AffineCell
from wcrnn_models.models.derivatives import affine_cell
from wcrnn_models.models.network import RecurrentNetwork
from wcrnn_models.models.wcrnn import WCRNN


class NetworkMap(RecurrentMap):
    """The step of a network as a recurrent map; its readout is the network's own.

    Args:
        network: The network; its current weights are read at every step.
    """

    def __init__(self, network: RecurrentNetwork) -> None:
        self.network = network

    def describe(self) -> str:
        """Name the network."""
        return f"{type(self).__name__} of {type(self.network).__name__}"

    @property
    def state_size(self) -> int:
        """N."""
        return self.network.state_size

    @property
    def input_size(self) -> int:
        """M."""
        return self.network.input_size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.network.readout.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.network.readout.weight.device

    @property
    def unit_names(self) -> list[str]:
        """The network's own names."""
        return self.network.unit_names

    def step(self, state: Tensor, input: Tensor | None = None) -> Tensor:
        """Compute `RecurrentNetwork.step`."""
        assert input is not None, "a network always has an input"
        return self.network.step(state, input)

    def output(self, state: Tensor) -> Tensor:
        """Compute `RecurrentNetwork.emitted`."""
        return self.network.emitted(state)

    @property
    def readout(self) -> Callable[[Tensor], Tensor]:
        """The network's affine readout."""
        return self.network.readout

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the network's parameters, including those of the readout."""
        return self.network.named_parameters(remove_duplicate=False)


class WCRNNMap(NetworkMap):
    """The step of a WCRNN, with its derivatives and the rate at which its gradients are predicted to grow.

    Args:
        network: The network; its current weights are read at every step.
    """

    network: WCRNN

    def __init__(self, network: WCRNN) -> None:
        super().__init__(network)

    @property
    def predicted_gradient_rate(self) -> float | None:
        """Eq. (15): log |largest eigenvalue of R|, to O(gamma); None for nonlinear residuals, and subclasses."""
        if type(self.network) is not WCRNN or not self.network.equation.is_linear:
            return None
        return float(self.network.residual.log_magnitudes()[0])

    def cell_derivatives(self) -> Sequence[AffineCell] | None:
        """Return one layer; None for a subclass, which may step differently, and for weights that are not trained."""
        cell = affine_cell(self.network) if type(self.network) is WCRNN else None
        return None if cell is None else [cell]


register_adapter(RecurrentNetwork, NetworkMap)  # type: ignore[type-abstract]  # it stands for its subclasses
register_adapter(WCRNN, WCRNNMap)
