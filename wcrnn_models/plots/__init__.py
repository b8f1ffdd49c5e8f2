"""Plots of what `wcrnn_models` measures; those of the analyses are in `lyapkit.plots`."""

from __future__ import annotations

from wcrnn_models.plots.power_spectrum import power_spectrum
from wcrnn_models.plots.sweep import sweep_exponents, sweep_metric

__all__ = ["power_spectrum", "sweep_exponents", "sweep_metric"]
