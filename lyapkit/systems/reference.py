"""Reference systems: maps whose Lyapunov exponents are known, with the source of their values."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap


@dataclass(frozen=True, eq=False)
class ReferenceSystem:
    """A map with known exponents, and the run that measures them.

    Attributes:
        name: Its name.
        map: The map, in float64, starting in its attractor's basin.
        exponents: The leading exponents that are known (all N of most systems), descending, in nats per step, or per
            unit time where ``dt`` is given.
        uncertainty: Standard error of each exponent, or the allowance for a finite network where the value holds for an
            infinite one; 0 where the value is exact.
        source: Source of the values.
        note: Remarks about the map, such as why it is written in other variables than usual.
        inputs: Inputs of a driven map, (T, M) or (T, B, M).
        dt: Duration of a step.
        steps: Number of steps of an autonomous map in a run, including ``transient``.
        transient: Number of first steps of a run that are not counted.
        trajectories: Number of trajectories of an autonomous map in a run.
        spread: Standard deviation of the initial states of a run about the map's own.
        tolerance: Largest deviation of a run without chance, such as rounding; None where a run has a standard error.
        exponent_sum: Sum of all N exponents where it is known exactly, in the units of ``exponents``.
        sum_tolerance: Largest deviation of that sum in a run: rounding, or the error of the Runge-Kutta step.

    Raises:
        ValueError: If exponents and uncertainties differ in number, exponents are not descending or NaN, an uncertainty
            is negative or not finite, or inputs are missing or superfluous.

    Example:
        >>> import lyapkit
        >>> system = lyapkit.systems.cat_map()
        >>> ds = lyapkit.lyapunov_spectrum(system.map, **system.run())
        >>> bool(abs(ds.lyapunov_exponent - system.exponents).max() < system.tolerance)
        True
    """

    name: str
    map: RecurrentMap
    exponents: tuple[float, ...]
    uncertainty: tuple[float, ...]
    source: str
    note: str = ""
    inputs: Tensor | None = None
    dt: float = 1.0
    steps: int = 2100
    transient: int = 100
    trajectories: int = 1
    spread: float = 0.0
    tolerance: float | None = None
    exponent_sum: float | None = None
    sum_tolerance: float = 1e-12

    def __post_init__(self) -> None:
        if len(self.exponents) != len(self.uncertainty):
            raise ValueError(
                f"{self.name}: each exponent needs its uncertainty, got {len(self.exponents)} exponents and "
                f"{len(self.uncertainty)} uncertainties."
            )
        if any(math.isnan(value) for value in self.exponents):
            raise ValueError(f"{self.name}: exponents must be numbers or -inf, got {self.exponents}.")
        if any(left < right for left, right in itertools.pairwise(self.exponents)):
            raise ValueError(f"{self.name}: exponents must be descending, got {self.exponents}.")
        if not 1 <= len(self.exponents) <= self.map.state_size:
            raise ValueError(
                f"{self.name}: a map of {self.map.state_size} components has 1 to {self.map.state_size} exponents, "
                f"got {len(self.exponents)}."
            )
        if any(not (value >= 0 and math.isfinite(value)) for value in self.uncertainty):
            raise ValueError(f"{self.name}: uncertainties must be finite and at least 0, got {self.uncertainty}.")
        if (self.inputs is None) != (self.map.input_size == 0):
            raise ValueError(
                f"{self.name}: a driven map needs inputs, and an autonomous one takes none; this one takes "
                f"{self.map.input_size} inputs, given {'none' if self.inputs is None else tuple(self.inputs.shape)}."
            )

    def run(self, seed: int = 0) -> dict[str, Any]:
        """Return the arguments of `lyapkit.lyapunov_spectrum` for a run that tells the exponents to about one per cent.

        Args:
            seed: Seed of the initial states and of the frame.
        """
        known = len(self.exponents)
        arguments: dict[str, Any] = {
            "k": None if known == self.map.state_size else known,
            "transient": self.transient,
            "dt": self.dt,
            "rng": seed,
        }
        if self.inputs is not None:
            return {"inputs": self.inputs, **arguments}
        start = self.map.initial_state(self.trajectories)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(start.shape, generator=generator, dtype=start.dtype, device="cpu")
        return {"steps": self.steps, "initial_state": start + self.spread * noise, **arguments}
