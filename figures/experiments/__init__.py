"""Measurements beside the campaign for figures and report: equations, untrained networks, and a few trained ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import xarray as xr

from figures.experiments import (
    architecture_spectra,
    coupling_law,
    curvature_over_time,
    digit,
    initial_dynamics,
    untrained,
)

EXPERIMENTS: Mapping[str, Callable[..., xr.DataTree]] = MappingProxyType(
    {
        "untrained": untrained.measure,
        "initial_dynamics": initial_dynamics.measure,
        "coupling_law": coupling_law.measure,
        "curvature_over_time": curvature_over_time.measure,
        "architecture_spectra": architecture_spectra.measure,
        "digit": digit.measure,
    }
)
"""Experiments by name, which is also that of the result file. Each takes the folder of trainings, and ``progress``."""
