"""Elman_wc: a WCRNN of type B is an Elman network with a weakly coupled initialisation (section 4.4)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from wcrnn_models.models.equations import Equation
from wcrnn_models.models.wcrnn import WCRNN


def plain_rnn(network: WCRNN) -> tuple[nn.RNN, nn.Linear]:
    """Return the weights of a network of type B, eq. (19), in PyTorch's own Elman network and readout.

    sigma(R x + gamma (W_xx x + b_xx + W_sx s + b_sx)) is sigma(W_hh x + b_hh + W_ih s + b_ih) with

        W_hh = R + diag(gamma) W_xx,  b_hh = gamma b_xx,  W_ih = diag(gamma) W_sx,  b_ih = gamma b_sx,

    so both give the same outputs, to rounding. Trained further by gradient descent they go the same way, for a scalar
    gamma at another pace: a learning rate of the WCRNN acts on W_hh as gamma^2 times it does in the `nn.RNN`.

    Args:
        network: A WCRNN of form ``"B"`` with tanh.

    Returns:
        The recurrent layer, time first, and the readout of its last output; copies, of the network's type and device.

    Raises:
        ValueError: If the network is of another form, or without tanh.

    Example:
        >>> import torch
        >>> from wcrnn_models import WCRNN, plain_rnn, residuals
        >>> network = WCRNN(1, 8, 2, residual=residuals.informed(rng=0), form="B", rng=1, dtype=torch.float64)
        >>> layer, readout = plain_rnn(network)
        >>> inputs = torch.ones(20, 3, 1, dtype=torch.float64)
        >>> torch.allclose(readout(layer(inputs)[0][-1]), network(inputs))
        True
    """
    if network.equation != Equation(total=True):
        raise ValueError(
            f"only a WCRNN of form 'B' with tanh is an Elman network, got form {network.form!r} and nonlinearity "
            f"{network.nonlinearity!r}."
        )
    weight, bias = network.recurrent.weight, network.recurrent.bias
    gamma = network.coupling.expand(network.hidden_size)
    layer = nn.RNN(network.input_size, network.hidden_size, device="meta", dtype=weight.dtype)
    layer = layer.to_empty(device=weight.device)
    with torch.no_grad():
        layer.load_state_dict(
            {
                "weight_hh_l0": network.residual.matrix() + gamma.unsqueeze(-1) * weight,
                "bias_hh_l0": gamma * bias,
                "weight_ih_l0": gamma.unsqueeze(-1) * network.input.weight,
                "bias_ih_l0": gamma * network.input.bias,
            }
        )
    return layer, copy.deepcopy(network.readout)
