"""Claims of sections 2 and 3: equations on untrained networks, and statements on learning on trained ones."""

from __future__ import annotations

import numpy as np

from figures.evidence import Evidence
from figures.paper import STRENGTH_CLASSES
from figures.report.claim import Check, Claim, above, below, missing, within
from figures.report.intervals import FACTOR, NUMBER, RATE, estimate

EXACT = 1e-6
"""Largest relative error of an equation that is exact up to rounding."""

QUOTIENT = 1e-5
"""The same where it is measured by a difference quotient, whose own error is about 1e-6."""

SHARE = 0.1
"""Largest distance of the share of eq. (14) in the measured curvature from 1."""

SLOPE = 0.1
"""Largest distance of the power of gamma in the gradient from 1."""


def _exact(evidence: Evidence, child: str, what: str, error: float = EXACT) -> list[Check]:
    """Return the check, for each r, that an equation is exact."""
    found = evidence.measured("untrained", child)
    if found is None:
        return [missing(what)]
    return [
        below(f"{what}, r = {r:g}", found.error.sel(r=r).values, NUMBER, threshold=error, label="relative error")
        for r in found.r.values
    ]


def descent(evidence: Evidence) -> list[Check]:
    """Return the checks of eq. (6)."""
    return _exact(evidence, "descent", "a step of SGD on ADD100 beside 1 - eta lambda", QUOTIENT)


def layers(evidence: Evidence) -> list[Check]:
    """Return the checks of eq. (9), complete and as printed."""
    what = "contributions of all steps beside the second term of (7), ADD100"
    checks = _exact(evidence, "layers", what)
    found = evidence.measured("untrained", "layers")
    if found is not None:
        checks += [
            within(
                f"the terms that (9) prints alone, r = {r:g}",
                found.printed.sel(r=r).values,
                NUMBER,
                SHARE,
                center=1.0,
                label="their share of the whole is",
            )
            for r in found.r.values
        ]
    return checks


def propagation(evidence: Evidence) -> list[Check]:
    """Return the checks of eq. (10)."""
    return _exact(evidence, "propagation", "gradients by backpropagation beside products of Jacobians, ADD100")


def weak_coupling(evidence: Evidence) -> list[Check]:
    """Return the checks of eq. (14)."""
    found = evidence.measured("untrained", "weak_coupling")
    if found is None:
        return [missing("sMNIST, eq. (14) beside the measured curvature")]
    checks = []
    for r in found.r.values:
        share = found.share.sel(r=r).values
        check = within(
            f"sMNIST, r = {r:g}",
            np.log(share),
            FACTOR,
            np.log1p(SHARE),
            label="eq. (14) gives of the curvature the factor",
        )
        checks.append(check)
    return checks


def gauss_newton(evidence: Evidence) -> list[Check]:
    """Return the check that the second term of (7) loses weight in the Hessian as networks learn."""
    ggn = evidence.analysis("gauss_newton", "ggn_recurrent")
    rest = evidence.analysis("gauss_newton", "residual_recurrent")
    if ggn is None or rest is None:
        return [missing("sMNIST, second term beside the first, before and after training")]
    checks = []
    largest = [np.log(abs(each.eigenvalue).max("rank")) for each in (rest, ggn)]
    ratio = largest[0] - largest[1]
    for r in ratio.r.values:
        one = ratio.sel(r=r).dropna("checkpoint", how="all")
        if one.sizes["checkpoint"] < 2:
            checks.append(missing(f"sMNIST, r = {r:g}, second term beside the first, before and after training"))
            continue
        change = one.isel(checkpoint=-1) - one.isel(checkpoint=0)
        check = below(f"sMNIST, r = {r:g}", change.values, FACTOR, label="the ratio changes by the factor")
        ends = [estimate(one.isel(checkpoint=end).values).written(FACTOR) for end in (0, -1)]
        checks.append(check.with_note(f"ratio of the largest eigenvalues {ends[0]} before and {ends[1]} after"))
    return checks


def gradient_of_coupling(evidence: Evidence) -> list[Check]:
    """Return the checks that gradients are proportional to gamma."""
    found = evidence.measured("untrained", "gradients")
    if found is None:
        return [missing("ADD100, r = 0.995: gradient against gamma")]
    checks = []
    for low, high in zip(found.coupling.values[:-1], found.coupling.values[1:], strict=True):
        rise = np.log(found.norm.sel(coupling=high) / found.norm.sel(coupling=low)) / np.log(high / low)
        what = f"ADD100, r = 0.995, gamma from {low:g} to {high:g}"
        check = within(what, rise.values, NUMBER, SLOPE, center=1.0, label="power of gamma")
        checks.append(check)
    return checks


def gradient_rates(evidence: Evidence) -> list[Check]:
    """Return the checks of eq. (15): signs of the rates of untrained networks, and the rates of the exponents."""
    found = evidence.measured("initial_dynamics", "gradients")
    if found is None:
        return [missing("sMNIST, rates of gradients back in time")]
    checks = []
    for r in STRENGTH_CLASSES:
        judged, way = (below, "decay") if r < 1 else (above, "growth")
        one = found.sel(r=r)
        check = judged(f"sMNIST, r = {r:g}: {way} back in time", one.rate.values, RATE, label="rate")
        leading = estimate(one.leading_exponent.values).written(RATE)
        checks.append(check.with_note(f"log r is {RATE.write(np.log(r))}, the leading exponent {leading}"))
    for r in STRENGTH_CLASSES:
        deviation = (found.rate - found.leading_exponent).sel(r=r).values
        checks.append(within(f"sMNIST, r = {r:g}: rate less leading exponent", deviation, RATE, RATE_MARGIN))
    return checks


RATE_MARGIN = 1e-3
"""Difference in nats per step up to which a rate of gradients counts as that of the leading exponent."""

CLAIMS = (
    Claim(
        "A step of gradient descent is I - eta H to first order",
        "section 2.2, eq. (6)",
        "The instantaneous Jacobian of the learning dynamics is then given by",
        f"an untrained network is shifted along the leading eigenvector of its Hessian, and given a step of SGD; what "
        f"comes out is (1 - eta lambda) times what went in, up to a relative error of {QUOTIENT:g}",
        (),
        descent,
        ("untrained",),
    ),
    Claim(
        "The Hessian converges to its Gauss-Newton part",
        "section 2.2, eq. (7)",
        "the Hessian converges to the GGN matrix when training by BPTT because the second term in (7) is proportional "
        "to the loss and vanishes as the learning approaches a local minimum",
        "for every network, the ratio of the largest |eigenvalue| of the second term to that of the Gauss-Newton "
        "matrix "
        "(recurrent weights) falls over training",
        ("gauss_newton",),
        gauss_newton,
    ),
    Claim(
        "The second term of the Hessian is a sum over unrolled layers",
        "section 2.2, eq. (9)",
        "the application of the chain rule in (9) shows how the Hessian (left-hand side) can be split into terms "
        "corresponding to different unrolled recurrent layers",
        f"the contributions of all steps sum to the leading eigenvalue of the second term up to a relative error of "
        f"{EXACT:g}, and those that (9) prints to it up to {100 * SHARE:g} %",
        (),
        layers,
        ("untrained",),
        why="The split itself is exact. Eq. (9) prints only the part that is quadratic in the earlier state. A layer "
        "also depends on its own parameters, and the terms in which these are varied are nearly everything for weak "
        "coupling. Only with them is the equation complete.",
    ),
    Claim(
        "Gradients propagate by the transposed variational term",
        "section 2.2, eq. (10)",
        "the magnitudes of these contributions are proportional to the corresponding gradient propagation",
        f"norms of dL/dx_t by backpropagation equal those of the transposed product of Jacobians with dL/dx_D, up to a "
        f"relative error of {EXACT:g}; that contributions to the Hessian are proportional to them is not judged",
        (),
        propagation,
        ("untrained",),
    ),
    Claim(
        "The curvature is that of powers of the residual",
        "section 3, eq. (14)",
        "the contribution of the partial derivatives to the overall curvature at different times is proportional to "
        "the "
        "corresponding eigenvalues of the residual matrix",
        f"along the leading eigenvector of the Gauss-Newton matrix of untrained networks, eq. (14) gives the measured "
        f"curvature up to {100 * SHARE:g} %",
        (),
        weak_coupling,
        ("untrained",),
        why="“+ O(gamma)” in eqs. (12), (14) and (15) holds for each step. Over the D = 784 steps of an image the "
        "deviations compound like (1 + gamma |W D| / r)^D, which is far from 1 unless old steps have been forgotten, "
        "as "
        "they are at r = 0.95.",
    ),
    Claim(
        "Gradients decay or grow exponentially, at the rate of the leading exponent",
        "sections 3 and 4.1, eq. (15), Fig. 2D",
        "were observed to decrease or increase exponentially with a constant rate over time, as predicted by (15)",
        "the rate of the L-infinity norm of untrained networks is negative for r < 1 and positive for r > 1, and "
        "differs "
        f"from the leading Lyapunov exponent of the same network by no more than {RATE_MARGIN:g} nats per step",
        (),
        gradient_rates,
        ("initial_dynamics",),
    ),
    Claim(
        "Gradients are proportional to gamma",
        "section 4.1",
        "the coupling constant gamma had an effect on learning stability and efficiency, which is similar to the "
        "global "
        "learning rate, as grad L = O(gamma)",
        "between neighbouring gamma, the gradient of untrained networks with respect to the recurrent parameters "
        "grows "
        f"with a power of gamma of 1 up to {SLOPE:g}",
        (),
        gradient_of_coupling,
        ("untrained",),
        why="The power is 1 as long as gamma is small. Within the range of gamma that the paper recommends, from 0.001 "
        "to 0.1, the gradient grows faster: it passes through up to 100 steps, each of which multiplies it by up to "
        "r + gamma |W|, so that it grows exponentially with gamma.",
    ),
)
