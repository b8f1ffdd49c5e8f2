"""Plots of what `wcrnn_models` measures; those of the analyses are in `lyapkit.plots`."""

from __future__ import annotations

from wcrnn_models.plots.power_spectrum import power_spectrum

__all__ = ["power_spectrum"]
