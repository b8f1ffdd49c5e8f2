"""Every analysis called in one way, on layers that are all alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lyapkit import (
    analyze,
    covariant_vectors,
    curvature_by_step,
    curvature_operator,
    gradient_propagation,
    hessian_spectrum,
    lyapunov_exponents,
    lyapunov_spectrum,
    spectral_density,
    variational_term,
)

T, M, N = 40, 2, 3
LENGTHS = [40, 17, 29]
B = len(LENGTHS)
TARGETS = torch.randn(B, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def layer(kind: type[nn.RNNBase] = nn.GRU, **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    return kind(M, N, **options).double()


def readout(outputs: int = 1) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(N, outputs).double()


def sequences(filler: float | None = None) -> Tensor:
    inputs = torch.randn(T, B, M, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if filler is not None:
        for sequence, length in enumerate(LENGTHS):
            inputs[length:, sequence] = filler
    return inputs


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss that is a sum over sequences, so that each has the gradient it would have alone."""
    return ((outputs - targets) ** 2).sum()


def gradients(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    targets = TARGETS[options.pop("rows", slice(None))]
    return gradient_propagation(
        model, inputs, targets, summed, readout=readout(), rng=0, per_unit=True, parameter_gradients=True, **options
    )


def vectors(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    return covariant_vectors(model, inputs, transient=4, settle=4, rng=0, **options)


def exponents(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    found = lyapunov_exponents(model, inputs, **options)
    return xr.Dataset({"exponents": (("trajectory", "exponent"), found.detach().numpy())})


def spectrum(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    return lyapunov_spectrum(model, inputs, qr_interval=1, **options)


def tree(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    found = analyze(model, inputs, TARGETS, mse_loss, readout=readout(), rng=0, hessian_k=3, **options)
    parts = [found[name].to_dataset() for name in found.children]
    return xr.Dataset(
        {f"{part.attrs['analysis']}.{name}": (part[name].dims, part[name].values) for part in parts for name in part}
    )


ALONG: dict[str, Callable[..., xr.Dataset]] = {
    "spectrum": spectrum,
    "variational": variational_term,
    "variational, thinned": lambda *a, **o: variational_term(*a, record_every=7, **o),
    "variational, horizon": lambda *a, **o: variational_term(*a, horizon=6, **o),
    "exponents": exponents,
    "exponents, interval": lambda *a, **o: exponents(*a, qr_interval=3, transient=5, **o),
    "vectors": vectors,
    "vectors, thinned": lambda *a, **o: vectors(*a, record_every=5, **o),
    "gradients": gradients,
    "gradients, window": lambda *a, **o: gradients(*a, fit=(2, 12), **o),
}


def options_of(curvature: Callable[..., Any], model: object, inputs: Any, **options: Any) -> Any:
    return curvature(model, (inputs, TARGETS), mse_loss, readout=readout(), **options)


def operator(model: object, inputs: Any, **options: Any) -> xr.Dataset:
    found = options_of(curvature_operator, model, inputs, **options)
    return xr.Dataset({"matrix": (("row", "column"), found @ np.eye(found.shape[0]))})


CURVATURE: dict[str, Callable[..., xr.Dataset]] = {
    "hessian": lambda *a, **o: options_of(hessian_spectrum, *a, k=3, rng=0, **o),
    "density": lambda *a, **o: options_of(spectral_density, *a, probes=2, order=5, rng=0, **o),
    "by step": lambda *a, **o: options_of(curvature_by_step, *a, k=2, bins=3, rng=0, **o),
    "operator": operator,
}
ALL = {**ALONG, **CURVATURE, "analyze": tree}
