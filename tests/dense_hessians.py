"""Networks and the dense Hessians of their losses, to compare with; nothing of lyapkit's is in them."""

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, hessian


class LastStep(nn.Module):
    """A recurrent layer with an affine readout of its last output."""

    def __init__(self, layer: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear((layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional), outputs)

    def forward(self, inputs):
        emitted, _ = self.layer(inputs)
        return self.head(emitted[:, -1] if self.layer.batch_first else emitted[-1])


LAYERS = {
    "RNN": lambda: nn.RNN(2, 4),
    "GRU": lambda: nn.GRU(2, 3),
    "LSTM": lambda: nn.LSTM(2, 3),
    "LSTM 2 layers proj": lambda: nn.LSTM(2, 3, num_layers=2, proj_size=2),
    "GRU bidirectional batch_first": lambda: nn.GRU(2, 2, bidirectional=True, batch_first=True),
}


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def as_parameters(model: nn.Module, vector: torch.Tensor) -> dict[str, torch.Tensor]:
    parameters, start = {}, 0
    for name, parameter in model.named_parameters():
        parameters[name] = vector[start : start + parameter.numel()].reshape(parameter.shape)
        start += parameter.numel()
    return parameters


def dense_hessian(model: nn.Module, loss, batches) -> torch.Tensor:
    """torch.func.hessian of the loss over all samples of all batches together, through the model's own layers."""

    def value(vector):
        outputs = [functional_call(model, as_parameters(model, vector), (inputs,)) for inputs, _ in batches]
        return loss(torch.cat(outputs), torch.cat([targets for _, targets in batches]))

    return hessian(value)(flat(model))


def leading(values: torch.Tensor, k: int) -> np.ndarray:
    return values[values.abs().argsort(descending=True)][:k].numpy()
