"""Backpropagate through time by hand, over preallocated buffers, for one WCRNN or many of equal size."""

from __future__ import annotations

from wcrnn_models.training.adjoint.function import EnsembleForward, can_train_together, fast_forward

__all__ = ["EnsembleForward", "can_train_together", "fast_forward"]
