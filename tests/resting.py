"""Autonomous maps, and columns of their fixed points."""

import numpy as np
import torch
import xarray as xr
from torch import nn

import lyapkit
from lyapkit import as_map


def autonomous(step, size: int = 1, dtype: torch.dtype = torch.float64) -> lyapkit.RecurrentMap:
    return as_map(step, state=torch.zeros(size, dtype=dtype))


def columns(ds: xr.Dataset, *names: str) -> list[list]:
    return [ds[name].values.tolist() for name in names]


def magnitudes(ds: xr.Dataset) -> np.ndarray:
    return np.hypot(ds.eigenvalue_real, ds.eigenvalue_imag)


def fixed_cell(kind: type, dtype: torch.dtype, gain: float) -> nn.Module:
    torch.manual_seed(0)
    cell = kind(2, 6).to(dtype)
    with torch.no_grad():
        cell.weight_hh *= gain
    return cell
