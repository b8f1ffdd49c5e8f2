"""Claims about rotations, heterogeneous and non-linear residuals: Figs. 4, 5, 6 and B.4D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from figures.claims import heterogeneity_effect
from figures.paper import TITLES
from figures.protocols import CHARACTERISTIC_FREQUENCY
from figures.report.claim import Check, Claim, Data
from figures.report.compare import (
    any_reached,
    below,
    best,
    better,
    counted_setback,
    exceeds,
    has_learnt,
    iterations,
    rising,
    smaller_setback,
    written,
    written_iterations,
    written_setback,
)
from figures.report.strength import NEAR

WEAKER = 0.5
"""What fraction of sMNIST's range over angles psMNIST may have to show no strong effect."""

SIMILAR = 0.02
"""Accuracies that differ by less are similar, if the instances themselves do not differ by more."""


def peaks(data: Data) -> list[Check]:
    """Accuracy at the characteristic frequency and its harmonics beside that of the neighbouring angles."""
    training = data["rotations"]["training"].to_dataset().sel(task="smnist").sortby("phi")
    return [Check(text, better(training, at, beside)) for text, at, beside in _peaks(training)]


def fastest(data: Data) -> list[Check]:
    """Iterations to minimal performance at the characteristic frequency and harmonics beside the neighbours'."""
    training = data["rotations"]["training"].to_dataset().sel(task="smnist").sortby("phi")
    checks = []
    for multiple, place, neighbour in _neighbours(training):
        at, beside = (iterations(training, phi=training.phi.values[each]) for each in (place, neighbour))
        first, other = (written_iterations(training, phi=training.phi.values[each]) for each in (place, neighbour))
        text = f"{first} at {multiple:g} phi_c, {other} at {_multiple(training, neighbour):g} phi_c"
        checks.append(Check(text, below(at, beside) if any_reached(training) else None))
    return checks


def permuted(data: Data) -> list[Check]:
    """The range over angles on psMNIST beside that on sMNIST."""
    training = data["rotations"]["training"].to_dataset()
    ranges, extremes, parts = {}, [], []
    for task in ("smnist", "psmnist"):
        means = {phi: best(training, task=task, phi=phi) for phi in training.phi.values}
        rotated = [mean for phi, mean in means.items() if phi]
        extremes += [max(means.values()), min(means.values())]
        ranges[task] = max(means.values()) - min(means.values())
        without = f", {100 * (max(rotated) - min(rotated)):.1f} without phi_0 = 0" if 0 in means and rotated else ""
        parts.append(f"{TITLES[task]} {100 * ranges[task]:.1f} percentage points{without}")
    text = "; ".join(parts)
    learnt = has_learnt(training, float(training.best_metric.mean("seed").max()))
    holds = exceeds(training, WEAKER * ranges["smnist"] - ranges["psmnist"], *extremes) if learnt else None
    return [Check(f"range of the best accuracy over phi_0: {text}", holds)]


def orthonormal(data: Data) -> list[Check]:
    """Random orthogonal residuals beside rotations by random angles."""
    training = data["orthonormal"]["training_smnist"].to_dataset()
    first, second = training.network.values
    one, other = best(training, network=first), best(training, network=second)
    instances = float((training.best_metric.max("seed") - training.best_metric.min("seed")).max())
    text = f"{first} {written(training, one)}, {second} {written(training, other)}"
    learnt = has_learnt(training, max(one, other))
    return [Check(text, abs(one - other) <= max(SIMILAR, instances) if learnt else None)]


def moderate(data: Data) -> list[Check]:
    """Accuracy and iterations of moderate heterogeneity beside those of none."""
    training, effect = _heterogeneous(data)
    none = effect.sel(delta_r=0)
    checks = []
    for width in effect.delta_r.values:
        if width and _side(width, effect) < 0:
            one = effect.sel(delta_r=width)
            accuracy = float(one.best_accuracy), float(none.best_accuracy)
            text = f"delta_r = {width:g}: {written(training, accuracy[0])}, none: {written(training, accuracy[1])}"
            checks.append(Check(text, better(training, *accuracy)))
            counts = [float(each.iterations_to_minimal_performance) for each in (one, none)]
            speeds = [written_iterations(training, delta_r=each) for each in (width, 0)]
            text = f"delta_r = {width:g}: {speeds[0]}, none: {speeds[1]}"
            checks.append(Check(text, below(*counts) if any_reached(training) else None))
    return checks


def strong(data: Data) -> list[Check]:
    """Setbacks of strong heterogeneity beside those of all others."""
    training, effect = _heterogeneous(data)
    largest = counted_setback(training)
    weaker = float(largest.sel(delta_r=[w for w in effect.delta_r.values if _side(w, effect) < 0]).max())
    checks = []
    for width in effect.delta_r.values:
        if _side(width, effect) > 0:
            value = float(largest.sel(delta_r=width))
            text = (
                f"delta_r = {width:g}: largest setback {written_setback(value)}, less heterogeneous: "
                f"{written_setback(weaker)}"
            )
            checks.append(Check(text, smaller_setback(weaker, value)))
    return checks


def memory(data: Data) -> list[Check]:
    """Exponents, gradients and curvature of untrained networks against delta_r."""
    _, effect = _heterogeneous(data)
    effect = effect.sortby("delta_r")
    checks = []
    for name, about in (
        ("largest_exponent", "largest exponent, nats per step"),
        ("growth_rate", "rate of gradients back in time, nats per step"),
        ("median_eigenvalue", "median Hessian magnitude"),
    ):
        values = effect[name].values
        pairs = ", ".join(
            f"{value:.3g} (delta_r = {w:g})" for w, value in zip(effect.delta_r.values, values, strict=True)
        )
        checks.append(Check(f"{about}: {pairs}", rising(values)))
    return checks


def forms_near_the_edge(data: Data) -> list[Check]:
    """The best accuracy of types A and B near r = 1 beside the best one farther away."""
    checks = []
    for form, training in _forms(data, "strength"):
        strengths = {float(r): best(training, r=r) for r in training.r.values}
        near = max((r for r in strengths if abs(r - 1) <= NEAR), key=lambda r: strengths[r])
        far = max((r for r in strengths if abs(r - 1) > NEAR), key=lambda r: strengths[r])
        text = (
            f"type {form}: best near 1 {written(training, strengths[near])} (r = {near:g}), farther away "
            f"{written(training, strengths[far])} (r = {far:g})"
        )
        checks.append(Check(text, better(training, strengths[near], strengths[far])))
    return checks


def forms_sides(data: Data) -> list[Check]:
    """On which side of 1 the best r of types A and B lies."""
    checks = []
    for form, training in _forms(data, "strength"):
        under = max(best(training, r=r) for r in training.r.values if r < 1)
        above = max(best(training, r=r) for r in training.r.values if r > 1)
        text = (
            f"type {form}: best subcritical {written(training, under)}, best supercritical {written(training, above)}"
        )
        checks.append(Check(text, better(training, *((under, above) if form == "A" else (above, under)))))
    return checks


def forms_peaks(data: Data) -> list[Check]:
    """The peak of types A and B at the characteristic frequency, and how far accuracy varies with the angle."""
    checks, extremes, learnt = [], {}, False
    for form, training in _forms(data, "angle"):
        for text, at, beside in _peaks(training):
            checks.append(Check(f"type {form}: {text}", better(training, at, beside)))
        means = [best(training, phi=phi) for phi in training.phi.values]
        extremes[form] = max(means), min(means)
        learnt |= has_learnt(training, max(means))
    ranges = {form: high - low for form, (high, low) in extremes.items()}
    text = ", ".join(f"type {form} {100 * value:.1f} percentage points" for form, value in ranges.items())
    decided = learnt and set(ranges) == {"A", "B"}
    larger = ranges["B"] - ranges["A"] if decided else 0.0
    holds = exceeds(training, larger, *extremes["A"], *extremes["B"]) if decided else None
    return [*checks, Check(f"range of the best accuracy over phi_0: {text}", holds)]


def _heterogeneous(data: Data) -> tuple[xr.Dataset, xr.Dataset]:
    tree = data["heterogeneity"]
    return tree["training"].to_dataset().isel(r=0), heterogeneity_effect(tree)


def _side(width: float, effect: xr.Dataset) -> int:
    """-1 if half the width is less than the distance to the edge of chaos, 0 if equal, 1 if more."""
    return int(np.sign(round(width / 2 - (1 - effect.attrs["r_0"]), 9)))


def _forms(data: Data, child: str) -> list[tuple[str, xr.Dataset]]:
    training = data["nonlinear_residuals"][f"training_{child}"].to_dataset()
    training = training.sortby("r" if child == "strength" else "phi")
    return [(str(form), training.sel(form=form)) for form in training.form.values]


def _multiple(training: xr.Dataset, place: int) -> float:
    return float(round(training.phi.values[place] / CHARACTERISTIC_FREQUENCY, 6))


def _neighbours(training: xr.Dataset) -> list[tuple[float, int, int]]:
    """Every integer multiple k >= 1 of phi_c with the places of itself and of each neighbour that is none."""
    found = []
    multiples = [_multiple(training, place) for place in range(training.sizes["phi"])]
    for place, multiple in enumerate(multiples):
        if multiple >= 1 and multiple.is_integer():
            for neighbour in (place - 1, place + 1):
                if 0 <= neighbour < len(multiples) and (
                    not multiples[neighbour].is_integer() or not multiples[neighbour]
                ):
                    found.append((multiple, place, neighbour))
    return found


def _peaks(training: xr.Dataset) -> list[tuple[str, float, float]]:
    """What is compared, accuracy there, and at the neighbour."""
    found = []
    for multiple, place, neighbour in _neighbours(training):
        at, beside = (best(training, phi=training.phi.values[each]) for each in (place, neighbour))
        text = (
            f"{written(training, at)} at {multiple:g} phi_c, {written(training, beside)} at "
            f"{_multiple(training, neighbour):g} phi_c"
        )
        found.append((text, at, beside))
    return found


CLAIMS: Sequence[Claim] = (
    Claim(
        "sMNIST: best performance at the characteristic frequency and its harmonics",
        "section 4.2, Fig. 4A",
        "angular frequencies that were close to integer multiplies of phi_c (i.e., phi_c and its harmonics) result in "
        "networks that show the highest performance",
        "at every measured multiple of phi_c, the best accuracy is higher than at the neighbouring angles that are "
        "none (0 counts as none)",
        ("rotations",),
        peaks,
    ),
    Claim(
        "sMNIST: fastest learning at the characteristic frequency and its harmonics",
        "section 4.2, Fig. 4B",
        "networks converged fastest [...] on sMNIST when their angular frequency phi_0 was close to 2 pi / 28",
        "at every measured multiple of phi_c, fewer iterations to MP than at the neighbouring angles that are none",
        ("rotations",),
        fastest,
    ),
    Claim(
        "psMNIST: no strong effect of the angular frequency",
        "section 4.2, Fig. 4",
        "we did not find a strong effect on practical expressivity when varying the angular frequencies of the "
        "rotational residuals for the psMNIST",
        f"the best accuracy on psMNIST varies with phi_0 at most {WEAKER:g} times as much as on sMNIST",
        ("rotations",),
        permuted,
    ),
    Claim(
        "Random orthogonal residuals perform like rotations by random angles",
        "section 4.2, Fig. B.4D",
        "a performance similar to that of those with residuals with heterogeneous angular frequencies",
        f"the best accuracies differ by at most {100 * SIMILAR:g} percentage points, or by as much as instances of the "
        "same kind do",
        ("orthonormal",),
        orthonormal,
    ),
    Claim(
        "Moderate heterogeneity helps",
        "section 4.3, Fig. 5A",
        "subcritical networks r_0 < 1 with moderate heterogeneity (delta_r / 2 is less than the distance to the "
        "edge of chaos) showed better performance and efficiency of learning",
        "every measured delta_r with 0 < delta_r / 2 < 1 - r_0 has a better accuracy and fewer iterations to MP than "
        "delta_r = 0",
        ("heterogeneity",),
        moderate,
    ),
    Claim(
        "Strong heterogeneity destabilises learning",
        "section 4.3, Fig. 5A",
        "only strong heterogeneity (delta_r / 2 is greater than the distance to the edge of chaos) yield WCRNNs with "
        "unstable learning dynamics",
        "every measured delta_r with delta_r / 2 > 1 - r_0 has a larger setback than those with less that count",
        ("heterogeneity",),
        strong,
    ),
    Claim(
        "Heterogeneity lengthens memory, improves gradients and enriches curvature",
        "section 4.3, Figs. 5B-D",
        "improved gradient propagation and increased the number of non-vanishing eigenvalues of the Hessian",
        "of untrained networks, the largest exponent, the rate of gradients back in time and the median Hessian "
        "magnitude rise from each delta_r to the next",
        ("heterogeneity",),
        memory,
    ),
    Claim(
        "Types A and B perform best near r = 1",
        "section 4.4, Fig. 6A",
        "the highest performance and best learning efficiency were the networks that have eigenvalues of residual "
        "matrices close to critical value 1",
        "for both types, the best accuracy over r within 0.005 of 1 is higher than over all other r",
        ("nonlinear_residuals",),
        forms_near_the_edge,
    ),
    Claim(
        "Type A is best subcritical, type B supercritical",
        "section 4.4, Fig. 6A",
        "Subcritical networks of type A showed the best performance and the fastest convergence, in contrast to type B "
        "networks, for which the best practical expressivity was achieved by weakly supercritical networks",
        "the best accuracy over r < 1 is higher than that over r > 1 for type A, and lower for type B",
        ("nonlinear_residuals",),
        forms_sides,
    ),
    Claim(
        "Types A and B peak at the characteristic frequency, type B more strongly",
        "section 4.4, Fig. 6B",
        "peaks in the learning efficiency and performance when trained with rotational residuals on sMNIST; "
        "networks of type B showed stronger sensitivity to angular frequencies",
        "at every measured multiple of phi_c the best accuracy is higher than at the neighbouring angles that are "
        "none, and the best accuracy of type B varies more with phi_0 than that of type A",
        ("nonlinear_residuals",),
        forms_peaks,
    ),
)
