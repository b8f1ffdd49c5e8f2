"""A small result of every analysis."""

import torch
import xarray as xr
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit


def cell() -> nn.Module:
    torch.manual_seed(0)
    return nn.LSTMCell(2, 3).double()


def predicting() -> lyapkit.RecurrentMap:
    """The cell's map with a prediction for its gradients, as residual networks make one."""
    map = lyapkit.as_map(cell())
    map.__class__ = type("Predicting", (type(map),), {"predicted_gradient_rate": -0.5})
    return map


INPUTS = torch.randn(12, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
READOUT = nn.Linear(3, 1).double()

ANALYSES = {
    "lyapunov_spectrum": lambda: lyapkit.lyapunov_spectrum(cell(), INPUTS, k=2, rng=0, transient=2, keep_states=True),
    "variational_term": lambda: lyapkit.variational_term(cell(), INPUTS),
    "covariant_vectors": lambda: lyapkit.covariant_vectors(
        cell(), INPUTS, k=2, rng=0, transient=2, settle=3, instantaneous=True, angles=[(1, 2)]
    ),
    "gradient_propagation": lambda: lyapkit.gradient_propagation(
        predicting(),
        INPUTS,
        torch.zeros(2, 1).double(),
        mse_loss,
        readout=READOUT,
        rng=0,
        per_unit=True,
        record_every=5,
        parameter_gradients=True,
    ),
    "hessian_spectrum": lambda: lyapkit.hessian_spectrum(
        nn.Linear(2, 1).double(),
        (INPUTS[0], torch.zeros(2, 1).double()),
        mse_loss,
        k=2,
        learning_rate=0.1,
        eigenvectors=True,
        rng=0,
    ),
}


def annihilating() -> xr.Dataset:
    """Exponents of -inf, infinite errors and time scales: what files must carry as well."""
    shrink = torch.diag(torch.tensor([1.5, 0.5, 0.0])).double()
    map = lyapkit.as_map(lambda x: shrink @ x, state=torch.ones(3).double())
    return lyapkit.lyapunov_spectrum(map, steps=3)


def tree() -> xr.DataTree:
    return lyapkit.analyze(cell(), INPUTS, torch.zeros(2, 1).double(), mse_loss, readout=READOUT, hessian_k=2, rng=0)
