"""Claims about learning against the residual strength: Figs. 3 and B.2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from figures.paper import ADDING_TASKS, TITLES
from figures.report.claim import Check, Claim, Data
from figures.report.compare import (
    LEARNT_NOTHING,
    any_reached,
    below,
    best,
    better,
    counted_setback,
    has_learnt,
    iterations,
    smaller_setback,
    written,
    written_iterations,
    written_setback,
)

NEAR = 0.0051
"""Largest |r - 1| that is near the edge of chaos: 0.995 and 1.0025 of Fig. 2 are, 0.95 and 1.01 are not."""

RANK_CORRELATION = 0.8
"""Spearman correlation from which on iterations count as rising with the distance from the edge of chaos."""

FEWEST_STRENGTHS = 3
"""Of subcritical networks, for such a correlation to be evidence: over two strengths it is always 1 or -1."""

STRENGTHS = ("residual_strength", "smaller_learning_rate", "psmnist_strength", "adding_strength")


def trainings(data: Data) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Title, task and trainings of scalar residuals, over ``seed`` and ``r``."""
    for name, task in (("residual_strength", "smnist"), ("psmnist_strength", "psmnist")):
        if name in data:
            yield TITLES[task], task, data[name]["training"].to_dataset().sortby("r")
    if "smaller_learning_rate" in data:
        slow = data["smaller_learning_rate"]["training"].to_dataset().sortby("r").isel(learning_rate=0)
        yield f"sMNIST at a learning rate of {float(slow.learning_rate):g}", "smnist", slow
    for task in ADDING_TASKS:
        child = f"training_{task.removeprefix('add')}"
        if "adding_strength" in data and child in data["adding_strength"].children:
            yield TITLES[task], task, data["adding_strength"][child].to_dataset().sortby("r")


def best_strength(training: xr.Dataset) -> float | None:
    """The r of the best metric, mean over instances; None if none has learnt anything."""
    means = {float(r): best(training, r=r) for r in training.r.values}
    means = {r: mean for r, mean in means.items() if np.isfinite(mean) and has_learnt(training, mean)}
    if not means:
        return None
    return (max if training.attrs["metric_name"] == "accuracy" else min)(means, key=lambda r: means[r])


def efficiency(data: Data) -> list[Check]:
    """Iterations to minimal performance of subcritical networks against r, which two strengths cannot decide."""
    checks = []
    for title, _, training in trainings(data):
        subcritical = training.sel(r=training.r[training.r < 1])
        counts = [iterations(subcritical, r=r) for r in subcritical.r.values]
        pairs = "; ".join(f"{written_iterations(subcritical, r=r)} (r = {r:g})" for r in subcritical.r.values)
        decided = any_reached(subcritical) and len(set(counts)) > 1 and len(counts) >= FEWEST_STRENGTHS
        holds = spearmanr(1 - subcritical.r.values, counts).statistic >= RANK_CORRELATION if decided else None
        checks.append(Check(f"{title}: {pairs}", None if holds is None else bool(holds)))
    return checks


def near_the_edge(data: Data) -> list[Check]:
    """The best of the networks near the edge of chaos beside the farthest ones on both sides."""
    checks = []
    for title, _, training in trainings(data):
        accuracy = training.attrs["metric_name"] == "accuracy"
        near = [best(training, r=r) for r in training.r.values if abs(r - 1) <= NEAR]
        leading = (max if accuracy else min)(near)
        for side, r in (("subcritical", training.r.values[0]), ("supercritical", training.r.values[-1])):
            far = best(training, r=r)
            text = (
                f"{title}: best within |r - 1| <= 0.005 {written(training, leading)}, most strongly {side} "
                f"(r = {r:g}) {written(training, far)}"
            )
            checks.append(Check(text, better(training, leading, far)))
            fastest = min(
                (each for each in training.r.values if abs(each - 1) <= NEAR),
                key=lambda each: iterations(training, r=each),
            )
            text = (
                f"{title}: within |r - 1| <= 0.005 {written_iterations(training, r=fastest)}, at r = {r:g} "
                f"{written_iterations(training, r=r)}"
            )
            faster = below(iterations(training, r=fastest), iterations(training, r=r))
            checks.append(Check(text, faster if any_reached(training) else None))
    return checks


def sides(data: Data) -> list[Check]:
    """The best supercritical network beside the best subcritical one."""
    checks = []
    for title, _, training in trainings(data):
        accuracy = training.attrs["metric_name"] == "accuracy"
        choose = max if accuracy else min
        below_one = choose(best(training, r=r) for r in training.r.values if r < 1)
        above_one = choose(best(training, r=r) for r in training.r.values if r > 1)
        text = (
            f"{title}: best subcritical {written(training, below_one)}, best supercritical "
            f"{written(training, above_one)}"
        )
        winner, loser = (above_one, below_one) if accuracy else (below_one, above_one)
        checks.append(Check(text, better(training, winner, loser)))
    return checks


def longer_is_nearer(data: Data) -> list[Check]:
    """The best r of the shortest and of the longest adding problem."""
    found = [(task, best_strength(training)) for _, task, training in trainings(data) if task in ADDING_TASKS]
    learnt = [(task, r) for task, r in found if r is not None]
    text = ", ".join(f"{TITLES[task]} {'nothing learnt' if r is None else f'r = {r:g}'}" for task, r in found)
    if len(learnt) < 2 or abs(learnt[0][1] - 1) == abs(learnt[-1][1] - 1):
        return [Check(f"best r: {text}", None)]
    return [Check(f"best r: {text}", abs(learnt[-1][1] - 1) < abs(learnt[0][1] - 1))]


def unstable(data: Data) -> list[Check]:
    """Setbacks of the most strongly supercritical network beside those of the best subcritical one."""
    checks = []
    for title, _, training in trainings(data):
        largest = counted_setback(training)
        above, under = float(largest.sel(r=training.r[-1])), float(largest.sel(r=training.r[training.r < 1].max()))
        text = (
            f"{title}: largest setback {written_setback(above)} at r = {float(training.r[-1]):g}, "
            f"{written_setback(under)} at r = {float(training.r[training.r < 1].max()):g}"
        )
        checks.append(Check(text, smaller_setback(under, above)))
    return checks


def learning_rate_and_coupling(data: Data) -> list[Check]:
    """Setbacks and speed at the learning rates and couplings of Fig. B.2."""
    training = data["learning_rates"]["training"].to_dataset()
    largest = counted_setback(training)
    base = {"learning_rate": 0.1, "coupling": 0.01}
    checks = []
    for change in ({"coupling": 0.001}, {"learning_rate": 0.01}, {"learning_rate": 0.01, "coupling": 0.001}):
        other = base | change
        name = ", ".join(
            f"{'eta' if field == 'learning_rate' else 'gamma'} = {value:g}" for field, value in other.items()
        )
        first = "at eta = 0.1, gamma = 0.01"
        pair = largest.sel(base).drop_vars(base), largest.sel(other).drop_vars(base)
        both = pair[0].r.values[(pair[0].notnull() & pair[1].notnull()).values]
        stable = [float(each.sel(r=both).mean()) if len(both) else np.nan for each in pair]
        compared = [written_setback(value) for value in stable]
        text = (
            f"largest setback, mean over r = {', '.join(f'{r:g}' for r in both)}: {compared[0]} {first}, {compared[1]} "
            f"at {name}"
            if len(both)
            else f"largest setback {first} and at {name}: at every r, one of the two or both {LEARNT_NOTHING}"
        )
        checks.append(Check(text, smaller_setback(stable[1], stable[0])))
        slow = [written_iterations(training, **point) for point in (base, other)]
        text = f"all r: {slow[0]} {first}; {slow[1]} at {name}"
        slower = below(iterations(training, **base), iterations(training, **other))
        checks.append(Check(text, slower if any_reached(training) else None))
    return checks


CLAIMS = (
    Claim(
        "Subcritical networks learn faster the nearer they are to the edge of chaos",
        "section 4.1, Figs. 3B, D",
        "an increase in distance from the edge of chaos in the subcritical regime resulted in a decrease in learning "
        "efficiency for all datasets",
        f"for every task, the Spearman correlation of 1 - r and the iterations to MP over r < 1 is at least "
        f"{RANK_CORRELATION:g}; not decided if no network reached MP, or with fewer than {FEWEST_STRENGTHS} strengths "
        "below 1, over which there is no trend",
        STRENGTHS,
        efficiency,
    ),
    Claim(
        "Networks near the edge of chaos perform best",
        "section 4.1, Figs. 3A, C",
        "networks with dynamics close to the edge of chaos showed both higher overall performance and better learning "
        "efficiency compared to strongly supercritical and strongly subcritical networks",
        "for every task, the best metric of networks with |r - 1| <= 0.005 is better than those of the smallest and of "
        "the largest r, and the fewest iterations to MP are fewer",
        STRENGTHS,
        near_the_edge,
    ),
    Claim(
        "Supercritical networks are better on MNIST, subcritical ones on the adding problem",
        "section 4.1, Figs. 3A, C",
        "supercritical networks showed better performance for the sMNIST and psMNIST datasets, while subcritical "
        "networks performed better for the ADD datasets",
        "the best metric over r > 1 is better than that over r < 1 for the data sets, and worse for the adding problem",
        STRENGTHS,
        sides,
    ),
    Claim(
        "The best r is nearer to 1 for longer adding problems",
        "section 4.1, Fig. 3A",
        "the best performing networks were closer to the edge of chaos for longer ADD datasets",
        "|r - 1| of the best network is smaller for the longest than for the shortest length on which any learnt",
        ("adding_strength",),
        longer_is_nearer,
    ),
    Claim(
        "Supercritical networks learn unstably",
        "section 4.1, Figs. 2A, B.3A-B",
        "supercritical networks showed unstable learning trajectories",
        "the largest setback over instances is larger at the largest r than at the largest r below 1",
        STRENGTHS,
        unstable,
    ),
    Claim(
        "A smaller learning rate or coupling makes learning more stable and slower",
        "Fig. B.2",
        "the learning dynamics are unstable [at eta = 0.1, gamma = 0.01]; the decrease in gamma results in more stable "
        "but slower learning dynamics; the decrease in learning rate results in more stable but also slower learning "
        "dynamics",
        "compared with eta = 0.1, gamma = 0.01, each of the other three has a smaller setback, averaged over the r at "
        "which both have learnt something or diverged, and more iterations to MP, averaged over all r",
        ("learning_rates",),
        learning_rate_and_coupling,
    ),
)
