"""Adapters: from PyTorch modules and callables to `lyapkit.RecurrentMap`, one file per family."""

from lyapkit.adapters.registry import as_map as as_map
from lyapkit.adapters.registry import as_single_map as as_single_map
from lyapkit.adapters.registry import register_adapter as register_adapter

__all__ = ["as_map", "as_single_map", "register_adapter"]
