"""What a reference system is: a map whose Lyapunov exponents are known, and from where."""

from __future__ import annotations

from dataclasses import dataclass

from lyapkit.recurrent_map import RecurrentMap


@dataclass(frozen=True)
class ReferenceSystem:
    """A map with known exponents.

    Attributes:
        name: what it is called.
        map: the map, in float64, starting on its attractor's basin.
        exponents: in nats per step, descending.
        uncertainty: standard error of each exponent; 0 where the value is exact.
        source: where the values come from.
    """

    name: str
    map: RecurrentMap
    exponents: tuple[float, ...]
    uncertainty: tuple[float, ...]
    source: str
