"""Measure a network while it is trained, without changing the training."""

from lyapkit.tracking.tracker import Tracker as Tracker

__all__ = ["Tracker"]
