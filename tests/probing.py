"""The analyses that probe a map before its run."""

import torch
from torch import Tensor, nn

from lyapkit import (
    covariant_vectors,
    gradient_propagation,
    lyapunov_spectrum,
    variational_term,
)


def gradients(model, inputs=None, **options):
    readout = options.pop("readout", nn.Identity())
    return gradient_propagation(model, inputs, None, lambda outputs, _: outputs.sum(), readout=readout, **options)


PROBING = {
    "lyapunov_spectrum": lyapunov_spectrum,
    "variational_term": variational_term,
    "variational_term with a horizon": lambda *args, **options: variational_term(*args, horizon=2, **options),
    "covariant_vectors": covariant_vectors,
    "gradient_propagation": gradients,
}
T, B, M, N = 8, 3, 2, 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Buffered(nn.Module):
    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(2).double())
        self.in_place = in_place

    def forward(self, x):
        if self.in_place:
            self.h.mul_(0.5).add_(x)
        else:
            self.h = 0.5 * self.h + x
        return 0.1 * self.h


ZERO, ONE = torch.zeros(2).double(), torch.ones(2).double()
TRAINING = r"is in training mode, so a step depends on chance or on the batch; call \.eval\(\) first"
