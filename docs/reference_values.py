"""Measure every reference system and write the table of `how_do_we_know.md`.

python docs/reference_values.py
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

import lyapkit
from lyapkit.systems import ReferenceSystem

PAGE = Path(__file__).with_name("how_do_we_know.md")
BEGIN, END = (
    "<!-- reference values: written by docs/reference_values.py -->",
    "<!-- end of reference values -->",
)
FALSE_ALARM = 1e-3
"""Probability that a correct library fails anywhere in the table."""


@dataclass(frozen=True)
class Measurement:
    """A reference system and what a run of `lyapkit.lyapunov_spectrum` finds of it.

    Attributes:
        system: the reference.
        exponents: means over the trajectories of the run, descending.
        standard_error: of these means, from the standard errors that the run reports.
        spread: the same from the differences between trajectories alone; NaN for a single one.
        degrees_of_freedom: of the standard errors.
        exponent_sum: of all exponents of the run; NaN when it has not all.
    """

    system: ReferenceSystem
    exponents: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    spread: NDArray[np.float64]
    degrees_of_freedom: int
    exponent_sum: float

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Measured minus reference; 0 where both are -inf."""
        reference = np.array(self.system.exponents)
        same = np.isneginf(self.exponents) & np.isneginf(reference)
        return np.where(same, 0.0, self.exponents - np.where(same, 0.0, reference))

    @property
    def z(self) -> NDArray[np.float64]:
        """Deviation in units of the two uncertainties together."""
        return self.deviation / np.hypot(self.standard_error, self.system.uncertainty)


def measure(system: ReferenceSystem, seed: int = 0) -> Measurement:
    """Run a reference system as it proposes."""
    ds = lyapkit.lyapunov_spectrum(system.map, **system.run(seed))
    # averages over trajectories are taken in the order of the frame: those of sorted values would be biased apart
    frame = ds.frame_order.values.argsort(axis=1)
    exponents = np.take_along_axis(ds.lyapunov_exponent.values, frame, axis=1)
    error = np.take_along_axis(ds.standard_error.values, frame, axis=1)
    trajectories = len(exponents)
    mean = exponents.mean(axis=0)
    order = mean.argsort()[::-1]
    spread = np.full(mean.shape, math.nan)
    if trajectories > 1:
        spread = exponents.std(axis=0, ddof=1) / math.sqrt(trajectories)
    return Measurement(
        system,
        mean[order],
        np.sqrt(
            np.ma.masked_invalid(error**2).mean(axis=0).filled(math.inf) / trajectories
        )[order],
        spread[order],
        trajectories * int(ds.attrs["error_degrees_of_freedom"]),
        float(mean.sum()) if mean.size == system.map.state_size else math.nan,
    )


def largest_z(measurements: list[Measurement]) -> list[float]:
    """The |z| that a correct library exceeds nowhere, up to `FALSE_ALARM` (Bonferroni over all exponents in doubt)."""
    tests = sum(
        len(found.exponents) for found in measurements if found.system.tolerance is None
    )
    return [
        float(student.isf(FALSE_ALARM / (2 * tests), found.degrees_of_freedom))
        for found in measurements
    ]


def table(measurements: list[Measurement]) -> str:
    """The table in Markdown: one row per exponent, and one where the sum is known."""
    lines = [
        "| system | exponent | reference | measured | standard error | between trajectories | z, or deviation "
        "| source |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in measurements:
        system = found.system
        source = (system.source + (f"; {system.note}" if system.note else "")).replace(
            "|", "\\|"
        )
        for index, reference in enumerate(system.exponents):
            uncertainty = system.uncertainty[index]
            cells = [
                system.name if index == 0 else "",
                str(index + 1),
                _number(reference) + (f" ± {uncertainty:.1g}" if uncertainty else ""),
                _number(found.exponents[index]),
                *_errors(found, index),
                source if index == 0 else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        if system.exponent_sum is not None:
            values = f"{_number(system.exponent_sum)} | {_number(found.exponent_sum)}"
            lines.append(
                f"|  | sum | {values} |  |  | {_deviation(found.exponent_sum - system.exponent_sum)} |  |"
            )
    return "\n".join(lines)


def _errors(found: Measurement, index: int) -> tuple[str, str, str]:
    """Standard error, its counterpart between trajectories, and z; only the deviation where chance has no part."""
    if found.system.tolerance is not None:
        return "", "", _deviation(found.deviation[index])
    spread = "" if math.isnan(found.spread[index]) else f"{found.spread[index]:.1e}"
    return f"{found.standard_error[index]:.1e}", spread, f"z = {found.z[index]:+.2f}"


def _deviation(value: float) -> str:
    return "0" if value == 0 else f"{value:+.0e}"


def _number(value: float) -> str:
    return "-inf" if math.isinf(value) else f"{round(value, 5) + 0.0:.5f}"


def write(text: str, page: Path = PAGE) -> None:
    """Put the table between the two marks of the page.

    Raises:
        ValueError: the page does not have each mark once.
    """
    before = page.read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1:
        raise ValueError(
            f"{page} must have each of the lines {BEGIN!r} and {END!r} once."
        )
    head, rest = before.split(BEGIN)
    tail = rest.split(END)[1]
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Measure, write, and say what is furthest off."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    measurements = []
    for system in lyapkit.systems.catalogue():
        start = time.perf_counter()
        measurements.append(measure(system))
        worst = np.abs(
            measurements[-1].deviation
            if system.tolerance is not None
            else measurements[-1].z
        ).max()
        what = "deviation" if system.tolerance is not None else "|z|"
        print(
            f"{system.name}: largest {what} {worst:.2g}, {time.perf_counter() - start:.1f} s"
        )
    write(table(measurements))
    print(
        f"{len(measurements)} systems in {time.perf_counter() - begin:.0f} s; written to {PAGE.name}"
    )


if __name__ == "__main__":
    main()
