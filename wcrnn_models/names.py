"""The names of models, residuals and tasks in configurations; importing them does not import PyTorch."""

from __future__ import annotations

from typing import Literal

TaskName = Literal["adding", "smnist", "psmnist", "scifar10", "arrays"]
ModelName = Literal["wcrnn", "elman", "lstm", "ur-lstm", "s4d"]
ResidualName = Literal["scalar", "rotation", "heterogeneous", "orthogonal", "informed", "dense"]
Form = Literal["linear", "A", "B"]
Nonlinearity = Literal["tanh", "identity"]
LossName = Literal["mse", "rms"]
LossOn = Literal["last", "every"]
FloatType = Literal["float32", "float64"]
