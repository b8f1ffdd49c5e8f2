"""Claims about exponents, Hessian eigenvalues and gradients: Figs. 2B-D, B.1 and B.3C-D."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from figures.claims import exponent_range, hessian_change, slopes
from figures.paper import TITLES
from figures.report.claim import Check, Claim, Data
from figures.report.compare import LEARNT_NOTHING, learnt, rising

COUPLING = 0.01
"""gamma of these networks."""

ALLOWED = 2 * COUPLING
"""What O(gamma) allows: the Jacobian differs from r I by gamma times W_xx scaled by derivatives of tanh, below 1, and
the largest singular value of an untrained W_xx is about 2 / sqrt(3) = 1.15."""

WHY_ALLOWED = (
    "Why 2 gamma: the Jacobian is r I + gamma W_xx D with |D| <= 1, and the largest singular value of an untrained "
    "W_xx is about 2 / sqrt(3) = 1.15, so that no exponent of an untrained network can be farther than about 1.2 gamma "
    "from log r; for trained networks, whose W_xx may have grown, 2 gamma is a convention"
)
"""For the report."""

DIVERGED = "the training diverged"

STRENGTHS = ("residual_strength", "psmnist_strength", "adding_strength")


def _terms(data: Data) -> Iterator[tuple[str, xr.DataTree, str, str]]:
    """Title of the task, tree, and children with exponents before and after training, and with the trainings."""
    for name, task in (("residual_strength", "smnist"), ("psmnist_strength", "psmnist")):
        if name in data and "variational_term" in data[name].children:
            yield TITLES[task], data[name], "variational_term", "training"
    if "adding_strength" in data:
        for child in data["adding_strength"].children:
            if child.startswith("variational_term_"):
                length = child.removeprefix("variational_term_")
                yield f"ADD{length}", data["adding_strength"], child, f"training_{length}"


def _range(tree: xr.DataTree, child: str) -> xr.Dataset | None:
    """Range of exponents, None where no trained network was analysed."""
    return exponent_range(tree, child) if tree[child].sizes["checkpoint"] > 1 else None


def _learnt(tree: xr.DataTree, analysis: str, training: str) -> xr.DataArray:
    """Which of the analysed networks, those of the first seed, have learnt something, over ``r``."""
    first = tree[analysis].seed.values[0]
    return learnt(tree[training].to_dataset().sel(seed=first))


def exponents_before(data: Data) -> list[Check]:
    """|LE - log r| of untrained networks."""
    checks = []
    for title, tree, child, _ in _terms(data):
        found = _range(tree, child)
        if found is None:
            checks.append(Check(f"{title}: only untrained networks were analysed", None))
            continue
        for r in found.r.values:
            deviation = float(found.deviation.sel(r=r, training="before"))
            text = f"{title}, r = {r:g}: log r = {np.log(r):.4f}, largest distance of an exponent {deviation:.4f}"
            checks.append(Check(text, _within(deviation, ALLOWED)))
    return checks


def exponents_after(data: Data) -> list[Check]:
    """|LE - log r| of trained networks beside that of untrained ones."""
    checks = []
    for title, tree, child, training in _terms(data):
        found = _range(tree, child)
        if found is None:
            checks.append(Check(f"{title}: only untrained networks were analysed", None))
            continue
        networks = _learnt(tree, child, training)
        for r in found.r.values:
            before, after = (float(found.deviation.sel(r=r, training=when)) for when in ("before", "after"))
            then = (
                f" and {after:.4f} after {found.attrs['iterations']} iterations"
                if np.isfinite(after)
                else f"; {DIVERGED}"
            )
            text = f"{title}, r = {r:g}: largest distance from log r {before:.4f} before{then}"
            evidence = bool(networks.sel(r=r)) or not np.isfinite(after)
            text = text if evidence else f"{text}; {LEARNT_NOTHING}"
            checks.append(Check(text, _within(after, ALLOWED) if evidence else None))
    return checks


def curvature_against_strength(data: Data) -> list[Check]:
    """Hessian magnitudes of untrained networks, r by r."""
    spectrum = data["residual_strength"]["hessian_spectrum"].to_dataset().isel(seed=0, checkpoint=0)
    checks = []
    for name, reduce in (("largest", xr.DataArray.max), ("median", xr.DataArray.median)):
        values = reduce(abs(spectrum.eigenvalue), "rank").sortby("r")
        pairs = ", ".join(f"{float(value):.3g} (r = {float(value.r):g})" for value in values)
        checks.append(Check(f"{name} magnitude: {pairs}", rising(values.values)))
    return checks


def curvature_over_training(data: Data) -> list[Check]:
    """Hessian magnitudes after to before training."""
    tree = data["residual_strength"]
    if tree["hessian_spectrum"].sizes["checkpoint"] < 2:
        return [Check("only untrained networks were analysed", None)]
    checks = []
    networks = _learnt(tree, "hessian_spectrum", "training")
    for r in tree["hessian_spectrum"].r.values:
        change = hessian_change(tree, float(r))
        finite, evidence = np.isfinite(change.median_ratio), bool(networks.sel(r=r))
        text = (
            f"r = {r:g}: the median magnitude changed by a factor of {change.median_ratio:.3g} and the largest by "
            f"{change.ratio:.3g} over {change.iterations} iterations"
            if finite
            else f"r = {r:g}: {DIVERGED}"
        )
        text = text if evidence or not finite else f"{text}; {LEARNT_NOTHING}"
        checks.append(Check(text, (change.median_ratio > 1) == (r < 1) if finite and evidence else None))
    return checks


def gradient_slopes(data: Data) -> list[Check]:
    """Growth of gradients back in time beside log r."""
    found = slopes(data["residual_strength"]).sortby("r")
    checks = []
    for r in found.r.values:
        one = found.sel(r=r)
        rate, log_r = float(one.growth_rate), float(one.log_r)
        text = (
            f"r = {r:g}: gradients grow by {rate:.4f} ± {float(one.growth_rate_error):.4f} nats per step back in time, "
            f"log r = {log_r:.4f}"
        )
        checks.append(Check(text, _within(abs(rate - log_r), ALLOWED)))
    rates = found.growth_rate.values
    checks.append(Check("the rates increase with r", rising(rates)))
    return checks


def _within(value: float, limit: float) -> bool | None:
    return value <= limit if np.isfinite(value) else None


CLAIMS = (
    Claim(
        "Exponents are log r before training",
        "section 4.1, eq. (13), Figs. 2B, B.1",
        "the eigenvalues of the variational term had converged to the values defined by the residual",
        f"every exponent of every untrained network is within 2 gamma = {ALLOWED:g} nats per step of log r; eq. (13) "
        f"allows O(gamma). {WHY_ALLOWED}",
        STRENGTHS,
        exponents_before,
    ),
    Claim(
        "Exponents stay in the same range over training",
        "section 4.1, Fig. B.1",
        "the eigenvalues of variational term remained in the same range during the training period by design",
        f"after training, too, every exponent is within 2 gamma = {ALLOWED:g} nats per step of log r",
        STRENGTHS,
        exponents_after,
    ),
    Claim(
        "Hessian magnitudes grow with r",
        "section 4.1, Fig. 2C",
        "the magnitudes of the eigenvalues of the Hessians increased with an increase in r",
        "the largest and the median magnitude of the computed eigenvalues of untrained networks rise from each r "
        "to the next",
        ("residual_strength",),
        curvature_against_strength,
    ),
    Claim(
        "Hessian magnitudes rise over training in subcritical networks and fall in others",
        "section 4.1, Figs. B.3C-D",
        "in subcritical networks the magnitudes of eigenvalues of the Hessian tended to increase over training, "
        "while in critical and supercritical networks they tended to decrease",
        "the median magnitude of the computed eigenvalues after training is above that before for r < 1, and below it "
        "for r > 1",
        ("residual_strength",),
        curvature_over_training,
    ),
    Claim(
        "Gradients decrease or increase exponentially, with the rate log r",
        "section 4.1, eq. (15), Fig. 2D",
        "to decrease or increase exponentially with a constant rate over time, as predicted by (15)",
        f"the rate of the L-infinity norm of untrained networks is within 2 gamma = {ALLOWED:g} nats per step of "
        "log r, and the rates increase with r",
        ("residual_strength",),
        gradient_slopes,
    ),
)
