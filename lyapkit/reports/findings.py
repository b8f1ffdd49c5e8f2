"""Warnings that a reader needs before the numbers: flags that analyses set, and parts that are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lyapkit.reports.words import ORIGIN
from lyapkit.results.verdicts import COVARIANT

Values = NDArray[Any]


def _is_zero(values: Values) -> Values:
    return np.equal(values, 0)


def _is_set(values: Values) -> Values:
    return values > 0


def _is_infinite(values: Values) -> Values:
    return np.isposinf(values)


def _is_apart(values: Values) -> Values:
    return values > COVARIANT


@dataclass(frozen=True)
class Flag:
    """A variable whose values can call for a warning.

    Attributes:
        variable: Its name.
        is_raised: Function from its values to which of them do.
        text: The warning, with ``{count}`` of ``{all}``.
    """

    variable: str
    is_raised: Callable[[Values], Values]
    text: str


FLAGS = {
    "lyapunov_spectrum": (
        Flag(
            "error_reliable",
            _is_zero,
            "{count} of {all} exponents have no standard error, because the run is too short for their correlation "
            "time; run more steps.",
        ),
        Flag(
            "converged",
            _is_zero,
            "{count} of {all} trajectories have not converged: the run is too short, or its two halves differ beyond "
            "their errors; run more steps, or leave out a longer transient.",
        ),
        Flag(
            "below_resolution", _is_set, "{count} of {all} exponents are so small that float64 cannot tell how small."
        ),
        Flag(
            "kaplan_yorke_is_lower_bound",
            _is_set,
            "{count} of {all} Kaplan-Yorke dimensions are lower bounds, because too few exponents were computed; "
            "compute more with k=.",
        ),
    ),
    "variational_term": (
        Flag(
            "below_resolution",
            _is_set,
            "{count} of {all} singular values, over all steps, are so small that float64 cannot tell how small.",
        ),
    ),
    "covariant_vectors": tuple(
        Flag(
            name,
            _is_apart,
            f"{{count}} of {{all}} vectors have not settled; make {argument}= longer.",
        )
        for name, argument in (("forward_difference", "transient"), ("backward_difference", "settle"))
    ),
    "gradient_propagation": (
        Flag(
            "growth_rate_error",
            _is_infinite,
            "{count} of {all} growth rates have no standard error, because the sequences are too short; take longer "
            "ones.",
        ),
    ),
    "hessian_spectrum": (
        Flag(
            "converged",
            _is_zero,
            "{count} of {all} eigenvalues have not met the tolerance; raise max_products=.",
        ),
        Flag(
            "contains_pole",
            _is_set,
            "{count} of {all} effective learning rates are infinite, because the interval of the eigenvalue holds the "
            "pole 1 / (learning rate).",
        ),
    ),
    "fixed_points": (
        Flag("slow", _is_set, "{count} of {all} points are slow points: the network does not stop there."),
        Flag("marginal_dimensions", _is_set, "{count} of {all} points have eigenvalues that cannot be told from 1."),
        Flag("on_kink", _is_set, "{count} of {all} points lie where the network has no derivative."),
        Flag("outlier", _is_set, "{count} of {all} points lie far outside of the starts of the search."),
    ),
}
"""The flags of each analysis."""


def findings(result: xr.Dataset) -> list[str]:
    """Return the warnings about one result, as sentences.

    Args:
        result: The Dataset of an analysis.
    """
    analysis = result.attrs["analysis"]
    found = []
    for flag in FLAGS.get(analysis, ()):
        if flag.variable in result:
            raised = flag.is_raised(result[flag.variable].values)
            if raised.any():
                found.append(flag.text.format(count=int(raised.sum()), all=raised.size))
    if analysis == "hessian_spectrum" and _number(result, "converged") == 0 and not found:
        found.append("The search for multiple eigenvalues has not come to its end; raise max_products=.")
    if analysis == "fixed_points":
        if not result.sizes.get("fixed_point", 0):
            found.append("No fixed or slow point was found; search from other starts, or from more.")
        if (unfinished := _number(result, "starts_unfinished")) is not None and unfinished > 0:
            found.append(f"{unfinished:g} starts of the search were not at their end; raise max_iterations=.")
    if lost := [text for name, text in ORIGIN.items() if name not in result.attrs]:
        found.append(
            f"The result does not say where it comes from ({', '.join(lost)}); some operation has dropped its "
            "attributes (keep_attrs=True keeps them)."
        )
    return found


def _number(result: xr.Dataset, name: str) -> float | None:
    value = result.attrs.get(name)
    return float(value) if isinstance(value, int | float | np.number) else None


def findings_together(results: dict[str, xr.Dataset]) -> list[str]:
    """Return the warnings about results that stand on one page.

    Args:
        results: The results by their names.
    """
    groups: dict[str, set[str]] = {}
    for path, result in results.items():
        if digest := result.attrs.get("checkpoint_sha256"):
            groups.setdefault(path.rpartition("/")[0], set()).add(str(digest))
    return [
        f"The results{f' in {place}' if place else ''} are of {len(digests)} different weights files."
        for place, digests in groups.items()
        if len(digests) > 1
    ]
