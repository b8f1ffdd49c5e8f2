"""The text of docs/reproduction.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from figures.campaign.rates import CHANCE
from figures.campaign.stages import STAGES
from figures.cells import NOTHING_LEARNT, markdown
from figures.evidence import Evidence
from figures.report import dynamics, heterogeneity, learning, nonlinear, protocol, rotations, theory
from figures.report.claim import NOT_TOLD_APART, TOO_FEW, VERDICTS, Check, Claim, Judgement, judge
from figures.report.compare import AT_EDGE, DIVERGED, LEARNT_NOTHING, NEITHER_REACHED
from figures.report.intervals import FEWEST, LEVEL
from figures.report.readings import READINGS
from wcrnn_models.tasks import AddingProblem, SequentialMNIST

CLAIMS: tuple[Claim, ...] = (
    *theory.CLAIMS,
    *dynamics.CLAIMS,
    *learning.CLAIMS,
    *protocol.CLAIMS,
    *rotations.CLAIMS,
    *heterogeneity.CLAIMS,
    *nonlinear.CLAIMS,
)
"""All claims, in about the order of the paper's sections."""

_SIGNS = {True: "holds", False: "fails", None: "open"}

HEAD = """\
# What was reproduced

<!-- Written by `python -m figures report` from figures/data; edit the claims and rules in figures/report instead. -->

The claims of Dubinin & Effenberger, "Fading memory as inductive bias in residual recurrent networks" (Neural Networks,
2024), beside what was measured with this package. Every verdict follows from numbers by the rules below; none is
written by hand. The numbers come from the records of a campaign of trainings in `figures/data/campaign`
(`python -m figures measure` continues it) and from measurements of untrained networks in `figures/data`."""

_RULES = (
    "A claim is judged by comparisons. Each *holds*, *fails*, or is *open*. The verdict is",
    "- **reproduced** if all comparisons hold;\n"
    "- **not reproduced** if at least one fails and none holds;\n"
    "- **partly** if some hold and others fail or are open;\n"
    "- **open** if none is decided.",
    "A comparison rests on single numbers, one for each network instance. Where two kinds of networks are compared, "
    "the "
    f"number is the difference of two networks with the same seed. Their mean has a t interval of {100 * LEVEL:g} %. "
    "The "
    "comparison holds if the whole interval lies on the claimed side of the limit, fails if it lies on the other, and "
    "is open if the interval contains the limit. With fewer than "
    f"{FEWEST} instances it is open, whatever the numbers are. Errors and ratios are compared by their logarithms. Two "
    "kinds count as equal only if the whole interval lies within a margin that the rule of the claim states. Intervals "
    "cover how much instances differ; they do not correct for the number of comparisons on this page.",
    f"A network that has learnt nothing decides nothing: its best accuracy is not above {100 * CHANCE:g} %, "
    "or "
    f"its best error not below a root mean square of {NOTHING_LEARNT:.3f}, 5 % better than always answering 1. A "
    "network "
    "that diverged decides nothing either. One such instance makes the comparison open. It is otherwise where the "
    "claim itself is that networks learn badly or unstably.",
    "A comparison can fail only after a fair trial: every network has been trained at the learning rate that is best "
    "for its kind, of those of a stated grid. The rates were chosen by shorter trainings, judged by held-out samples "
    "(see *Learning rates* below). Where networks share one rate, or have that of another task, a comparison that does "
    "not come out as claimed is open. So is one that fails where the best rate of the networks that do worse than "
    "claimed is the lowest or the highest that was tried, since a better one may lie outside.",
    "Where the best of several networks is compared, the choice for each seed is made by the other seeds. Otherwise "
    "the "
    "best of several would look better than it is.",
    f"MP, minimal performance, is an accuracy of {100 * SequentialMNIST.minimal_performance:g} %, or an error of "
    f"{AddingProblem.minimal_performance:g} in the measure that is trained. A network that did not reach it counts "
    "with "
    "all its iterations, which is a lower bound; so it counts only beside one that did. Intervals of iterations are "
    "widened by the distance of two measurements.",
)

RULES = "\n\n".join(part if part.startswith("- ") else textwrap.fill(part, 120) for part in _RULES)
"""Text of the report on how verdicts are reached."""


def report(evidence: Evidence) -> str:
    """Write the page.

    Args:
        evidence: Evidence by which the claims are judged.
    """
    judgements = [judge(claim, evidence) for claim in CLAIMS]
    header = ["claim", "source", "verdict", "instances", "interval"]
    parts = [
        HEAD,
        "## Summary",
        _counts(judgements),
        markdown(header, [_row(each) for each in judgements], numbers=False),
        "## How verdicts are reached",
        RULES,
        "## Claims",
        *(_section(each, evidence) for each in judgements),
        "## How the paper was read",
        READINGS,
        "## State of the campaign",
        _campaign(evidence),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(judgements: Sequence[Judgement]) -> str:
    verdicts = [each.verdict for each in judgements]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    decided = [each for each in judgements if each.verdict != "open"]
    enough = sum(each.instances >= FEWEST for each in decided)
    text = (
        f"{len(judgements)} claims: {counted}. {enough} of the {len(decided)} that are not open are decided by "
        f"{FEWEST} "
        "or more instances. Instances are the fewest that a decided comparison rests on. The interval is that of the "
        "first decided comparison."
    )
    return textwrap.fill(text, 120)


def _row(judgement: Judgement) -> list[str]:
    claim, leading = judgement.claim, judgement.leading
    interval = "\N{EN DASH}" if leading is None or not leading.interval else f"{leading.what}: {leading.interval}"
    return [_link(claim), claim.source, judgement.verdict, str(judgement.instances), interval.replace("|", "\\|")]


def _link(claim: Claim) -> str:
    anchor = "".join(each for each in claim.title.lower().replace(" ", "-") if each.isalnum() or each in "-_")
    return f"[{claim.title}](#{anchor})"


def _section(judgement: Judgement, evidence: Evidence) -> str:
    claim = judgement.claim
    lines = [
        f"### {claim.title}",
        "",
        f"> \N{LEFT DOUBLE QUOTATION MARK}{claim.quotation}\N{RIGHT DOUBLE QUOTATION MARK} ({claim.source})",
        "",
        f"**{judgement.verdict}**. Reproduced means: {claim.rule}.",
        "",
        *(_line(check) for check in judgement.checks),
        "",
    ]
    if judgement.verdict in ("not reproduced", "partly") and any(check.holds is False for check in judgement.checks):
        lines += [f"Why: {_why(judgement)}", ""]
    if any(check.holds is None for check in judgement.checks):
        lines += [f"What would settle it: {_settle(judgement, evidence)}", ""]
    lines.append(f"Data: {_data(claim, evidence)}")
    return "\n".join(lines)


def _line(check: Check) -> str:
    sign = _SIGNS[check.holds]
    reason = f", {check.reason}" if check.reason else ""
    return f"- {check.what}: {check.measured}: *{sign}*{reason}"


def _why(judgement: Judgement) -> str:
    """Explain why comparisons fail: by the claim's own explanation, or else by the trial."""
    if judgement.claim.why:
        return judgement.claim.why
    failing = [check for check in judgement.checks if check.holds is False]
    fewest = min(check.instances for check in failing)
    text = (
        f"Over at least {fewest} instances, the interval excludes the claim for {'; '.join(c.what for c in failing)}."
    )
    if any(stage.needs for stage in STAGES if stage.name in judgement.claim.stages):
        text += (
            " Networks had the best learning rate of the grid for their kind, and those compared have learnt. "
            "Trainings are shorter than the paper's."
        )
    return text


def _settle(judgement: Judgement, evidence: Evidence) -> str:
    """Say what would decide the comparisons that are open."""
    claim, parts = judgement.claim, []
    for stage in claim.stages:
        left = evidence.left(stage)
        if left.trainings:
            parts.append(f"`{stage}`: {left.trainings} of {left.of} trainings left, {left.hours:.1f} hours")
    unsettled = [check for check in judgement.checks if check.holds is None]
    apart = [check for check in unsettled if check.reason == NOT_TOLD_APART]
    needed = max((check.needed for check in apart if check.needed), default=None)
    if needed and claim.stages:
        hours = sum(evidence.left(stage).instance_hours for stage in claim.stages)
        parts.append(f"about {needed} instances, as far as the spread tells, of {hours:.1f} hours each")
    elif needed:
        parts.append(f"about {needed} instances of untrained networks, as far as the spread tells")
    elif apart:
        parts.append("more than 100 instances, or a larger effect")
    if any(check.reason in (LEARNT_NOTHING, DIVERGED, NEITHER_REACHED) for check in unsettled):
        parts.append("longer trainings, or other learning rates, with which both sides learn")
    if any(check.reason == AT_EDGE for check in unsettled):
        parts.append("a wider grid of learning rates")
    if any(check.reason == TOO_FEW for check in unsettled):
        parts.append(f"at least {FEWEST} instances")
    missing_files = [name for name in claim.files if name not in evidence.files]
    parts += [f"the result file `{name}`: `python -m figures renew {name}`" for name in missing_files]
    if claim.beyond:
        parts.append(claim.beyond)
    return ("; ".join(parts) or "nothing that is planned").rstrip(".") + "."


def _data(claim: Claim, evidence: Evidence) -> str:
    return " ".join([*_origins(claim, evidence)]) or "none."


def _origins(claim: Claim, evidence: Evidence) -> Iterator[str]:
    for stage in claim.stages:
        left = evidence.left(stage)
        longest = max(evidence.training(stage).iteration.values.tolist(), default=0)
        length = f" of up to {longest:,} iterations" if longest else ""
        yield f"`{stage}`, {left.of - left.trainings} of {left.of} trainings{length}."
    for name in claim.files:
        if name in evidence.files:
            attributes = evidence.files[name].attrs
            yield f"`{name}`, commit {attributes['commit']}."


def _campaign(evidence: Evidence) -> str:
    """Return a table of what is done and left of each stage."""
    rows, hours = [], 0.0
    for stage in STAGES:
        left = evidence.left(stage.name)
        hours += left.hours
        rows.append([f"`{stage.name}`", stage.about, f"{left.of - left.trainings} of {left.of}", f"{left.hours:.1f}"])
    rows.append(["all", "", "", f"{hours:.1f}"])
    note = (
        "Hours are those of the trainings that are left, on one thread, estimated from the time of recorded trainings; "
        "analyses come on top. Trainings that stages share take time once. `python -m figures measure` goes on with "
        "them."
    )
    return f"{textwrap.fill(note, 120)}\n\n{markdown(['stage', 'about', 'done', 'hours left'], rows, numbers=False)}"
