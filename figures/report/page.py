"""The text of docs/reproduction.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from figures.cells import markdown
from figures.report import dynamics, residuals, strength, tables
from figures.report.claim import RULES, Claim, Judgement, judge
from figures.report.compare import MARGINS
from figures.report.readings import READINGS
from figures.report.remaining import remaining
from figures.report.samples import test_sets

CLAIMS: tuple[Claim, ...] = (*dynamics.CLAIMS, *strength.CLAIMS, *residuals.CLAIMS, *tables.CLAIMS)
"""In the order of the paper's sections."""

_SIGNS = {True: "holds", False: "fails", None: "not decided"}

_HEAD = """\
# What was reproduced

<!-- Written by `python -m figures.report` from figures/data; edit the claims and rules in figures/report instead. -->

The claims of Dubinin & Effenberger, "Fading memory as inductive bias in residual recurrent networks" (Neural Networks,
2024), beside what was measured with this package. Every verdict follows from the numbers by the rules below; none is
written by hand. `python -m figures all` draws the figures and tables from the same result files."""


_COSTS = """\
Core hours of the trainings of the protocol `paper`, without analyses, estimated from measured processor time of single
iterations (experiment `costs`) on one core. Trainings that experiments share are counted with the first of them."""


def report(data: Mapping[str, xr.DataTree]) -> str:
    """The page.

    Args:
        data: Result files by experiment, those that exist.
    """
    judgements = [judge(claim, data) for claim in CLAIMS]
    parts = [
        _HEAD,
        "## Summary",
        _counts(judgements),
        markdown(["claim", "source", "verdict", "protocol"], [_row(each, data) for each in judgements], numbers=False),
        "## How verdicts are reached",
        RULES,
        MARGINS,
        "Numbers of test samples by protocol:",
        test_sets(),
        "## Claims",
        *(_section(each, data) for each in judgements),
        "## How the paper was read",
        READINGS,
        "## What remains to be run",
        _COSTS,
        remaining(data),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(judgements: list[Judgement]) -> str:
    verdicts = [each.verdict for each in judgements]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return f"{len(judgements)} claims: {counted}."


def _row(judgement: Judgement, data: Mapping[str, xr.DataTree]) -> list[str]:
    claim = judgement.claim
    protocols = dict.fromkeys(str(data[name].attrs["protocol"]) for name in claim.needs if name in data)
    return [claim.title, claim.source, judgement.verdict, ", ".join(protocols) or "none"]


def _section(judgement: Judgement, data: Mapping[str, xr.DataTree]) -> str:
    claim = judgement.claim
    lines = [
        f"### {claim.title}",
        "",
        f"> \N{LEFT DOUBLE QUOTATION MARK}{claim.quotation}\N{RIGHT DOUBLE QUOTATION MARK} ({claim.source})",
        "",
        f"**{judgement.verdict}**. Reproduced means: {claim.rule}.",
        "",
    ]
    lines += [f"- {check.measured}: *{_SIGNS[check.holds]}*" for check in judgement.checks]
    if judgement.checks:
        lines.append("")
    lines += [f"Data: {origin}" for origin in [" ".join(_origins(claim, data)) or "none."]]
    return "\n".join(lines)


def _origins(claim: Claim, data: Mapping[str, xr.DataTree]) -> Iterator[str]:
    """Protocol, seeds and learning rates of the result files of a claim."""
    for name in claim.needs:
        if name in data:
            tree = data[name]
            rates = ", ".join(f"{rate:g}" for rate in learning_rates(tree))
            yield (
                f"`{name}`, protocol {tree.attrs['protocol']}, {seeds(tree)}, "
                f"learning rate {rates or 'not recorded'}, commit {tree.attrs['commit']}."
            )


def seeds(tree: xr.DataTree) -> str:
    """Which network instances are in a result file; how many where it does not say which."""
    nodes = [node.to_dataset() for node in tree.children.values()]
    found = sorted({int(seed) for node in nodes if "seed" in node.coords for seed in np.atleast_1d(node.seed.values)})
    if not found:
        count = int(tree.attrs["seeds"])
        return f"{count} seed{'s' * (count != 1)}"
    return f"seed{'s' * (len(found) != 1)} {', '.join(map(str, found))}"


def learning_rates(tree: xr.DataTree) -> list[float]:
    """Of the trainings in a result file, increasing: a coordinate, a variable, or a field that all runs share."""
    found: set[float] = set()
    for name, node in tree.children.items():
        dataset = node.to_dataset()
        if "learning_rate" in dataset.variables:
            found |= {float(rate) for rate in np.atleast_1d(dataset["learning_rate"].values)}
        elif name.startswith("training"):
            shared = json.loads(str(dataset.attrs.get("config_json", "{}")))
            found |= {float(shared["learning_rate"])} if "learning_rate" in shared else set()
    return sorted(found)
