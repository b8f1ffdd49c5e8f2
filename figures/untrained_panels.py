"""Panels B, C and D of Figs. 2 and 5: exponents, Hessian eigenvalues and gradient norms before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from figures.evidence import Evidence
from figures.exponents import draw_exponents, exponents_over_time, named
from figures.marks import margin_label
from figures.missing import Missing, instance
from figures.scales import logarithmic
from figures.style import side_by_side
from lyapkit import plots

GRADIENTS = 8
"""Number of sequences whose gradients are drawn."""


def draw_untrained(
    axes: Sequence[Axes],
    results: Evidence,
    stage: str,
    over: str,
    values: Sequence[float],
    *,
    color: Callable[[float], str],
    heading: Callable[[float], str],
    expected: Callable[[float], Sequence[float]],
    lines: int,
    missing: Missing,
) -> str:
    """Draw untrained networks of a stage: for each kind the first instance that is measured.

    Args:
        axes: Panels B, C, D; the first is replaced by a column for each network.
        results: Results that exist.
        stage: Name of the stage.
        over: The dimension in which the networks differ.
        values: Values of that dimension.
        color: Function that returns the colour of a value.
        heading: Function that returns the text above the column of a value.
        expected: Function that returns expected exponents for a value; they are dashed.
        lines: Number of exponents that are shown.
        missing: List of the results that are left out.

    Returns:
        The caption's text on the exponents.
    """
    exponents, curvature, gradients = axes
    columns = side_by_side(exponents, len(values))
    kinds: list[str] = []
    lost: dict[str, list[float]] = {"B": [], "C": [], "D": []}
    for value, ax in zip(values, columns, strict=True):
        point = {over: value, "checkpoint": 0}
        kinds.append(draw_exponents(ax, results, stage, lines, point, color=color(value)))
        if kinds[-1]:
            exponents_over_time(ax, heading(value), expected(value))
        else:
            lost["B"].append(value)
        hessian = instance(results.analysis(stage, "hessian_recurrent"), "eigenvalue", **point)
        if hessian is None:
            lost["C"].append(value)
        else:
            plots.hessian_spectrum(hessian, ax=curvature, color=color(value))
        norms = instance(results.analysis(stage, "gradient_propagation"), "gradient_norm", **point)
        if norms is None:
            lost["D"].append(value)
        else:
            plots.gradient_propagation(norms, ax=gradients, color=color(value), lines=GRADIENTS)
    panels = {"B": columns, "C": [curvature], "D": [gradients]}
    for letter, of_panel in panels.items():
        if len(lost[letter]) == len(values):
            missing.panel(letter, *of_panel)
        else:
            missing.values(letter, over, lost[letter])
    if any(kinds):
        columns[0].set_ylabel("exponent (nats per step)")
        margin_label([ax for ax, kind in zip(columns, kinds, strict=True) if kind][-1], 0.0, "edge of\nchaos")
        for ax, kind in zip(columns, kinds, strict=True):
            ax.axis("on" if kind else "off")
    if len(lost["C"]) < len(values):
        curvature.set_ylabel(r"Hessian eigenvalue $|\lambda|$")
        logarithmic(curvature)
    if len(lost["D"]) < len(values):
        logarithmic(gradients)
    return named(kinds, "B")
