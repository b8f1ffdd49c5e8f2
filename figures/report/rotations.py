"""Claims of section 4.2: rotational residuals and the spectra of the data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.campaign.stage import TESTED
from figures.evidence import Evidence
from figures.paper import CHARACTERISTIC_FREQUENCY
from figures.report.claim import Check, Claim, above, below, missing, within
from figures.report.compare import NEITHER_REACHED, efficiency, held_out_best, performance, why_undecided
from figures.report.intervals import FACTOR, NUMBER, POINTS

HARMONICS = (1, 2, 3)
"""Multiples of the characteristic frequency with a peak, each with neighbours half of it away on both sides."""

WEAK_EFFECT = 0.25
"""Range over angles on psMNIST, divided by that on sMNIST, up to which it counts as no strong effect."""

SIMILAR = 0.05
"""Difference of accuracies up to which two kinds of networks count as similar."""

FREQUENCY = 0.004
"""Half the distance of the frequencies of 784 steps, in radians per step."""


def angle(training: xr.Dataset, multiple: float) -> xr.Dataset:
    """Return the trainings at a multiple of the characteristic frequency."""
    return training.sel(phi=multiple * CHARACTERISTIC_FREQUENCY, method="nearest", tolerance=1e-9)


def _peaks(training: xr.Dataset, judged: str) -> list[Check]:
    compare = performance if judged == "performance" else efficiency
    return [
        compare(f"sMNIST, {one:g} phi_c beside {one + side:g} phi_c", angle(training, one), angle(training, one + side))
        for one in HARMONICS
        for side in (-0.5, 0.5)
    ]


def performance_peaks(evidence: Evidence) -> list[Check]:
    """Return the checks that accuracy peaks at the characteristic frequency and its harmonics."""
    return _peaks(evidence.training("rotations").sel(task="smnist"), "performance")


def efficiency_peaks(evidence: Evidence) -> list[Check]:
    """Return the checks that learning is fastest at the characteristic frequency and its harmonics."""
    return _peaks(evidence.training("rotations").sel(task="smnist"), "efficiency")


def no_effect_on_permuted(evidence: Evidence) -> list[Check]:
    """Return the check that the angle matters little on psMNIST."""
    training = evidence.training("rotations")
    best = training.best_metric
    what = "range of the best accuracy over phi_0 > 0, psMNIST over sMNIST"
    turned = best.sel(phi=[phi for phi in training.phi.values if phi > 0])
    extent = (turned.max("phi") - turned.min("phi")).where(turned.notnull().all("phi"))
    known = extent.clip(1 / TESTED)  # accuracies are counts of so many images
    ratio = np.log(known.sel(task="psmnist") / known.sel(task="smnist"))
    if ratio.isnull().all():
        return [missing(what)]
    reason = why_undecided(held_out_best(training.sel(task="psmnist"), "phi"))
    check = below(what, ratio.values, FACTOR, threshold=float(np.log(WEAK_EFFECT)), reason=reason, label="ratio")
    each = [f"{task} {POINTS.write(float(extent.sel(task=task).mean()))} points" for task in ("psmnist", "smnist")]
    return [check.with_note(", ".join(each))]


def peak_of_spectrum(evidence: Evidence) -> list[Check]:
    """Return the check that the mean power spectrum of sMNIST peaks at 2 pi / 28."""
    found = evidence.measured("untrained", "spectra")
    what = "sMNIST, peak of the mean power spectrum of 10,000 training images less 2 pi / 28"
    if found is None:
        return [missing(what)]
    peak = found.characteristic_frequency.sel(task="smnist") - 2 * np.pi / 28
    return [within(what, peak.values, NUMBER, FREQUENCY, label="radians per step:")]


def no_peak_of_permuted(evidence: Evidence) -> list[Check]:
    """Return the check that psMNIST has no peak as prominent as that of sMNIST."""
    found = evidence.measured("untrained", "spectra")
    what = "peak over mean power, psMNIST over sMNIST"
    if found is None:
        return [missing(what)]
    ratio = np.log(found.prominence.sel(task="psmnist") / found.prominence.sel(task="smnist"))
    check = below(what, ratio.values, FACTOR, threshold=float(np.log(0.1)), label="ratio")
    each = [f"{task} {float(found.prominence.sel(task=task).mean()):.3g}" for task in ("smnist", "psmnist")]
    return [check.with_note(", ".join(each))]


def in_phase(evidence: Evidence) -> list[Check]:
    """Return the checks that contributions to the gradient add up at the characteristic frequency and its harmonics."""
    found = evidence.measured("untrained", "phases")
    if found is None:
        return [missing("sMNIST, untrained: agreement of the steps on the gradient")]
    coherence = np.log(found.coherence)
    checks = []
    for one in HARMONICS:
        for side in (-0.5, 0.5):
            values = (coherence.sel(multiple=one) - coherence.sel(multiple=one + side)).values
            what = f"sMNIST, untrained, {one:g} phi_c beside {one + side:g} phi_c"
            check = above(what, values, FACTOR, label="coherence is larger by the factor")
            checks.append(check.with_note(f"{float(found.coherence.sel(multiple=one).mean()):.2g}"))
    return checks


def orthogonal(evidence: Evidence) -> list[Check]:
    """Return the check that random orthogonal residuals perform like rotations by random angles."""
    training = evidence.training("orthonormal")
    sides = [training.sel(residual=name) for name in ("orthogonal", "rotation")]
    difference = (sides[0].best_metric - sides[1].best_metric).values
    what = "sMNIST, orthogonal beside rotations"
    reason = why_undecided(*sides)
    check = within(what, difference, POINTS, SIMILAR, reason=reason, fair=False, label="best accuracies differ by")
    return [check]


CLAIMS = (
    Claim(
        "The characteristic frequency is the peak of the mean power spectrum",
        "section 4.2",
        "this frequency coincides with the maximal peak of the average power spectra of the samples in sMNIST",
        "on three random choices of 10,000 training images, the mean power spectrum (without frequency 0) peaks at "
        "2 pi / 28",
        (),
        peak_of_spectrum,
        ("untrained",),
    ),
    Claim(
        "sMNIST: best performance at the characteristic frequency and its harmonics",
        "section 4.2, Fig. 4A",
        "angular frequencies that were close to integer multiplies of phi_c result in networks that show the highest "
        "performance and the best learning efficiency",
        "at 1, 2 and 3 times phi_c, the best accuracy is higher than at angles half of phi_c away",
        ("rotations",),
        performance_peaks,
    ),
    Claim(
        "sMNIST: fastest learning at the characteristic frequency and its harmonics",
        "section 4.2, Fig. 4B",
        "these networks converged fastest and expressed highest performance on sMNIST when their angular frequency was "
        "close to 2 pi / 28",
        "at 1, 2 and 3 times phi_c, minimal performance takes fewer iterations than half of phi_c away on either side; "
        f"open where {NEITHER_REACHED}",
        ("rotations",),
        efficiency_peaks,
    ),
    Claim(
        "Oscillating gradients accumulate in phase",
        "section 4.2, Fig. B.4B",
        "Such instantaneous Jacobians allow the networks to accumulate derivatives that are in-phase and cancel out "
        "derivatives that are out of phase",
        "in untrained networks, the steps agree better on the gradient of the input weights at 1, 2 and 3 times phi_c "
        "than half of phi_c away on either side; how well they agree is the norm of the sum of their contributions "
        "over "
        "the sum of the norms",
        (),
        in_phase,
        ("untrained",),
    ),
    Claim(
        "psMNIST has no prominent frequency",
        "section 4.2",
        "the samples of the psMNIST dataset do not possess a prominent characteristic frequency that can be exploited",
        "peak over mean power of psMNIST is less than a tenth of that of sMNIST",
        (),
        no_peak_of_permuted,
        ("untrained",),
    ),
    Claim(
        "psMNIST: no strong effect of the angular frequency",
        "section 4.2, Fig. 4",
        "we did not find a strong effect on practical expressivity when varying the angular frequencies of the "
        "rotational "
        "residuals for the psMNIST",
        f"the range of the best accuracy over all phi_0 > 0 is less than {WEAK_EFFECT:g} times that on sMNIST; "
        "phi_0 = 0 "
        "is no rotation",
        ("rotations",),
        no_effect_on_permuted,
    ),
    Claim(
        "Random orthogonal residuals perform like rotations by random angles",
        "section 4.2, Fig. B.4D",
        "found to result in networks with a performance similar to that of those with residuals with heterogeneous "
        "angular frequencies",
        f"best accuracies on sMNIST after one epoch at the learning rate 0.02 differ by no more than "
        f"{100 * SIMILAR:g} points, over ten pairs of networks",
        ("orthonormal",),
        orthogonal,
        beyond="7,000 iterations, as in Fig. B.4D, at a learning rate of its own for each kind",
    ),
)
