"""Provide the forward pass of networks with the hand-written gradient, for training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.training.adjoint.fused import FusedKernel, fused_kernel_fits
from wcrnn_models.training.adjoint.kernel import Kernel
from wcrnn_models.training.adjoint.sequence import SequenceKernel

_TYPES = (torch.float32, torch.float64)


class EnsembleForward:
    """Outputs of K networks, equal to those of their own ``forward`` up to rounding, and several times faster.

    Gradients with respect to the parameters are those of backpropagation through time, written by hand. A `FusedKernel`
    computes them on GPUs that it supports, else a `SequenceKernel`. Only first derivatives exist, and inputs and
    initial states cannot be differentiated. So analyses use the network itself.

    Args:
        networks: Networks for which `can_train_together` holds.

    Raises:
        ValueError: If it does not.

    Example:
        >>> import torch
        >>> from wcrnn_models import WCRNN, residuals
        >>> networks = [WCRNN(1, 8, 2, residual=residuals.scalar(r), rng=0) for r in (0.9, 1.0)]
        >>> inputs = torch.rand(20, 4, 1)
        >>> for output, network in zip(EnsembleForward(networks)([inputs, inputs]), networks):
        ...     torch.testing.assert_close(output, network(inputs), rtol=1e-5, atol=1e-6)
    """

    def __init__(self, networks: Sequence[WCRNN]) -> None:
        if not can_train_together(networks):
            raise ValueError(
                "networks that are computed together must be WCRNNs of equal sizes, form, nonlinearity, type and "
                "device that read out the last step, in float32 or float64 and without hooks; compute others one by "
                "one."
            )
        self.networks = tuple(networks)
        self._made_for: tuple[object, ...] = ()
        self.kernel = self._kernel()

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute outputs, shape (B, O) for each network, for inputs of shape (T, B, M) each.

        Raises:
            ValueError: If a shape does not fit, or the shapes differ.
            TypeError: If a type is not the networks'.
            RuntimeError: If an input requires a gradient; or, from the backward pass, if it is differentiated a second
                time or after another forward pass of this object.
        """
        if len(inputs) != len(self.networks) or any(each.shape != inputs[0].shape for each in inputs):
            shapes = [tuple(each.shape) for each in inputs]
            raise ValueError(f"expected {len(self.networks)} inputs of one shape (T, B, M), got {shapes}.")
        for network, each in zip(self.networks, inputs, strict=True):
            network._check("inputs", each, network.input_size)
        if inputs[0].ndim != 3 or 0 in inputs[0].shape:
            raise ValueError(f"inputs must have shape (T, B, M) with T, B >= 1, got {tuple(inputs[0].shape)}.")
        self.kernel = self._kernel()
        if torch.is_grad_enabled():
            if any(each.requires_grad for each in inputs):
                raise RuntimeError(
                    "gradients with respect to inputs are not computed here; use the network itself, or detach them."
                )
            states: Tensor = _Evolve.apply(self._weight(), self.kernel, tuple(inputs))  # type: ignore[no-untyped-call]
        else:
            states, _ = self.kernel.forward(self._weight(), inputs, keep=False)
        readout = [network.readout for network in self.networks]
        weight, bias = _stack(layer.weight for layer in readout), _stack(layer.bias for layer in readout)
        return list(torch.baddbmm(bias.unsqueeze(1), states, weight.transpose(1, 2)).unbind())

    def _kernel(self) -> Kernel:
        """Return the kernel, or a new one if the networks have been moved or cast, or have another residual."""
        weight = self.networks[0].recurrent.weight
        present = weight.dtype, weight.device, *(network.residual for network in self.networks)
        if present != self._made_for:
            if not can_train_together(self.networks):
                raise ValueError("the networks have been changed so that they cannot be computed together any more.")
            fused = fused_kernel_fits(self.networks)
            self._made_for, self.kernel = present, (FusedKernel if fused else SequenceKernel)(self.networks)
        return self.kernel

    def _weight(self) -> Tensor:
        """Return (W_xx, b_xx + b_sx, W_sx, 0) of every network, shape (K, N, E), differentiable."""
        recurrent = [network.recurrent for network in self.networks]
        input = [network.input for network in self.networks]
        biases = _stack(layer.bias for layer in recurrent) + _stack(layer.bias for layer in input)
        parts = [
            _stack(layer.weight for layer in recurrent),
            biases.unsqueeze(2),
            _stack(layer.weight for layer in input),
        ]
        missing = self.kernel.width - sum(part.shape[2] for part in parts)
        return torch.cat([*parts, parts[0].new_zeros(*parts[0].shape[:2], missing)], dim=2)


def fast_forward(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the forward pass to train a network with: a kernel if there is one, else the network itself.

    Args:
        network: Network of any kind.

    Returns:
        A function of inputs (T, B, M). For a `WCRNN`, it is an `EnsembleForward` of one network, with its limits.
    """
    if not isinstance(network, WCRNN) or not can_train_together([network]):
        return network
    forward = EnsembleForward([network])
    return lambda inputs: forward([inputs])[0]


def can_train_together(networks: Sequence[nn.Module]) -> bool:
    """Tell whether an `EnsembleForward` of these networks exists."""
    return (
        all(type(network) is WCRNN and network.outputs_at == "last" and not _hooked(network) for network in networks)
        and len({_signature(network) for network in networks if isinstance(network, WCRNN)}) == 1
        and next(networks[0].parameters()).dtype in _TYPES
    )


def _signature(network: WCRNN) -> tuple[object, ...]:
    sizes = network.input_size, network.hidden_size, network.output_size
    weight = network.recurrent.weight
    return (*sizes, network.form, network.nonlinearity, weight.dtype, weight.device)


def _stack(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors))


def _hooked(network: nn.Module) -> bool:
    """Tell whether a module of the network has a hook."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class _Evolve(torch.autograd.Function):
    """Function from weights to final states."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kernel: Kernel, inputs: tuple[Tensor, ...]) -> Tensor:
        states, ctx.number = kernel.forward(weight, inputs, keep=True)
        ctx.kernel = kernel
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the hand-written gradient cannot be differentiated again; for second derivatives use the network "
                "itself, as lyapkit's analyses do."
            )
        return ctx.kernel.backward(gradients[0], ctx.number), None, None
